package tasks

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// settleAll settles all at once, or one by one if the store refuses that. It returns the first error.
func (e *Engine) settleAll(ctx context.Context, settles []backend.Settle) error {
	_, err := e.Ports.Store.Settle(ctx, settles)
	if !retry.Refused(err) || len(settles) == 1 {
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
