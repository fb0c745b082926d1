package runtime

import (
	"context"
	"errors"

	"github.com/afgen/afgen/runtime/backend"
)

// refused reports whether an error of the store is for good: asking again for the same is of no use, and asking for less may
// help, since one of several items may be to blame. An error that says nothing about the items isn't one: the store can't be
// reached, is full, or lets this process do nothing.
func refused(err error) bool {
	switch CodeOf(err) {
	case ErrInvalidArgument, ErrResourceExhausted, ErrInternal, ErrOutOfRange, ErrFailedPrecondition, ErrDataLoss, ErrUnimplemented,
		ErrNotFound, ErrAlreadyExists:
		return !errors.Is(err, backend.ErrStoreFull)
	}
	return false
}

// settleAll settles, one by one if the store refuses all at once, and returns the first error.
func (e *engine) settleAll(ctx context.Context, settles []backend.Settle) error {
	_, err := e.store.Settle(ctx, settles)
	if !refused(err) || len(settles) == 1 {
		return err
	}
	err = nil
	for i := range settles {
		if _, one := e.store.Settle(ctx, settles[i:i+1]); one != nil && err == nil {
			err = one
		}
	}
	return err
}
