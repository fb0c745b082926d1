package runtime

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/snowflake"
)

// Snowflake returns an id of 19 decimal digits that is unique on the backend and sorts by time. Package snowflake
// documents its layout and guarantees, and [snowflake.Parse] decodes it. The first call reserves a node number by a
// write to the backend. Further calls do no I/O. Use [App.NewID] for ids that can't be guessed.
func (a *App) Snowflake(ctx context.Context) (string, error) {
	if err := a.admit(); err != nil {
		return "", err
	}
	return a.process.Snowflake(ctx)
}

func (p ownProcess) Snowflake(ctx context.Context) (string, error) {
	a := p.app
	if a.ports.Docs == nil {
		return "", Errorf(ErrUnimplemented, "backend %q does not support documents", a.ports.Name)
	}
	g, err := a.snowflakes.get(ctx, a.ports.Docs)
	if err != nil {
		return "", backend.AsError(err)
	}
	id, err := g.Next(ctx)
	if err != nil {
		return "", backend.AsError(err)
	}
	return id.String(), nil
}

// newTaskID returns an id for a task: 26 letters and digits, of which the first nine are the time in milliseconds and the
// others are random (85 bits). Tasks that are submitted together are so neighbours in the stores' indexes of ids, which
// otherwise touch a page for each new task once they are large. Nothing depends on the order.
func newTaskID() string {
	const digits = "234567ABCDEFGHIJKLMNOPQRSTUVWXYZ" // those of rand.Text, in order
	id := []byte(rand.Text())
	for i, ms := 8, time.Now().UnixMilli(); i >= 0; i-- {
		id[i] = digits[ms&31]
		ms >>= 5
	}
	return string(id)
}

// snowflakes creates the App's generator of ids when the first id is requested.
type snowflakes struct {
	made   atomic.Pointer[snowflake.Generator]
	lock   chan struct{} // has capacity 1; held to create or close the generator
	closed atomic.Bool
}

func newSnowflakes() *snowflakes { return &snowflakes{lock: make(chan struct{}, 1)} }

func (s *snowflakes) get(ctx context.Context, docs backend.Docs) (*snowflake.Generator, error) {
	if g := s.made.Load(); g != nil {
		return g, nil
	}
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	case <-ctx.Done():
		return nil, Errorf(CodeOf(ctx.Err()), "waiting for a node number for snowflake ids: %w", context.Cause(ctx))
	}
	if g := s.made.Load(); g != nil {
		return g, nil
	}
	if s.closed.Load() {
		return nil, NewError(ErrFailedPrecondition, "the app is shutting down")
	}
	ctx, cancel := bound(ctx, CallOptions{})
	defer cancel()
	g, err := snowflake.New(ctx, docs)
	if err != nil {
		return nil, err
	}
	s.made.Store(g)
	if s.closed.Load() {
		_ = g.Close(ctx) // close did not wait for it
	}
	return g, nil
}

// close releases the node number. If that fails, the number becomes free when its reservation expires.
func (s *snowflakes) close(ctx context.Context, log *slog.Logger) {
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
