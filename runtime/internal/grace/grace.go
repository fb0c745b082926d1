// Package grace bounds what a shutdown waits for.
//
// Once the context of a shutdown has ended, all that remains must be over within [Total], whatever handlers and servers do.
// Each phase ends at its own time after that context, so that a slow one takes nothing from those after it.
package grace

import (
	"context"
	"fmt"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	// Total is how much longer than its context a shutdown takes at most.
	Total = 3 * time.Second
	// Abandon is how long it waits for handlers whose contexts it has cancelled.
	Abandon = time.Second
	// Write is when it stops writing results and hints, and End when it stops giving back what could not be written.
	Write = 1900 * time.Millisecond
	End   = 2400 * time.Millisecond
	// Publish is how long hints may take that were not published when all results are written.
	Publish = time.Second
	// Closed is when connections and the log must be closed.
	Closed = 2900 * time.Millisecond
)

// Outlast returns a context that ends d after ctx has.
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

// Await calls f and waits until it has returned. It reports false if ctx ends before; f is left behind then.
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

// Close calls f, which closes something and takes no context, and returns its error, or one if ctx ends before.
func Close(ctx context.Context, what string, f func() error) error {
	result := make(chan error, 1)
	if !Await(ctx, func() { result <- f() }) {
		return backend.Errorf(backend.ErrDeadlineExceeded, "closing %s took too long", what)
	}
	if err := <-result; err != nil {
		return fmt.Errorf("closing %s: %w", what, backend.AsError(err))
	}
	return nil
}
