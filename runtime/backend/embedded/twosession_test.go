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

// pair opens a file twice, and returns ports of which one half lives here and the other there: who hints, sends, tells and
// calls is another than who listens, receives, hears and serves.
func pair(opts ...embedded.Option) conform.Open {
	return func(t *testing.T) *backend.Ports {
		path := filepath.Join(t.TempDir(), "af.db")
		here, there := join(t, path, opts...), join(t, path, opts...)
		acquaint(t, here, there)
		mixed := *here
		mixed.Transport = split{there.Transport, here.Transport}
		mixed.Coordinator = splitNews{there.Coordinator, here.Coordinator}
		mixed.Calls = splitCalls{there.Calls, here.Calls}
		return &mixed
	}
}

// acquaint returns once news come through: then the gap with which a connection begins is past, too.
func acquaint(t *testing.T, here, there *backend.Ports) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	heard := make(chan struct{}, 1)
	var subscribing sync.WaitGroup
	subscribing.Go(func() {
		_ = here.Coordinator.Subscribe(ctx, "hello", func(news json.RawMessage) {
			if news != nil {
				cancel()
				heard <- struct{}{}
			}
		})
	})
	testkit.Eventually(t, "the two hear each other", func() bool {
		if err := there.Coordinator.Publish(t.Context(), "hello", json.RawMessage(`1`)); err != nil {
			t.Fatal(err)
		}
		return ctx.Err() != nil
	})
	subscribing.Wait()
	if len(heard) == 0 {
		t.Fatal("the two don't hear each other")
	}
}

type split struct {
	backend.Transport // sends
	to                backend.Transport
}

func (s split) Listen(ctx context.Context, queue string, window int) (backend.Listener, error) {
	return s.to.Listen(ctx, queue, window)
}

func (s split) Receive(ctx context.Context, queue string, fn func(context.Context, json.RawMessage) error) error {
	return s.to.Receive(ctx, queue, fn)
}

type splitNews struct {
	backend.Coordinator // tells
	to                  backend.Coordinator
}

func (s splitNews) Subscribe(ctx context.Context, topic string, fn func(json.RawMessage)) error {
	return s.to.Subscribe(ctx, topic, fn)
}

func (s splitNews) Present(ctx context.Context, kind string) (map[string]json.RawMessage, error) {
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
	t.Parallel() // it mostly waits
	conform.Coordinator(t, pair(), options)
}

func TestCallsConformBetweenTwo(t *testing.T) {
	conform.Calls(t, pair(), options)
	t.Run("loopback", func(t *testing.T) { conform.Calls(t, pair(embedded.Loopback()), options) })
}
