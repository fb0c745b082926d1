package pipe

import (
	"errors"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/child"
	"github.com/afgen/afgen/runtime/internal/guard"
	"github.com/afgen/afgen/runtime/internal/stack"
)

// Kinds of faults on the pipe.
const (
	faultPanic      = "panic"
	faultGoexit     = "goexit"
	faultPermanent  = "permanent"
	faultDecode     = "decode"
	faultSnooze     = "snooze"
	faultDelayed    = "delayed"     // the worker has chosen the delay before the next attempt
	faultNoInstance = "no instance" // of the called service
	faultStale      = "stale fence"

	causeStopped  = "stopped"
	causeLease    = "lease"
	causeTimeout  = "timeout"
	causeShutdown = "shutdown"
)

// taskFault converts a handler's error for the parent.
func taskFault(err error) *child.Fault {
	a := guard.ToWireError(err)
	_, coded := errors.AsType[*backend.Error](err)
	f := &child.Fault{Code: a.Code, Message: a.Message, Details: a.Details, Uncoded: !coded}
	p, panicked := errors.AsType[*guard.PanicError](err)
	if panicked {
		f.Panic, f.At, f.Stack = p.Value, p.At, p.Stack
	}
	if panicked && err == error(p) {
		f.Kind = faultPanic
	} else if s, ok := errors.AsType[*guard.SnoozeError](err); ok {
		f.Kind, f.Delay = faultSnooze, s.Delay
	} else if guard.IsUndecoded(err) {
		f.Kind = faultDecode
	} else if guard.IsPermanent(err) {
		f.Kind = faultPermanent
	} else if err == error(guard.ErrGoexit) {
		f.Kind = faultGoexit
	} else if d, ok := guard.RetryDelay(err); ok {
		f.Kind, f.Delay = faultDelayed, d
	}
	return f
}

// taskError converts a handler's error from the child.
func taskError(f *child.Fault) error {
	if f.Kind != faultPanic && f.Stack == "" {
		return handlerError(f)
	}
	p := &guard.PanicError{Panic: stack.Panic{Value: f.Panic, At: f.At, Stack: f.Stack}}
	if f.Kind == faultPanic {
		return p
	}
	return &panickedError{handlerError(f), p}
}

// A panickedError is an error with which middleware replaced a panic of the handler.
type panickedError struct {
	error
	panic *guard.PanicError
}

func (e *panickedError) Unwrap() []error { return []error{e.error, e.panic} }

// handlerError converts a handler's error from the child, without a panic that it wraps.
func handlerError(f *child.Fault) error {
	switch f.Kind {
	case faultGoexit:
		return guard.ErrGoexit
	case faultSnooze:
		return guard.Snooze(f.Delay)
	case faultDecode:
		return guard.Undecoded(f.Err())
	case faultPermanent:
		return guard.Permanent(returned(f))
	case faultDelayed:
		return guard.RetryAfter(returned(f), f.Delay)
	}
	return returned(f)
}

// returned converts an error that a handler returned.
func returned(f *child.Fault) error {
	if f.Uncoded {
		return &uncodedError{f.Code, f.Message}
	}
	return f.Err()
}

// An uncodedError is a handler's error that isn't a [backend.Error], with the code that it wraps.
type uncodedError struct {
	code backend.Code
	text string
}

func (e *uncodedError) Error() string { return e.text }
func (e *uncodedError) Unwrap() error { return e.code }

// Causes are the causes that end a handler's context. Handlers compare with them, so both processes need the same
// values.
type Causes struct {
	Stopped   error
	LeaseLost error
	Timeout   error
	Shutdown  error
}

// fault converts a cause for the child.
func (c *Causes) fault(cause error) *child.Fault {
	f := child.NewFault(cause)
	switch {
	case errors.Is(cause, c.Stopped):
		f.Kind = causeStopped
	case errors.Is(cause, c.LeaseLost):
		f.Kind = causeLease
	case errors.Is(cause, c.Timeout):
		f.Kind = causeTimeout
	case errors.Is(cause, c.Shutdown):
		f.Kind = causeShutdown
	}
	return f
}

// err converts a cause from the parent.
func (c *Causes) err(f *child.Fault) error {
	switch f.Kind {
	case causeStopped:
		return c.Stopped
	case causeLease:
		return c.LeaseLost
	case causeTimeout:
		return c.Timeout
	case causeShutdown:
		return c.Shutdown
	}
	return f.Err()
}

// portFault converts a port's error for the child.
func portFault(err error) error {
	f := child.NewFault(err)
	if errors.Is(err, backend.ErrNoInstance) {
		f.Kind = faultNoInstance
	}
	if errors.Is(err, backend.ErrStaleFence) {
		f.Kind = faultStale
	}
	return f
}

// portError converts a port's error from the parent.
func portError(err error) error {
	f, ok := errors.AsType[*child.Fault](err)
	switch {
	case err == nil:
		return nil
	case ok && f.Kind == faultNoInstance:
		return wrapping(f, backend.ErrNoInstance)
	case ok && f.Kind == faultStale:
		return wrapping(f, backend.ErrStaleFence)
	case ok:
		return f.Err()
	case errors.Is(err, child.ErrGone):
		return backend.Errorf(backend.ErrUnavailable, "%w", err)
	}
	return backend.AsError(err)
}

// wrapping returns the error of f, wrapping kind.
func wrapping(f *child.Fault, kind error) error {
	e := backend.Errorf(f.Code, "%w", kind).With(f.Outcome)
	e.Message = f.Message
	return e
}
