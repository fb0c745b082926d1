package fault

import (
	"context"
	"encoding/json"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

type transport struct {
	in backend.Transport
	b  *Backend
}

func (t transport) Ids() bool { return t.in.Ids() }

func (t transport) State() (bool, <-chan struct{}) { return t.in.State() }

// Hint also loses, repeats and reorders hints.
func (t transport) Hint(ctx context.Context, queue string, ids []string) ([]bool, error) {
	return through(ctx, t.b, call{"Hint", ids, toOther}, func(ctx context.Context) ([]bool, error) {
		now, later, lost := t.b.scatter(ids)
		if len(later) > 0 {
			ctx := context.WithoutCancel(ctx)
			go func() {
				t.b.stall(ctx, time.Second)
				_, _ = t.in.Hint(ctx, queue, later) // it may be lost like any hint
			}()
		}
		taken := make([]bool, len(ids))
		for i := range taken {
			taken[i] = true
		}
		if lost {
			return taken, nil
		}
		_, err := t.in.Hint(ctx, queue, now)
		return taken, err
	})
}

// scatter decides which hints arrive now, in which order, and which a second later. lost reports that not even a hint
// without an id arrives.
func (b *Backend) scatter(ids []string) (now, later []string, lost bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.plan
	if p.LoseHint == 0 && p.RepeatHint == 0 && p.ShuffleHint == 0 {
		return ids, nil, false
	}
	if len(ids) == 0 {
		return nil, nil, b.rand.Float64() < p.LoseHint
	}
	for _, id := range ids {
		if b.rand.Float64() < p.LoseHint {
			continue
		}
		now = append(now, id)
		if b.rand.Float64() < p.RepeatHint {
			later = append(later, id)
		}
	}
	if b.rand.Float64() < p.ShuffleHint {
		b.rand.Shuffle(len(now), func(i, j int) { now[i], now[j] = now[j], now[i] })
		n := b.rand.IntN(len(now) + 1)
		later = append(later, now[n:]...)
		now = now[:n]
	}
	return now, later, len(now) == 0
}

func (t transport) Listen(ctx context.Context, queue string, window int) (backend.Listener, error) {
	return through(ctx, t.b, call{"Listen", queue, toLast}, func(ctx context.Context) (backend.Listener, error) {
		in, err := t.in.Listen(ctx, queue, window)
		if err != nil {
			return nil, err
		}
		l := &listener{in: in, b: t.b, t: t.in, queue: queue, window: window, changed: make(chan struct{})}
		t.b.mu.Lock()
		t.b.open[l] = struct{}{}
		t.b.mu.Unlock()
		return l, nil
	})
}

func (t transport) Depth(ctx context.Context, queue string) (int, error) {
	return through(ctx, t.b, call{"Depth", queue, toOther}, func(ctx context.Context) (int, error) {
		return t.in.Depth(ctx, queue)
	})
}

func (t transport) Send(ctx context.Context, queue string, m backend.Message) error {
	return only(ctx, t.b, call{"Send", queue, toOther}, func(ctx context.Context) error {
		return t.in.Send(ctx, queue, m)
	})
}

func (t transport) Receive(
	ctx context.Context, queue string, fn func(context.Context, *backend.Message) backend.Handled,
) error {
	ctx, cancel := t.b.living(ctx)
	defer cancel()
	return t.in.Receive(ctx, queue, func(ctx context.Context, m *backend.Message) (h backend.Handled) {
		err := only(ctx, t.b, call{"Receive", queue, toLast}, func(ctx context.Context) error {
			h = fn(ctx, m)
			return nil
		})
		if err != nil {
			return backend.Handled{Delay: 50 * time.Millisecond}
		}
		return h
	})
}

// A listener is reopened after its process was disconnected. b.mu guards in, session, window, closed and changed.
type listener struct {
	b       *Backend
	t       backend.Transport
	queue   string
	in      backend.Listener // closed while the process is disconnected
	session int              // how often it was reopened
	window  int
	closed  bool
	changed chan struct{} // closed when in has changed
}

// reopen opens the listener again.
func (l *listener) reopen() {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	if in, err := l.t.Listen(context.Background(), l.queue, l.window); err == nil && !l.closed {
		l.in = in
		l.session++
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

func (l *listener) Next(ctx context.Context, max int) ([]backend.Hint, error) {
	for {
		l.b.Pause()
		if l.b.crashed() {
			return nil, gone(call{op: "Next"})
		}
		l.b.mu.Lock()
		in, session, changed := l.in, l.session, l.changed
		l.b.mu.Unlock()
		hints, err := in.Next(ctx, max) // Crash and Disconnect close in
		l.b.Pause()
		if l.b.crashed() {
			return nil, gone(call{op: "Next"})
		}
		if err != nil && ctx.Err() == nil && !l.b.connected() {
			select {
			case <-changed:
			case <-ctx.Done():
			case <-l.b.dead:
			}
			continue
		}
		for i := range hints {
			done := hints[i].Done
			hints[i].Session = session
			hints[i].Done = func() {
				if l.b.Pause(); !l.b.crashed() {
					done()
				}
			}
		}
		return hints, err
	}
}

func (l *listener) Resize(ctx context.Context, window int) error {
	return only(ctx, l.b, call{"Resize", window, toOther}, func(ctx context.Context) error {
		l.b.mu.Lock()
		in := l.in
		l.window = window
		l.b.mu.Unlock()
		err := in.Resize(ctx, window)
		if err != nil && !l.b.connected() {
			return nil // it is reopened with this window
		}
		return err
	})
}

func (l *listener) Close() error {
	l.b.Pause()
	l.b.mu.Lock()
	delete(l.b.open, l)
	l.closed = true
	in := l.in
	l.b.mu.Unlock()
	return in.Close()
}

type coordinator struct {
	in backend.Coordinator
	b  *Backend
}

func (c coordinator) Announce(ctx context.Context, kind, name string, facts json.RawMessage) error {
	return only(ctx, c.b, call{"Announce", name, toOther}, func(ctx context.Context) error {
		return c.in.Announce(ctx, kind, name, facts)
	})
}

func (c coordinator) Present(ctx context.Context, kind string) (map[string]json.RawMessage, error) {
	return through(ctx, c.b, call{"Present", kind, toOther},
		func(ctx context.Context) (map[string]json.RawMessage, error) {
			return c.in.Present(ctx, kind)
		})
}

func (c coordinator) Publish(ctx context.Context, topic string, news json.RawMessage) error {
	return only(ctx, c.b, call{"Publish", topic, toOther}, func(ctx context.Context) error {
		return c.in.Publish(ctx, topic, news)
	})
}

// Subscribe loses events with the probability of hints.
func (c coordinator) Subscribe(ctx context.Context, topic string, fn func(json.RawMessage)) error {
	if c.b.crashed() {
		return gone(call{op: "Subscribe"})
	}
	ctx, cancel := c.b.living(ctx)
	defer cancel()
	err := c.in.Subscribe(ctx, topic, func(news json.RawMessage) {
		c.b.Pause()
		if _, _, lost := c.b.scatter(nil); !lost && !c.b.crashed() {
			fn(news)
		}
	})
	if c.b.crashed() {
		return gone(call{op: "Subscribe"})
	}
	return err
}

type calls struct {
	in backend.Calls
	b  *Backend
}

func (c calls) Call(ctx context.Context, req *backend.Request) (*backend.Reply, error) {
	return through(ctx, c.b, call{"Call", req.Method, toService}, func(ctx context.Context) (*backend.Reply, error) {
		return c.in.Call(ctx, req)
	})
}

// Serve loses the replies of a process that has crashed: its callers see that its connection broke.
func (c calls) Serve(ctx context.Context, e backend.Endpoint, h backend.Handler) (backend.Serving, error) {
	alive := func(ctx context.Context, req *backend.Request, reply func(*backend.Reply)) {
		if c.b.crashed() {
			reply(&backend.Reply{Err: backend.NewError(backend.ErrUnavailable, "the instance is dead").
				With(backend.OutcomeNotSent)})
			return
		}
		h(ctx, req, func(r *backend.Reply) {
			if c.b.crashed() {
				r = &backend.Reply{Err: backend.NewError(backend.ErrUnavailable, "the instance died during the call")}
			}
			reply(r)
		})
	}
	return through(ctx, c.b, call{"Serve", e.Service, toLast}, func(ctx context.Context) (backend.Serving, error) {
		return c.in.Serve(ctx, e, alive)
	})
}
