package guard

import (
	"errors"
	"slices"
	"strings"

	"github.com/afgen/afgen/runtime/backend"
)

const maxMessage = 16 << 10

// ToWireError converts a handler's error to the one its caller gets: code, message and details of the Error in err,
// unchanged, with OutcomeAnswered. It drops wrapping text, causes, and the Outcome of a call that the handler made.
// The result is bounded.
func ToWireError(err error) *backend.Error {
	a := &backend.Error{Code: backend.CodeOf(err), Message: err.Error(), Outcome: backend.OutcomeAnswered}
	if e, ok := errors.AsType[*backend.Error](err); ok {
		a.Code, a.Message, a.Details = backend.ParseCode(string(e.Code)), e.Message, e.Details
	} else if c, ok := err.(backend.Code); ok {
		a.Message = ""
		a.Code = backend.ParseCode(string(c))
	}
	return Bounded(a)
}

// Bounded bounds the message and the details of an error on the wire, in place.
func Bounded(a *backend.Error) *backend.Error {
	a.Message = backend.Text(a.Message, maxMessage)
	if backend.DetailsSize(a.Details) > backend.MaxDetails {
		a.Details = nil
		a.Message += " (details over 64 kB omitted)"
	}
	invalid := func(d backend.ErrorDetail) bool { return !backend.ValidDetail(d) }
	if slices.ContainsFunc(a.Details, invalid) {
		a.Details = slices.DeleteFunc(slices.Clone(a.Details), invalid) // the handler's error is not changed
		a.Message += " (details that are not JSON omitted)"
	}
	return a
}

// TaskError converts a handler's error to the one stored with its task.
func TaskError(err error) *backend.TaskError {
	e := ToWireError(err)
	if p, ok := errors.AsType[*PanicError](err); ok { // readers of the task need the position of the bug
		e.Message = strings.Replace(e.Message, PanicMessage, PanicMessage+": "+p.String(), 1)
	}
	return Stored(e)
}

// Stored returns an error that [Bounded] returned in the form in which it is stored with a task.
func Stored(e *backend.Error) *backend.TaskError {
	return &backend.TaskError{Code: e.Code, Message: e.Message, Details: e.Details}
}

// Undecoded marks the error of a payload that does not decode, which a retry with the same program can't fix.
func Undecoded(err error) error { return &undecodedError{Permanent(err)} }

type undecodedError struct{ err error }

func (e *undecodedError) Error() string { return e.err.Error() }
func (e *undecodedError) Unwrap() error { return e.err }

// IsUndecoded reports whether err itself was returned by [Undecoded]. Wrapped ones may belong to another payload.
func IsUndecoded(err error) bool {
	_, ok := err.(*undecodedError)
	return ok
}
