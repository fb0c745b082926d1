package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
)

// A Code says what kind of failure an [Error] is. The sixteen codes, their names and meanings are those of gRPC. A Code
// is an error itself, so a handler may return one as it is, and errors.Is(err, code) holds for every Error of that code.
type Code string

// The canonical codes.
const (
	ErrCanceled           Code = "canceled"            // the caller gave up
	ErrUnknown            Code = "unknown"             // an error without a code
	ErrInvalidArgument    Code = "invalid_argument"    // wrong whatever the state of the system
	ErrDeadlineExceeded   Code = "deadline_exceeded"   // the time was up
	ErrNotFound           Code = "not_found"           // no such thing
	ErrAlreadyExists      Code = "already_exists"      // there is such a thing
	ErrPermissionDenied   Code = "permission_denied"   // known, but not allowed
	ErrResourceExhausted  Code = "resource_exhausted"  // a quota, a size limit, space
	ErrFailedPrecondition Code = "failed_precondition" // the state of the system forbids it; don't retry before it changes
	ErrAborted            Code = "aborted"             // a conflict, such as a compare-and-set; retry the whole
	ErrOutOfRange         Code = "out_of_range"        // past the end
	ErrUnimplemented      Code = "unimplemented"       // not here, not in this version
	ErrInternal           Code = "internal"            // a bug, a panic
	ErrUnavailable        Code = "unavailable"         // not now; a retry may help
	ErrDataLoss           Code = "data_loss"           // broken beyond repair
	ErrUnauthenticated    Code = "unauthenticated"     // unknown who is asking
)

var codes = [...]Code{
	ErrCanceled, ErrUnknown, ErrInvalidArgument, ErrDeadlineExceeded, ErrNotFound, ErrAlreadyExists, ErrPermissionDenied,
	ErrResourceExhausted, ErrFailedPrecondition, ErrAborted, ErrOutOfRange, ErrUnimplemented, ErrInternal, ErrUnavailable,
	ErrDataLoss, ErrUnauthenticated,
}

// Codes returns the sixteen codes.
func Codes() []Code { return slices.Clone(codes[:]) }

// ParseCode returns the code that a peer named, or ErrUnknown where it is none of the sixteen.
func ParseCode(s string) Code {
	for _, c := range codes {
		if string(c) == s {
			return c
		}
	}
	return ErrUnknown
}

// Error returns the code's name.
func (c Code) Error() string { return string(c) }

// Is makes ErrCanceled and ErrDeadlineExceeded match the errors of package context.
func (c Code) Is(target error) bool {
	switch target {
	case context.Canceled:
		return c == ErrCanceled
	case context.DeadlineExceeded:
		return c == ErrDeadlineExceeded
	}
	return false
}

// An Outcome says what is known about a request that failed.
type Outcome int

const (
	// OutcomeUnknown: it may or may not have had its effect. Repeat it only if it is idempotent.
	OutcomeUnknown Outcome = iota
	// OutcomeNotSent: nobody began to handle it. Repeating is always safe.
	OutcomeNotSent
	// OutcomeAnswered: it was handled, and this error is the answer.
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

// An Error is a failure with a code, as it crosses ports and the wire. Code, Message and Details travel; the cause and
// the Outcome don't: each receiver sets the Outcome by what it knows.
type Error struct {
	Code    Code
	Message string
	Outcome Outcome
	Details []ErrorDetail

	cause error
}

// An ErrorDetail is one typed value attached to an Error.
type ErrorDetail struct {
	Type  string          `json:"type"` // import path and name of the Go type
	Value json.RawMessage `json:"value"`
}

// NewError returns an Error with details, each of which must encode to JSON; one that doesn't is named in the message
// instead.
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

// Errorf returns an Error whose message is formatted as by fmt.Errorf; what %w wraps becomes its cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	e := &Error{Code: code, Message: err.Error()}
	switch err.(type) {
	case interface{ Unwrap() error }, interface{ Unwrap() []error }:
		e.cause = err
	}
	return e
}

// With returns e with another Outcome. It is meant for chaining and changes e itself.
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

// Unwrap returns the cause, which never crosses the wire.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is e's Code, or the context error that corresponds to it.
func (e *Error) Is(target error) bool {
	if c, ok := target.(Code); ok {
		return c == e.Code
	}
	return e.Code.Is(target)
}

// CodeOf returns the code of err: "" for nil, the code of the first Error or Code in its tree, those that correspond to
// the two errors of package context, and ErrUnknown for every other error.
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

// AsError returns err itself if it has an [*Error] in its tree, else an Error with its code that wraps it.
func AsError(err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	return Errorf(CodeOf(err), "%w", err)
}

// Coded returns the [*Error] in err, or one with its code that wraps it.
func Coded(err error) *Error {
	e, _ := errors.AsType[*Error](AsError(err))
	return e
}

// Detail returns the first detail of type T in err.
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

// detailType names a type so that both sides of a wire agree; a pointer travels as what it points to.
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
