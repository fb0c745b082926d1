package amqp

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
)

// publishCalls makes n calls, of which the first ones run, and waits until all have been sent to the broker.
func publishCalls(t *testing.T, c *Conn, service string, n int, began chan string, running int) []chan result {
	var done []chan result
	for range n {
		done = append(done, startCall(t.Context(), c, newRequest(service)))
	}
	for range running {
		<-began
	}
	eventually(t, "all are published", func() bool {
		c.calls.mu.Lock()
		defer c.calls.mu.Unlock()
		published := 0
		for _, p := range c.calls.pending {
			if p.request.state.Load() == begun {
				published++
			}
		}
		return published >= n
	})
	return done
}

func TestLastDrainingInstanceRefusesWaitingCalls(t *testing.T) {
	url := devstack.AMQP(t)
	server, client := dial(t, url), dial(t, url)
	s, began, release := serveBlocking(t, server, "s", 2)
	done := publishCalls(t, client, "s", 100, began, 2)
	drained := make(chan error, 1)
	begun := time.Now()
	go func() { drained <- s.Drain(t.Context()) }()
	// Any two of them run.
	ends := make(chan result, len(done))
	for _, d := range done {
		go func() { ends <- <-d }()
	}
	for range 98 {
		wantError(t, (<-ends).err, backend.ErrUnavailable, backend.OutcomeNotSent)
	}
	t.Logf("98 were refused in %v", time.Since(begun))
	close(release)
	for range 2 {
		must(t, (<-ends).err)
	}
	must(t, <-drained)
	_, err := client.Calls().Call(t.Context(), newRequest("s"))
	if !errors.Is(err, backend.ErrNoInstance) {
		t.Errorf("after draining: %v", err)
	}
}

func TestDrainingInstanceHandsOverWaitingCalls(t *testing.T) {
	url := devstack.AMQP(t)
	first, second, client := dial(t, url), dial(t, url), dial(t, url)
	s, began, release := serveBlocking(t, first, "s", 2)
	done := publishCalls(t, client, "s", 100, began, 2)
	var served, again atomic.Int64
	serve(t, second, "s", 8, func(_ context.Context, req *backend.Request, reply func(*backend.Reply)) {
		served.Add(1)
		if req.Redelivered {
			again.Add(1)
		}
		reply(&backend.Reply{})
	})
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(t.Context()) }()
	eventually(t, "the other instance serves the rest", func() bool { return served.Load() == 98 })
	close(release)
	must(t, <-drained)
	for _, d := range done {
		if r := <-d; r.err != nil || r.reply.Err != nil {
			t.Errorf("%v %+v", r.err, r.reply)
		}
	}
	if again.Load() != 0 {
		t.Errorf("%d are marked as redelivered", again.Load())
	}
}

// A draining instance loses its connection after another instance has begun a call that it has handed over, and before
// the broker has confirmed that. The caller must not be told that the call was not sent.
func TestOutcomeOfAnUnconfirmedHandoverIsUnknown(t *testing.T) {
	url := devstack.AMQP(t)
	p := newProxy(t, url)
	first, second, client := dial(t, p.url), dial(t, url), dial(t, url)
	s, began, release := serveBlocking(t, first, "s", 1)
	done := publishCalls(t, client, "s", 2, began, 1)
	_, taken, free := serveBlocking(t, second, "s", 8)
	p.Delay(300 * time.Millisecond) // also the confirmation
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(t.Context()) }()
	<-taken
	p.Cut()
	p.Restore()
	ends := make(chan result, len(done))
	for _, d := range done {
		go func() { ends <- <-d }()
	}
	end := <-ends
	if end.err == nil && end.reply.Err != nil {
		end.err = end.reply.Err
	}
	wantError(t, end.err, backend.ErrUnavailable, backend.OutcomeUnknown)
	close(release)
	close(free)
	<-ends
	must(t, <-drained)
}

func TestClosedServingHandsOverWaitingCalls(t *testing.T) {
	url := devstack.AMQP(t)
	first, second, client := dial(t, url), dial(t, url), dial(t, url)
	s, began, release := serveBlocking(t, first, "s", 2)
	done := publishCalls(t, client, "s", 20, began, 2)
	serve(t, second, "s", 8, echo)
	s.Close(errors.New("enough"))
	close(release)
	for _, d := range done {
		if r := <-d; r.err != nil {
			t.Errorf("%v", r.err)
		}
	}
}

func TestCloseFailsCallsInFlight(t *testing.T) {
	url := devstack.AMQP(t)
	server, client := dial(t, url), dial(t, url)
	_, began, release := serveBlocking(t, server, "s", 1)
	defer close(release)
	d := startCall(t.Context(), client, newRequest("s"))
	<-began
	must(t, client.Close(t.Context()))
	wantError(t, (<-d).err, backend.ErrUnavailable, backend.OutcomeUnknown)
	_, err := client.Calls().Call(t.Context(), newRequest("s"))
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
	_, err = client.Calls().Serve(t.Context(), backend.Endpoint{Service: "x"}, echo)
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
	if up, _ := client.Transport().State(); up {
		t.Error("up after Close")
	}
	must(t, client.Close(t.Context()))
}
