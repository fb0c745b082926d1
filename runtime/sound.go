package runtime

import (
	"context"
	"errors"
)

// sound returns an error of user code if it can be asked what it is, as all that deals with errors does. One that panics
// then, a nil pointer in an interface for one, is the panic of its handler: nobody would recover from it later.
func sound(err error) (kept error) {
	if err == nil {
		return nil
	}
	if e, ok := err.(*Error); ok && e == nil {
		return NewError(ErrInternal, "the handler returned a nil *af.Error as an error: return nil, or declare the variable as error")
	}
	defer func() {
		if p := recover(); p != nil {
			kept = recovered(p)
		}
	}()
	// What a walk through its tree calls: Error, and Unwrap, Is and As.
	_ = err.Error()
	var snooze *snoozeError
	_, _, _ = CodeOf(err), permanent(err), errors.As(err, &snooze)
	return err
}

// refuseNil refuses a nil context where what would panic on it leaves something half done.
func refuseNil(ctx context.Context, method string) error {
	if ctx == nil {
		return Errorf(ErrInvalidArgument, "%s: the context is nil; context.Background() is one without an end", method)
	}
	return nil
}

// given are those middlewares that are not nil.
func given[T any](all []func(T) T) (out []func(T) T) {
	for _, m := range all {
		if m != nil {
			out = append(out, m)
		}
	}
	return out
}
