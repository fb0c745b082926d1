// Package guard protects the runtime from user code that panics, ends its goroutine, or returns an error whose
// methods panic. It converts all of these to coded errors.
//
// [Do] calls a handler and reports its outcome exactly once. [Check] makes an error of user code safe to inspect.
// [Permanent] and [Snooze] are errors with which a handler controls retries, and [RetryAfter] has the delay that a
// worker has chosen.
package guard

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/stack"
)

// A PanicError is a panic in user code. The log gets its value and stack, and the task's error its value and
// position. Its text has neither, because callers of a method see it.
type PanicError struct{ stack.Panic }

// PanicMessage is the text of every [PanicError].
const PanicMessage = "the handler panicked"

// Recovered returns the panic with value v. Call it from the deferred function that recovered v.
func Recovered(v any) *PanicError { return &PanicError{stack.Recovered(v)} }

func (e *PanicError) Error() string { return PanicMessage }

// Unwrap returns the code of a panic.
func (e *PanicError) Unwrap() error { return backend.ErrInternal }

// Attrs returns the attributes for the log.
func (e *PanicError) Attrs() []any { return []any{"panic", e.Value, "stack", e.Stack} }

// ErrGoexit is the error of a handler that called runtime.Goexit.
var ErrGoexit = backend.NewError(backend.ErrInternal, "the handler ended its goroutine")

// Do calls fn, and then done with its checked error. It calls done exactly once, on the same goroutine, even if fn
// panics or calls runtime.Goexit.
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

// Recover sets *err to the panic, if any, of the function that defers Recover.
func Recover(err *error) {
	if p := recover(); p != nil {
		*err = Recovered(p)
	}
}

// Call calls fn and returns its checked error or its panic. If fn calls runtime.Goexit, Call doesn't return.
func Call(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = Recovered(p)
		}
	}()
	return Check(fn())
}

// Delay returns the result of fn, or 0 and the checked error if fn panics or calls runtime.Goexit. It calls fn on
// another goroutine, because the caller must continue in any case.
func Delay(fn func() time.Duration) (d time.Duration, failed error) {
	done := make(chan struct{})
	go Do(func() error {
		d = fn()
		return nil
	}, func(err error) {
		if failed = err; err != nil {
			d = 0
		}
		close(done)
	})
	<-done
	return d, failed
}

// Check returns err if it is safe to inspect. An error whose methods panic, such as a nil pointer in an interface,
// counts as a panic of the handler, because nothing would recover it later.
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
	// Walking the tree calls Error, Unwrap, Is and As.
	_ = err.Error()
	var snooze *SnoozeError
	_, _, _ = backend.CodeOf(err), IsPermanent(err), errors.As(err, &snooze)
	return err
}

// Result returns a result of the worker middleware of a queue as it is stored. has is set if the worker has a result.
func Result(queue string, result json.RawMessage, has bool) (json.RawMessage, error) {
	switch {
	case len(result) == 0 && has:
		return json.RawMessage("null"), nil
	case len(result) == 0:
		return nil, nil
	case !json.Valid(result): // not every store can keep it
		return nil, backend.Errorf(backend.ErrInternal, "queue %q: the result of a worker middleware is not JSON", queue)
	}
	return result, nil
}

// Permanent marks an error that a retry can't fix. It returns nil for nil.
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

// RetryAfter marks an error with the delay before the next attempt, which a worker in a child process has chosen.
func RetryAfter(err error, d time.Duration) error { return &delayedError{err, d} }

type delayedError struct {
	err   error
	delay time.Duration
}

func (e *delayedError) Error() string { return e.err.Error() }
func (e *delayedError) Unwrap() error { return e.err }

// RetryDelay returns the delay of [RetryAfter] and reports whether an error has one.
func RetryDelay(err error) (time.Duration, bool) {
	e, ok := errors.AsType[*delayedError](err)
	if !ok {
		return 0, false
	}
	return e.delay, true
}

// MinSnooze is the minimum snooze. A task that snoozes repeatedly must not overload the store.
const MinSnooze = 100 * time.Millisecond

// Snooze returns the error with which a handler runs again after d, or after [MinSnooze] if that is longer.
func Snooze(d time.Duration) error { return &SnoozeError{max(d, MinSnooze)} }

// A SnoozeError is returned by [Snooze].
type SnoozeError struct{ Delay time.Duration }

func (e *SnoozeError) Error() string { return "snoozed for " + e.Delay.String() }
