package tasks

import (
	"context"
	"errors"

	"github.com/afgen/afgen/runtime/backend"
)

// refused reports whether a store error is permanent: retrying the request is pointless, but a smaller one may
// succeed if a single item is the reason. It is false for errors that don't depend on the items, such as an
// unavailable or full store or missing permissions.
func refused(err error) bool {
	switch backend.CodeOf(err) {
	case backend.ErrInvalidArgument, backend.ErrResourceExhausted, backend.ErrInternal, backend.ErrOutOfRange,
		backend.ErrFailedPrecondition, backend.ErrDataLoss, backend.ErrUnimplemented,
		backend.ErrNotFound, backend.ErrAlreadyExists:
		return !errors.Is(err, backend.ErrStoreFull)
	}
	return false
}

// settleAll settles all at once, or one by one if the store refuses that. It returns the first error.
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
