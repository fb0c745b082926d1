package amqp

import (
	"context"
	"encoding/json"
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
	must(t, classic.Send(t.Context(), q, json.RawMessage(`1`)))
	err := quorum.Send(t.Context(), q, json.RawMessage(`1`))
	wantError(t, err, backend.ErrFailedPrecondition, backend.OutcomeNotSent)
	err = quorum.Receive(t.Context(), q, func(context.Context, json.RawMessage) error { return nil })
	wantError(t, err, backend.ErrFailedPrecondition, backend.OutcomeNotSent)
	_, err = classic.Hint(t.Context(), q, []string{"x"})
	must(t, err)
	_, err = quorum.Listen(t.Context(), q, 1)
	wantError(t, err, backend.ErrFailedPrecondition, backend.OutcomeNotSent)
}

func TestPanickingReceiverKeepsMessage(t *testing.T) {
	tr, q := dial(t, devstack.AMQP(t)).Transport(), devstack.Name(t)
	must(t, tr.Send(t.Context(), q, json.RawMessage(`1`)))
	func() {
		defer func() { _ = recover() }()
		_ = tr.Receive(t.Context(), q, func(context.Context, json.RawMessage) error { panic("oh") })
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var got atomic.Int32
	_ = tr.Receive(ctx, q, func(context.Context, json.RawMessage) error { got.Add(1); cancel(); return nil })
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
