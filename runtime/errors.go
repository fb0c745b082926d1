package runtime

import (
	"github.com/afgen/afgen/runtime/backend"
)

// A Code is the kind of failure that an [Error] reports. A Code is itself an error, so a handler may return one.
// errors.Is(err, af.ErrNotFound) matches every Error with that code, also in another process. ErrCanceled and
// ErrDeadlineExceeded also match context.Canceled and context.DeadlineExceeded.
//
// Its values are [ErrCanceled], [ErrUnknown], [ErrInvalidArgument], [ErrDeadlineExceeded], [ErrNotFound],
// [ErrAlreadyExists], [ErrPermissionDenied], [ErrResourceExhausted], [ErrFailedPrecondition], [ErrAborted],
// [ErrOutOfRange], [ErrUnimplemented], [ErrInternal], [ErrUnavailable], [ErrDataLoss] and [ErrUnauthenticated]. Its
// methods:
//
//	Error() string        // the code's name, such as not_found
//	Is(target error) bool // used by errors.Is to match the errors of package context
type Code = backend.Code

// The sixteen canonical codes.
const (
	ErrCanceled           Code = backend.ErrCanceled           // the caller cancelled
	ErrUnknown            Code = backend.ErrUnknown            // an error without a code
	ErrInvalidArgument    Code = backend.ErrInvalidArgument    // an argument is wrong in any state of the system
	ErrDeadlineExceeded   Code = backend.ErrDeadlineExceeded   // the deadline passed first
	ErrNotFound           Code = backend.ErrNotFound           // does not exist
	ErrAlreadyExists      Code = backend.ErrAlreadyExists      // exists already
	ErrPermissionDenied   Code = backend.ErrPermissionDenied   // the caller is known, but not allowed
	ErrResourceExhausted  Code = backend.ErrResourceExhausted  // a quota, a size limit or space is used up
	ErrFailedPrecondition Code = backend.ErrFailedPrecondition // the system is in the wrong state; retrying does not help
	ErrAborted            Code = backend.ErrAborted            // a conflict; retry the whole operation
	ErrOutOfRange         Code = backend.ErrOutOfRange         // past the end
	ErrUnimplemented      Code = backend.ErrUnimplemented      // not supported here
	ErrInternal           Code = backend.ErrInternal           // a bug, such as a panic
	ErrUnavailable        Code = backend.ErrUnavailable        // not possible now; a retry may succeed
	ErrDataLoss           Code = backend.ErrDataLoss           // stored data is damaged
	ErrUnauthenticated    Code = backend.ErrUnauthenticated    // the caller is not known
)

// An Error is the error of every failed call and operation: get it with errors.As, or compare its code with errors.Is.
// [NewError] and [Errorf] create one. Its fields:
//
//	Code    Code          // the kind of failure
//	Message string        // for people
//	Outcome Outcome       // whether the operation may have taken effect; set by the receiver
//	Details []ErrorDetail // typed values; read them with Detail
//
// Its methods:
//
//	Error() string         // the code and the message
//	Is(target error) bool  // used by errors.Is: matches its Code, and context errors as the Code does
//	Unwrap() error         // the cause, in the process where the error occurred
//	With(o Outcome) *Error // sets Outcome and returns the same Error
type Error = backend.Error

// An ErrorDetail is a typed value attached to an [Error]. [Detail] decodes it. Its fields:
//
//	Type  string          // import path and name of the Go type
//	Value json.RawMessage // the value
type ErrorDetail = backend.ErrorDetail

// An Outcome reports what is known about the effect of an operation that failed. Its values are [OutcomeUnknown],
// [OutcomeNotSent] and [OutcomeAnswered]. Its methods:
//
//	String() string // unknown, not sent or answered
type Outcome = backend.Outcome

// The outcomes of a failed operation.
const (
	OutcomeUnknown  Outcome = backend.OutcomeUnknown  // it may have taken effect: repeat it only if it is idempotent
	OutcomeNotSent  Outcome = backend.OutcomeNotSent  // it was not begun: repeating it is always safe
	OutcomeAnswered Outcome = backend.OutcomeAnswered // it was handled, and this error is the answer
)

// NewError returns an Error for a handler to return. Its details travel to the caller as JSON, with at most 64 kB
// together, and are stored with a task. The caller, and the waiter or reader of the task, read them with [Detail].
func NewError(code Code, message string, details ...any) *Error {
	return backend.NewError(code, message, details...)
}

// Errorf returns an Error with a formatted message. An error wrapped by %w becomes its cause, which errors.Is and
// errors.As find in this process only.
func Errorf(code Code, format string, args ...any) *Error {
	return backend.Errorf(code, format, args...)
}

// CodeOf returns the code of err, "" if err is nil, or [ErrUnknown] if it has no code.
func CodeOf(err error) Code { return backend.CodeOf(err) }

// Detail returns the first detail of type T in err, and whether there is one.
//
//	if quota, ok := af.Detail[shop.Quota](err); ok { … }
func Detail[T any](err error) (T, bool) { return backend.Detail[T](err) }
