package runtime

import (
	"context"
	"errors"
	"strings"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/child"
	"github.com/afgen/afgen/runtime/internal/guard"
)

// A Code says what kind of failure an [Error] is. It is an error itself: a handler may return one as it is, and
// errors.Is(err, af.ErrNotFound) holds for every Error of that code, also on the other side of a wire. ErrCanceled and
// ErrDeadlineExceeded match context.Canceled and context.DeadlineExceeded too.
type Code = backend.Code

// The sixteen canonical codes.
const (
	ErrCanceled           = backend.ErrCanceled           // the caller gave up
	ErrUnknown            = backend.ErrUnknown            // an error without a code
	ErrInvalidArgument    = backend.ErrInvalidArgument    // wrong whatever the state of the system
	ErrDeadlineExceeded   = backend.ErrDeadlineExceeded   // the time was up
	ErrNotFound           = backend.ErrNotFound           // no such thing
	ErrAlreadyExists      = backend.ErrAlreadyExists      // there is such a thing
	ErrPermissionDenied   = backend.ErrPermissionDenied   // known, but not allowed
	ErrResourceExhausted  = backend.ErrResourceExhausted  // a quota, a size limit, space
	ErrFailedPrecondition = backend.ErrFailedPrecondition // the state of the system forbids it
	ErrAborted            = backend.ErrAborted            // a conflict; retry the whole
	ErrOutOfRange         = backend.ErrOutOfRange         // past the end
	ErrUnimplemented      = backend.ErrUnimplemented      // not here, not in this version
	ErrInternal           = backend.ErrInternal           // a bug, a panic
	ErrUnavailable        = backend.ErrUnavailable        // not now; a retry may help
	ErrDataLoss           = backend.ErrDataLoss           // broken beyond repair
	ErrUnauthenticated    = backend.ErrUnauthenticated    // unknown who is asking
)

// An Error is what every failed call returns: a Code, a Message, typed Details and the Outcome.
type Error = backend.Error

// An ErrorDetail is a typed value attached to an Error; read it with [Detail].
type ErrorDetail = backend.ErrorDetail

// An Outcome says what is known about a request that failed.
type Outcome = backend.Outcome

// The outcomes.
const (
	OutcomeUnknown  = backend.OutcomeUnknown  // it may have had its effect: repeat it only if it is idempotent
	OutcomeNotSent  = backend.OutcomeNotSent  // nobody began to handle it: repeating is always safe
	OutcomeAnswered = backend.OutcomeAnswered // it was handled, and the error is the answer
)

// NewError returns an Error for a handler to return. Its details cross the wire as JSON, at most 64 kB together; the
// caller reads them with [Detail].
func NewError(code Code, message string, details ...any) *Error {
	return backend.NewError(code, message, details...)
}

// Errorf returns an Error with a formatted message. What %w wraps becomes its cause, which errors.Is and errors.As
// find in this process only.
func Errorf(code Code, format string, args ...any) *Error {
	return backend.Errorf(code, format, args...)
}

// CodeOf returns the code of err: "" for nil, ErrUnknown for an error without one.
func CodeOf(err error) Code { return backend.CodeOf(err) }

// Detail returns the first detail of type T in err.
//
//	if quota, ok := af.Detail[shop.Quota](err); ok { … }
func Detail[T any](err error) (T, bool) { return backend.Detail[T](err) }

// redactedMessage replaces the texts that RedactErrors hides.
const redactedMessage = "the handler failed"

// redacted is answer for RedactErrors: of the texts only those of an [Error] with a code remain, which a handler returned
// on purpose. hidden reports whether there was another.
func redacted(err error) (a *Error, hidden bool) {
	a = guard.ToWireError(err)
	e, coded := errors.AsType[*Error](err)
	_, panicked := errors.AsType[*guard.PanicError](err)
	exit, crashed := errors.AsType[*child.ExitError](err)
	switch {
	case coded && crashed && exit.Stderr != "": // what a process wrote may be anything
		a.Message = strings.ReplaceAll(e.Message, exit.Error(), exit.Brief())
		return guard.Bounded(a), true
	case coded && a.Code != ErrUnknown:
		return a, false
	case panicked:
		a.Message = guard.PanicMessage
		return a, true
	case !coded && (a.Message == "" || a.Message == a.Code.Error() || a.Message == context.Canceled.Error() ||
		a.Message == context.DeadlineExceeded.Error()): // nothing is wrapped around it
		return a, false
	}
	a.Message, a.Details = redactedMessage, nil
	return a, true
}

// expired is the error of a call that ended before it was sent.
func expired(ctx context.Context, call Call) *Error {
	return Errorf(CodeOf(ctx.Err()), "calling %s.%s: %w", call.Service, call.Method, context.Cause(ctx)).With(OutcomeNotSent)
}
