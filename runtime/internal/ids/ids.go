// Package ids makes the ids of tasks, and snowflake ids for users.
package ids

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/snowflake"
)

// NewTask returns an id for a task: 26 letters and digits, of which the first nine are the time in milliseconds and the
// others are random (85 bits). Tasks that are submitted together are so neighbours in the stores' indexes of ids, which
// otherwise touch a page for each new task once they are large. Nothing depends on the order.
func NewTask() string {
	const digits = "234567ABCDEFGHIJKLMNOPQRSTUVWXYZ" // those of rand.Text, in order
	id := []byte(rand.Text())
	for i, ms := 8, time.Now().UnixMilli(); i >= 0; i-- {
		id[i] = digits[ms&31]
		ms >>= 5
	}
	return string(id)
}

// Snowflakes are ids that sort by time (package snowflake). Their generator is created when the first one is requested.
// The methods are safe for concurrent use.
type Snowflakes struct {
	made   atomic.Pointer[snowflake.Generator]
	lock   chan struct{} // has capacity 1; held to create or close the generator
	closed atomic.Bool
}

// reserveMost bounds the reservation of a node number if the caller has no deadline.
const reserveMost = 30 * time.Second

// NewSnowflakes returns Snowflakes. Close must be called at the end.
func NewSnowflakes() *Snowflakes { return &Snowflakes{lock: make(chan struct{}, 1)} }

// Next returns an id, with a coded error. The first call reserves a node number in docs.
func (s *Snowflakes) Next(ctx context.Context, docs backend.Docs) (string, error) {
	g, err := s.get(ctx, docs)
	if err != nil {
		return "", backend.AsError(err)
	}
	id, err := g.Next(ctx)
	if err != nil {
		return "", backend.AsError(err)
	}
	return id.String(), nil
}

func (s *Snowflakes) get(ctx context.Context, docs backend.Docs) (*snowflake.Generator, error) {
	if g := s.made.Load(); g != nil {
		return g, nil
	}
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	case <-ctx.Done():
		return nil, backend.Errorf(backend.CodeOf(ctx.Err()), "waiting for a node number for snowflake ids: %w",
			context.Cause(ctx))
	}
	if g := s.made.Load(); g != nil {
		return g, nil
	}
	if s.closed.Load() {
		return nil, backend.NewError(backend.ErrFailedPrecondition, "the app is shutting down")
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, reserveMost)
		defer cancel()
	}
	g, err := snowflake.New(ctx, docs)
	if err != nil {
		return nil, err
	}
	s.made.Store(g)
	if s.closed.Load() {
		_ = g.Close(ctx) // Close did not wait for it
	}
	return g, nil
}

// Close releases the node number. If that fails, the number becomes free when its reservation expires.
func (s *Snowflakes) Close(ctx context.Context, log *slog.Logger) {
	s.closed.Store(true)
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	case <-ctx.Done():
		return // the goroutine that holds the lock closes it
	}
	if g := s.made.Load(); g != nil {
		if err := g.Close(ctx); err != nil {
			log.Warn("could not release the node number of snowflake ids, it expires later", "error", err)
		}
	}
}
