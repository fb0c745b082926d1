package amqp

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
)

func TestFullQueueRefusesHints(t *testing.T) {
	tr, q := dial(t, devstack.AMQP(t)).Transport(), devstack.Name(t)
	var ids []string
	for range maxHints + 100 {
		ids = append(ids, "x")
	}
	taken, err := tr.Hint(t.Context(), q, ids)
	must(t, err)
	n := 0
	for _, ok := range taken {
		if ok {
			n++
		}
	}
	// The broker confirms some that arrive before it notices that the queue is full.
	if n < maxHints || n == len(ids) || taken[len(taken)-1] {
		t.Errorf("%d of %d accepted", n, len(ids))
	}
}

func TestQueueKindMismatchFails(t *testing.T) {
	url, q := devstack.AMQP(t), devstack.Name(t)
	classic, quorum := dial(t, url).Transport(), dial(t, url, func(c *Config) { c.Quorum = true }).Transport()
	must(t, classic.Send(t.Context(), q, aMessage(`1`)))
	err := quorum.Send(t.Context(), q, aMessage(`1`))
	wantError(t, err, backend.ErrFailedPrecondition, backend.OutcomeNotSent)
	err = quorum.Receive(t.Context(), q, accept(func(string) {}))
	wantError(t, err, backend.ErrFailedPrecondition, backend.OutcomeNotSent)
	_, err = classic.Hint(t.Context(), q, []string{"x"})
	must(t, err)
	_, err = quorum.Listen(t.Context(), q, 1)
	wantError(t, err, backend.ErrFailedPrecondition, backend.OutcomeNotSent)
}

func TestPanickingReceiverKeepsMessage(t *testing.T) {
	tr, q := dial(t, devstack.AMQP(t)).Transport(), devstack.Name(t)
	must(t, tr.Send(t.Context(), q, aMessage(`1`)))
	func() {
		defer func() { _ = recover() }()
		_ = tr.Receive(t.Context(), q, accept(func(string) { panic("oh") }))
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var got atomic.Int32
	_ = tr.Receive(ctx, q, accept(func(string) { got.Add(1); cancel() }))
	if got.Load() != 1 {
		t.Errorf("received %d times", got.Load())
	}
}

func TestHintWithoutQueueIsNotAccepted(t *testing.T) {
	url, q := devstack.AMQP(t), devstack.Name(t)
	tr := dial(t, url).Transport()
	for i, want := range []bool{true, false, true} {
		if i == 1 {
			_, err := bare(t, url).QueueDelete(prefixHints+q, false, false, false)
			must(t, err)
		}
		taken, err := tr.Hint(t.Context(), q, []string{"x"})
		must(t, err)
		if taken[0] != want {
			t.Errorf("hint %d: accepted is %v", i, taken[0])
		}
	}
}

// Hints of a queue that can't be consumed from are lost to this process, so State tells its workers to poll.
func TestStateIsDownWhileListenerCannotConsume(t *testing.T) {
	url, q := devstack.AMQP(t), devstack.Name(t)
	c := dial(t, url)
	l, err := c.Transport().Listen(t.Context(), q, 1)
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	waitState(t, c, true)
	eventually(t, "another queue has the name", func() bool { // the listener may be faster
		ch := bare(t, url)
		if _, err := ch.QueueDelete(prefixHints+q, false, false, false); err != nil {
			return false
		}
		_, err := ch.QueueDeclare(prefixHints+q, true, false, false, false, nil)
		return err == nil
	})
	waitState(t, c, false)
	_, err = bare(t, url).QueueDelete(prefixHints+q, false, false, false)
	must(t, err)
	waitState(t, c, true)
}

// A virtual host may make queues quorum queues by default. Everything works there with either setting. A raw message
// that fails often is kept: by default, RabbitMQ 4 drops it from a quorum queue after 20 deliveries.
func TestVirtualHostWithQuorumDefault(t *testing.T) {
	for name, quorum := range map[string]bool{"classic": false, "quorum": true} {
		t.Run(name, func(t *testing.T) {
			url := devstack.AMQPQuorum(t)
			change := func(c *Config) { c.Quorum = quorum }
			f := newFixture(t, url, change)
			defer close(f.release)
			f.works()
			tr, q := f.client.Transport(), "failing"
			must(t, tr.Send(t.Context(), q, aMessage(`1`)))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			deliveries := 0
			_ = tr.Receive(ctx, q, func(context.Context, *backend.Message) backend.Handled {
				if deliveries++; deliveries <= 25 {
					return backend.Handled{}
				}
				cancel()
				return backend.Handled{Done: true}
			})
			if deliveries != 26 {
				t.Errorf("%d deliveries", deliveries)
			}
		})
	}
}
