// Package guard protects the runtime from what user code may do: panic, end its goroutine, or return an error that panics
// when it is asked what it is. It turns all of that into coded errors.
//
// [Do] calls a handler and reports how it ended, once and whatever it does. [Check] makes an error of user code safe to
// inspect. [Permanent] and [Snooze] are the errors by which a handler controls what follows from its failure.
package guard

import (
	"errors"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/stack"
)

// A PanicError is a panic in user code. The log has its value and its stack, the error of a task its value and where it
// was. Its text has neither, since that is what the caller of a method gets.
type PanicError struct{ stack.Panic }

// PanicMessage is the text of every [PanicError].
const PanicMessage = "the handler panicked"

// Recovered returns the panic of value v. It must be called by the deferred function that has recovered v.
func Recovered(v any) *PanicError { return &PanicError{stack.Recovered(v)} }

func (e *PanicError) Error() string { return PanicMessage }

// Unwrap returns the code of a panic.
func (e *PanicError) Unwrap() error { return backend.ErrInternal }

// Attrs returns what the log says of it.
func (e *PanicError) Attrs() []any { return []any{"panic", e.Value, "stack", e.Stack} }

// ErrGoexit is the error of a handler that has ended its goroutine.
var ErrGoexit = backend.NewError(backend.ErrInternal, "the handler ended its goroutine")

// Do calls fn and then done with its checked error: exactly once, on the same goroutine, also if fn panics or ends its
// goroutine.
func Do(fn func() error, done func(err error)) {
	finished := false
	err := error(ErrGoexit)
	defer func() {
		if !finished {
			if p := recover(); p != nil {
				err = Recovered(p)
			}
		}
		done(err)
	}()
	err = Check(fn())
	finished = true
}

// Recover sets *err to the panic of the function that has deferred Recover, if it has panicked.
func Recover(err *error) {
	if p := recover(); p != nil {
		*err = Recovered(p)
	}
}

// Call calls fn and returns its checked error, or its panic. If fn ends its goroutine, Call doesn't return.
func Call(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = Recovered(p)
		}
	}()
	return Check(fn())
}

// Check returns an error of user code if it is safe to inspect. One that panics when it is asked what it is, such as a nil
// pointer in an interface, is the panic of its handler: nothing would recover from it later.
func Check(err error) (checked error) {
	if err == nil {
		return nil
	}
	if e, ok := err.(*backend.Error); ok && e == nil {
		return backend.NewError(backend.ErrInternal,
			"the handler returned a nil *af.Error as an error: return nil, or declare the variable as error")
	}
	defer func() {
		if p := recover(); p != nil {
			checked = Recovered(p)
		}
	}()
	// What a walk through its tree calls: Error, and Unwrap, Is and As.
	_ = err.Error()
	var snooze *SnoozeError
	_, _, _ = backend.CodeOf(err), IsPermanent(err), errors.As(err, &snooze)
	return err
}

// Permanent marks an error that another attempt can't fix. It returns nil for nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// IsPermanent reports whether an error is marked by [Permanent].
func IsPermanent(err error) bool {
	_, ok := errors.AsType[*permanentError](err)
	return ok
}

// MinSnooze is the shortest snooze: a task that snoozes again and again must not keep the store busy.
const MinSnooze = 100 * time.Millisecond

// Snooze returns the error by which a handler asks to run again after d, at least [MinSnooze].
func Snooze(d time.Duration) error { return &SnoozeError{max(d, MinSnooze)} }

// A SnoozeError is made by [Snooze].
type SnoozeError struct{ Delay time.Duration }

func (e *SnoozeError) Error() string { return "snoozed for " + e.Delay.String() }
