package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
)

// A Code is the kind of an [Error]. The sixteen codes have the names and meanings of gRPC's. A Code is itself an error:
// a handler may return one, and errors.Is(err, code) reports whether err has that code.
type Code string

// The canonical codes.
const (
	ErrCanceled           Code = "canceled"            // the caller canceled
	ErrUnknown            Code = "unknown"             // an error without a code
	ErrInvalidArgument    Code = "invalid_argument"    // invalid whatever the state of the system
	ErrDeadlineExceeded   Code = "deadline_exceeded"   // timed out
	ErrNotFound           Code = "not_found"           // does not exist
	ErrAlreadyExists      Code = "already_exists"      // exists already
	ErrPermissionDenied   Code = "permission_denied"   // the caller is known, but not allowed
	ErrResourceExhausted  Code = "resource_exhausted"  // a quota, a size limit, no space
	ErrFailedPrecondition Code = "failed_precondition" // not in this state of the system; retry only after it changes
	ErrAborted            Code = "aborted"             // a conflict, such as a failed compare-and-set; retry the whole
	ErrOutOfRange         Code = "out_of_range"        // past the end
	ErrUnimplemented      Code = "unimplemented"       // not supported, or not in this version
	ErrInternal           Code = "internal"            // a bug or a panic
	ErrUnavailable        Code = "unavailable"         // temporarily; a retry may succeed
	ErrDataLoss           Code = "data_loss"           // unrecoverable
	ErrUnauthenticated    Code = "unauthenticated"     // the caller is unknown
)

var codes = [...]Code{
	ErrCanceled, ErrUnknown, ErrInvalidArgument, ErrDeadlineExceeded, ErrNotFound, ErrAlreadyExists, ErrPermissionDenied,
	ErrResourceExhausted, ErrFailedPrecondition, ErrAborted, ErrOutOfRange, ErrUnimplemented, ErrInternal, ErrUnavailable,
	ErrDataLoss, ErrUnauthenticated,
}

// Codes returns all codes.
func Codes() []Code { return slices.Clone(codes[:]) }

// ParseCode returns the code named s, or ErrUnknown if there is none.
func ParseCode(s string) Code {
	for _, c := range codes {
		if string(c) == s {
			return c
		}
	}
	return ErrUnknown
}

// Error returns the name of the code.
func (c Code) Error() string { return string(c) }

// Is makes ErrCanceled match context.Canceled, and ErrDeadlineExceeded match context.DeadlineExceeded.
func (c Code) Is(target error) bool {
	switch target {
	case context.Canceled:
		return c == ErrCanceled
	case context.DeadlineExceeded:
		return c == ErrDeadlineExceeded
	}
	return false
}

// An Outcome is what is known about the effect of a failed request.
type Outcome int

const (
	// OutcomeUnknown means that the request may have been handled. Retry only idempotent requests.
	OutcomeUnknown Outcome = iota
	// OutcomeNotSent means that the request was not handled. Retrying is always safe.
	OutcomeNotSent
	// OutcomeAnswered means that the request was handled and the error is its answer.
	OutcomeAnswered
)

// String returns "unknown", "not sent" or "answered".
func (o Outcome) String() string {
	switch o {
	case OutcomeNotSent:
		return "not sent"
	case OutcomeAnswered:
		return "answered"
	}
	return "unknown"
}

// An Error is an error with a code, as it crosses ports and the wire. Code, Message and Details are transmitted. The
// cause and the Outcome are not: each receiver sets the Outcome according to what it knows.
type Error struct {
	Code    Code
	Message string
	Outcome Outcome
	Details []ErrorDetail

	cause error
}

// An ErrorDetail is a typed value attached to an Error.
type ErrorDetail struct {
	Type  string          `json:"type"` // import path and name of the Go type
	Value json.RawMessage `json:"value"`
}

// MaxDetails is the limit of an error's details, types and values together, in bytes.
const MaxDetails = 64 << 10

// DetailsSize returns the size of details as counted for MaxDetails.
func DetailsSize(details []ErrorDetail) int {
	n := 0
	for _, d := range details {
		n += len(d.Type) + len(d.Value)
	}
	return n
}

// NewError returns an Error with details. Each detail is encoded as JSON; one that can't be encoded is mentioned in the
// message.
func NewError(code Code, message string, details ...any) *Error {
	e := &Error{Code: code, Message: message}
	for _, d := range details {
		value, err := json.Marshal(d)
		if err != nil {
			e.Message += fmt.Sprintf(" (a detail of type %T does not encode: %v)", d, err)
			continue
		}
		e.Details = append(e.Details, ErrorDetail{Type: detailType(reflect.TypeOf(d)), Value: value})
	}
	return e
}

// Errorf returns an Error with a message formatted as by fmt.Errorf. Errors formatted with %w become its cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	e := &Error{Code: code, Message: err.Error()}
	switch err.(type) {
	case interface{ Unwrap() error }, interface{ Unwrap() []error }:
		e.cause = err
	}
	return e
}

// With sets the Outcome of e and returns e.
func (e *Error) With(o Outcome) *Error {
	e.Outcome = o
	return e
}

// Error returns the code and the message.
func (e *Error) Error() string {
	if e.Message == "" {
		return string(e.Code)
	}
	return string(e.Code) + ": " + e.Message
}

// Unwrap returns the cause, which is never transmitted.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is e's Code, or the context error that corresponds to it.
func (e *Error) Is(target error) bool {
	if c, ok := target.(Code); ok {
		return c == e.Code
	}
	return e.Code.Is(target)
}

// CodeOf returns the code of err: the code of the first Error or Code in its tree, or the code that corresponds to an
// error of package context. It returns "" if err is nil, and ErrUnknown for other errors.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	if c, ok := errors.AsType[Code](err); ok {
		return ParseCode(string(c))
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return ErrDeadlineExceeded
	case errors.Is(err, context.Canceled):
		return ErrCanceled
	}
	return ErrUnknown
}

// AsError returns err if there is an [*Error] in its tree, and otherwise an Error with the code of err that wraps it.
func AsError(err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	return Errorf(CodeOf(err), "%w", err)
}

// Coded returns the [*Error] in err, or a new one with the code of err that wraps it.
func Coded(err error) *Error {
	e, _ := errors.AsType[*Error](AsError(err))
	return e
}

// Detail returns the first detail of type T in err. It returns false if there is none.
func Detail[T any](err error) (T, bool) {
	var zero T
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return zero, false
	}
	want := detailType(reflect.TypeFor[T]())
	for _, d := range e.Details {
		var v T
		if d.Type == want && json.Unmarshal(d.Value, &v) == nil {
			return v, true
		}
	}
	return zero, false
}

// detailType returns the name of a type, the same on both sides of a wire. A pointer has the name of its element.
func detailType(t reflect.Type) string {
	if t == nil {
		return "nil"
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Name() == "" || t.PkgPath() == "" {
		return t.String()
	}
	return t.PkgPath() + "." + t.Name()
}
