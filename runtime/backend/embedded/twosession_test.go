package embedded_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

// pair opens a file twice and returns ports that combine both: one session sends hints, messages, events and calls, and
// the other receives them.
func pair(opts ...embedded.Option) conform.Open {
	return func(t *testing.T) *backend.Ports {
		path := filepath.Join(t.TempDir(), "af.db")
		here, there := openUntilEnd(t, path, opts...), openUntilEnd(t, path, opts...)
		waitConnected(t, here, there)
		mixed := *here
		mixed.Transport = split{there.Transport, here.Transport}
		mixed.Coordinator = splitCoordinator{there.Coordinator, here.Coordinator}
		mixed.Calls = splitCalls{there.Calls, here.Calls}
		return &mixed
	}
}

// waitConnected returns once events arrive: then the gap of the new connection has been delivered, too.
func waitConnected(t *testing.T, here, there *backend.Ports) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	heard := make(chan struct{}, 1)
	var subscribing sync.WaitGroup
	subscribing.Go(func() {
		_ = here.Coordinator.Subscribe(ctx, "hello", func(event json.RawMessage) {
			if event != nil {
				cancel()
				heard <- struct{}{}
			}
		})
	})
	testkit.Eventually(t, "the sessions are connected", func() bool {
		if err := there.Coordinator.Publish(t.Context(), "hello", json.RawMessage(`1`)); err != nil {
			t.Fatal(err)
		}
		return ctx.Err() != nil
	})
	subscribing.Wait()
	if len(heard) == 0 {
		t.Fatal("the sessions are not connected")
	}
}

type split struct {
	backend.Transport                   // sends
	to                backend.Transport // receives
}

func (s split) Listen(ctx context.Context, queue string, window int) (backend.Listener, error) {
	return s.to.Listen(ctx, queue, window)
}

func (s split) Receive(
	ctx context.Context, queue string, fn func(context.Context, *backend.Message) backend.Handled,
) error {
	return s.to.Receive(ctx, queue, fn)
}

type splitCoordinator struct {
	backend.Coordinator // publishes
	to                  backend.Coordinator
}

func (s splitCoordinator) Subscribe(ctx context.Context, topic string, fn func(json.RawMessage)) error {
	return s.to.Subscribe(ctx, topic, fn)
}

func (s splitCoordinator) Present(ctx context.Context, kind string) (map[string]json.RawMessage, error) {
	return s.to.Present(ctx, kind)
}

type splitCalls struct {
	backend.Calls // calls
	to            backend.Calls
}

func (s splitCalls) Serve(ctx context.Context, e backend.Endpoint, h backend.Handler) (backend.Serving, error) {
	return s.to.Serve(ctx, e, h)
}

func TestTransportConformsBetweenTwo(t *testing.T) {
	conform.Transport(t, pair(), options)
}

func TestCoordinatorConformsBetweenTwo(t *testing.T) {
	t.Parallel() // mostly sleeps
	conform.Coordinator(t, pair(), options)
}

func TestCallsConformBetweenTwo(t *testing.T) {
	conform.Calls(t, pair(), options)
	t.Run("loopback", func(t *testing.T) { conform.Calls(t, pair(embedded.Loopback()), options) })
}
