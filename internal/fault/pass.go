package fault

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A path carries a call to the port that executes it.
type path interface {
	pass(ctx context.Context, c call, run func(context.Context) (any, error)) (any, error)
}

// A call is one call of a port's method.
type call struct {
	op   string
	arg  any
	port port
}

// A port is the kind of port of a call.
type port int

const (
	toStore port = iota
	toOther
	toService // a call, which no backend executes twice
	toLast    // creates something that lasts, such as a listener: it fails as a whole or not at all
)

// through makes a call over a path.
func through[R any](ctx context.Context, p path, c call, run func(context.Context) (R, error)) (R, error) {
	v, err := p.pass(ctx, c, func(ctx context.Context) (any, error) { return run(ctx) })
	r, _ := v.(R)
	return r, err
}

// only is through for a call that returns only an error.
func only(ctx context.Context, p path, c call, run func(context.Context) error) error {
	_, err := through(ctx, p, c, func(ctx context.Context) (struct{}, error) { return struct{}{}, run(ctx) })
	return err
}

// A fate has the failures of one call.
type fate struct {
	refuse, loseReply bool
	hang, fatal       bool
	before, after     time.Duration
	again             bool
	later             time.Duration // between the first and the second time
	stall             time.Duration // until a partitioned caller learns that there is no reply
}

// draw decides a call's fate.
func (b *Backend) draw(c call) fate {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spin.count(c.op)
	var f fate
	if next := b.fails[c.op]; len(next) > 0 {
		b.fails[c.op] = next[1:]
		f.refuse, f.loseReply, f.hang = next[0] == Refused, next[0] == ReplyLost, next[0] == Hung
		f.fatal = next[0] == Fatal
		return f
	}
	p := b.plan
	if p == (Plan{}) && b.cut == Neither {
		return f
	}
	hit := func(prob float64) bool { return prob > 0 && b.rand.Float64() < prob }
	f.refuse, f.loseReply, f.again = hit(p.Refuse), hit(p.LoseReply), hit(p.Repeat)
	if hit(p.Delay) {
		d := time.Duration(b.rand.Int64N(int64(p.MostDelay) + 1))
		if b.rand.IntN(2) == 0 {
			f.before = d
		} else {
			f.after = d
		}
	}
	if f.again && b.rand.IntN(2) == 0 {
		f.later = time.Duration(b.rand.Int64N(int64(p.MostDelay) + 1))
	}
	if b.cut != Neither {
		f.refuse = f.refuse || b.cut&Requests != 0
		f.loseReply = f.loseReply || b.cut&Replies != 0
		f.stall = time.Duration(b.rand.IntN(4)) * time.Second
	}
	return f
}

// pass applies a call's fate. The process's state has precedence: a dead process calls nothing, and a frozen one
// neither sends nor receives.
func (b *Backend) pass(ctx context.Context, c call, run func(context.Context) (any, error)) (any, error) {
	b.calls.Add(1)
	b.Pause()
	if b.crashed() {
		return nil, gone(c)
	}
	f := b.draw(c)
	if f.fatal {
		b.Crash()
		return nil, gone(c)
	}
	if f.hang {
		return nil, b.hang(ctx, c)
	}
	switch c.port {
	case toService:
		f.again = false
	case toLast:
		f = fate{refuse: f.refuse, stall: f.stall}
	}
	if f.refuse {
		b.stall(ctx, f.stall)
		return nil, backend.Errorf(backend.ErrUnavailable, "%s: the request did not arrive",
			c.op).With(backend.OutcomeNotSent)
	}
	var v any
	var err error
	if f.before == 0 && f.after == 0 {
		v, err = b.apply(ctx, f, run)
	} else {
		v, err = b.slowly(ctx, c, f, run)
	}
	if f.loseReply {
		b.stall(ctx, f.stall)
	}
	b.Pause()
	switch {
	case b.crashed():
		return nil, gone(c)
	case f.loseReply:
		return nil, backend.Errorf(backend.ErrUnavailable, "%s: the reply was lost", c.op)
	}
	return v, err
}

// apply executes the call, twice if that is its fate: the second time right after, or long after the caller has
// returned. A request that does not arrive can't be repeated: its caller is told that it has had no effect.
func (b *Backend) apply(ctx context.Context, f fate, run func(context.Context) (any, error)) (any, error) {
	if b.crashed() {
		return nil, context.Canceled
	}
	v, err := run(ctx)
	switch {
	case !f.again || lost(err):
	case f.later == 0:
		if again, errAgain := run(ctx); !lost(errAgain) {
			v, err = again, errAgain
		}
	default:
		ctx := context.WithoutCancel(ctx)
		go func() {
			b.stall(ctx, f.later)
			if !b.crashed() {
				_, _ = run(ctx) // the caller has the first one's result
			}
		}()
	}
	return v, err
}

// lost reports whether a request has not arrived.
func lost(err error) bool {
	return err != nil && backend.Coded(err).Outcome == backend.OutcomeNotSent
}

// slowly delays the request or the reply. The caller returns when its context ends; the request in flight still takes
// effect.
func (b *Backend) slowly(ctx context.Context, c call, f fate, run func(context.Context) (any, error)) (any, error) {
	type reply struct {
		v   any
		err error
	}
	came := make(chan reply, 1)
	go func() {
		on := context.WithoutCancel(ctx)
		b.stall(on, f.before)
		v, err := b.apply(on, f, run)
		b.stall(on, f.after)
		came <- reply{v, err}
	}()
	select {
	case r := <-came:
		return r.v, r.err
	case <-ctx.Done():
		return nil, backend.Errorf(backend.CodeOf(ctx.Err()), "%s: no reply yet: %w", c.op, context.Cause(ctx))
	case <-b.dead:
		return nil, gone(c)
	}
}

// hang waits for the end of ctx or of the process.
func (b *Backend) hang(ctx context.Context, c call) error {
	select {
	case <-ctx.Done():
		return backend.Errorf(backend.CodeOf(ctx.Err()), "%s: no reply: %w", c.op, context.Cause(ctx))
	case <-b.dead:
		return gone(c)
	}
}

// stall waits for d, until ctx ends, or until the process dies.
func (b *Backend) stall(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-b.dead:
	}
}

func (b *Backend) crashed() bool {
	select {
	case <-b.dead:
		return true
	default:
		return false
	}
}

func gone(c call) error {
	return backend.Errorf(backend.ErrUnavailable, "%s: this process is dead", c.op)
}

// living returns a context that also ends with the process, for calls that wait.
func (b *Backend) living(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-b.dead:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
