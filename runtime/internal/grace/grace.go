// Package grace bounds the duration of a shutdown.
//
// Once the context of a shutdown has ended, everything must end within [Total], whatever handlers and servers do.
// Each phase has its own deadline after that context, so a slow phase takes no time from later ones.
package grace

import (
	"context"
	"fmt"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	// Total is the maximum duration of a shutdown after its context has ended.
	Total = 3 * time.Second
	// Abandon is how long it waits for handlers whose contexts it has cancelled.
	Abandon = time.Second
	// Write is when it stops writing results and hints, and End when it stops releasing unwritten claims.
	Write = 1900 * time.Millisecond
	End   = 2400 * time.Millisecond
	// Publish is how long publishing hints may take after all results are written.
	Publish = time.Second
	// Closed is when connections and the log must be closed.
	Closed = 2900 * time.Millisecond
)

// Outlast returns a context that ends d after ctx.
func Outlast(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(d, cancel)
		context.AfterFunc(longer, func() { timer.Stop() })
	})
	return longer, func() {
		stop()
		cancel()
	}
}

// Await calls f and waits for it. It returns false if ctx ends first, and doesn't stop f.
func Await(ctx context.Context, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
	}
	select { // both may be ready
	case <-done:
		return true
	default:
		return false
	}
}

// Close calls f, a close function without a context. It returns f's error, or an error if ctx ends first.
func Close(ctx context.Context, what string, f func() error) error {
	result := make(chan error, 1)
	if !Await(ctx, func() { result <- f() }) {
		return backend.Errorf(backend.ErrDeadlineExceeded, "close %s: timed out", what)
	}
	if err := <-result; err != nil {
		return fmt.Errorf("close %s: %w", what, backend.AsError(err))
	}
	return nil
}
