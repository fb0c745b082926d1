package tasks

import (
	"context"
	"errors"

	"github.com/afgen/afgen/runtime/backend"
)

// refused reports whether an error of the store is for good: asking again for the same is of no use, and asking for less may
// help, since one of several items may be to blame. An error that says nothing about the items isn't one: the store can't be
// reached, is full, or lets this process do nothing.
func refused(err error) bool {
	switch backend.CodeOf(err) {
	case backend.ErrInvalidArgument, backend.ErrResourceExhausted, backend.ErrInternal, backend.ErrOutOfRange, backend.ErrFailedPrecondition, backend.ErrDataLoss, backend.ErrUnimplemented,
		backend.ErrNotFound, backend.ErrAlreadyExists:
		return !errors.Is(err, backend.ErrStoreFull)
	}
	return false
}

// settleAll settles, one by one if the store refuses all at once, and returns the first error.
func (e *Engine) settleAll(ctx context.Context, settles []backend.Settle) error {
	_, err := e.Ports.Store.Settle(ctx, settles)
	if !refused(err) || len(settles) == 1 {
		return err
	}
	err = nil
	for i := range settles {
		if _, one := e.Ports.Store.Settle(ctx, settles[i:i+1]); one != nil && err == nil {
			err = one
		}
	}
	return err
}
