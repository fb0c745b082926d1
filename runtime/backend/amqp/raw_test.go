package amqp

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
)

// An endingContext ends right after its Err was called.
type endingContext struct{ context.Context }

func (*endingContext) Done() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// A receiver that is cancelled while it subscribes leaves no consumer behind, which would hold messages forever.
func TestCancelledReceiverLeavesNoConsumer(t *testing.T) {
	q, c := devstack.Name(t), dial(t, devstack.AMQP(t))
	tr := c.Transport()
	must(t, tr.Send(t.Context(), q, aMessage(`1`)))
	g := c.awaitGeneration(t.Context(), nil)
	for range 10 {
		if _, err := c.transport.receiver(&endingContext{Context: t.Context()}, g, q); err == nil {
			t.Error("receiver succeeded with an ended context")
		}
	}
	const all = 1 + 40
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	sent := make(chan error, 1)
	go func() {
		var err error
		for range all - 1 {
			err = errors.Join(err, tr.Send(t.Context(), q, aMessage(`1`)))
		}
		sent <- err
	}()
	got := 0
	_ = tr.Receive(ctx, q, accept(func(string) {
		if got++; got == all {
			cancel()
		}
	}))
	if got != all {
		t.Errorf("received %d messages of %d", got, all)
	}
	must(t, <-sent)
}

// Hints that return to a full queue are kept beyond its maximum length.
func TestRequeuedHintsExceedQueueLength(t *testing.T) {
	c, q := dial(t, devstack.AMQP(t)), devstack.Name(t)
	const more = 100
	first, err := c.Transport().Listen(t.Context(), q, maxHints)
	must(t, err)
	send := func(n int) {
		ids := make([]string, n)
		for i := range ids {
			ids[i] = newID()
		}
		_, err := c.Transport().Hint(t.Context(), q, ids)
		must(t, err)
	}
	receive := func(l backend.Listener, n int) {
		for got := 0; got < n; {
			hints, err := l.Next(t.Context(), n-got)
			must(t, err)
			got += len(hints)
		}
	}
	send(maxHints)
	receive(first, maxHints)
	send(more)
	must(t, first.Close())
	second, err := c.Transport().Listen(t.Context(), q, 2*maxHints)
	must(t, err)
	defer func() { must(t, second.Close()) }()
	receive(second, maxHints+more)
}
