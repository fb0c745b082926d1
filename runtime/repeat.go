package runtime

import (
	"context"
	"time"
)

// repeat does something repeatable on the store for the engine itself: a reply that was lost is fetched again with a
// fresh context, a few times.
func (e *engine) repeat(ctx context.Context, op func(context.Context) error) error {
	return e.repeatFor(ctx, opTimeout, op)
}

// repeatFor is repeat for an operation that may take up to most.
func (e *engine) repeatFor(ctx context.Context, most time.Duration, op func(context.Context) error) error {
	var err error
	for try := range maxRetries {
		if try > 0 && !sleep(ctx, jitter(retryBase<<try)) {
			break
		}
		opCtx, cancel := context.WithTimeout(ctx, most)
		err = op(opCtx)
		cancel()
		if code := CodeOf(err); code != ErrUnavailable && code != ErrDeadlineExceeded {
			break
		}
	}
	return err
}
