package guard

import (
	"errors"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	maxMessage = 16 << 10
	maxDetails = 64 << 10
)

// ToWireError turns the error of a handler into what its caller gets: the code, message and details of the Error inside, as
// they are, and OutcomeAnswered. What the handler wrapped around an Error stays here; so do causes, and the Outcome of a call
// that the handler made itself. The result is bounded.
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
	size := 0
	for _, d := range a.Details {
		size += len(d.Type) + len(d.Value)
	}
	if size > maxDetails {
		a.Details = nil
		a.Message += " (details over 64 kB left out)"
	}
	return a
}

// TaskError turns the error of a handler into the one that its task keeps.
func TaskError(err error) *backend.TaskError {
	e := ToWireError(err)
	if p, ok := err.(*PanicError); ok { // a reader of the task must find the bug
		e.Message = p.Error() + ": " + p.String()
	}
	return &backend.TaskError{Code: e.Code, Message: e.Message}
}

// Undecoded marks the error of a payload that does not decode, which another attempt of the same program can't fix.
func Undecoded(err error) error { return &undecodedError{Permanent(err)} }

type undecodedError struct{ err error }

func (e *undecodedError) Error() string { return e.err.Error() }
func (e *undecodedError) Unwrap() error { return e.err }

// IsUndecoded reports whether an error is one of [Undecoded] itself: a handler may have wrapped another payload's.
func IsUndecoded(err error) bool {
	_, ok := err.(*undecodedError)
	return ok
}
