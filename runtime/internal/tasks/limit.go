package tasks

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/heartbeat"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A Limit is how many tasks of a queue this instance may run at once. The zero Limit means unread limits and claims
// nothing.
type Limit struct {
	Max      int
	Paused   bool
	Revision int64
	Known    bool // whether the limits have been read
}

// limitsEvery is how often limits are read without an event: within 5 s including jitter.
const limitsEvery = 4 * time.Second

// A LimitOf returns the limit of a queue whose worker has the maximum own.
type LimitOf func(queue string, own int) Limit

// Slots returns how many tasks may run at once.
func (l Limit) Slots() int {
	if l.Paused || !l.Known {
		return 0
	}
	return l.Max
}

// A limiter reads the limits of this App's queues, on events and every limitsEvery, and passes them to the pools.
type limiter struct {
	e      *Engine
	first  LimitOf // as read at the start; nil if that failed
	reload signal.Signal
}

func newLimiter(e *Engine) *limiter { return &limiter{e: e, reload: signal.New()} }

// now requests a read. It never blocks.
func (l *limiter) now() {
	l.reload.Set()
}

// begin reads the initial limits. If that fails, pools claim nothing until a read succeeds.
func (l *limiter) begin(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, heartbeat.Timeout(l.e.Lease))
	defer cancel()
	var err error
	if l.first, err = l.e.ReadLimits(ctx); err != nil {
		l.e.LogUnavailable(ctx, "reading limits failed, not claiming until it succeeds", err)
	}
}

// of returns the initial limit of a pool.
func (l *limiter) of(w Worker) Limit {
	if l.first == nil {
		return Limit{}
	}
	return l.first(w.Queue, w.Max)
}

// run reads the limits until ctx ends.
func (l *limiter) run(ctx context.Context) {
	if len(l.e.pools) == 0 {
		return
	}
	for {
		wait := limitsEvery
		if err := l.load(ctx); err != nil && ctx.Err() == nil {
			l.e.Log.Debug("reading limits failed", "error", err)
			wait = retry.MinPoll
		}
		timer := time.NewTimer(retry.Jitter(wait))
		select {
		case <-l.reload.C():
		case <-timer.C:
		case <-ctx.Done():
		}
		if timer.Stop(); ctx.Err() != nil {
			return
		}
	}
}

// load reads the limits and passes them to the pools.
func (l *limiter) load(ctx context.Context) error {
	limitOf, err := l.e.ReadLimits(ctx)
	if err != nil {
		return err
	}
	for name, p := range l.e.pools {
		p.limitTo(limitOf(name, p.worker.Max))
	}
	return nil
}

// limitTo sets how many tasks the pool may run. The claim loop applies it between two claims, so no claim in flight
// counts on more slots.
func (p *pool) limitTo(l Limit) {
	p.mu.Lock()
	changed := p.wanted != l
	p.wanted = l
	p.mu.Unlock()
	if changed {
		p.wake.Set()
	}
}

// applyLimit applies the wanted limit to the slots and the listener's window. Excess hints go to other instances.
// Only the claim loop calls it, between claims.
func (p *pool) applyLimit(ctx context.Context) {
	p.mu.Lock()
	changed := p.wanted != p.applied
	more := p.wanted.Slots() > p.applied.Slots()
	p.applied = p.wanted
	if more {
		p.poll, p.fitted = true, time.Time{}
	}
	p.mu.Unlock()
	if changed {
		p.e.LimitApplied()
	}
	p.resize(ctx)
	hints := p.excessHints()
	if len(hints) == 0 {
		return
	}
	p.passOn(ctx, hints)
	// A listener that doesn't follow its new window gets them again at once. So that they don't circle at full speed, its
	// window is set again, after a pause, before more are passed on.
	if p.passed++; p.passed == maxPassed {
		p.listening, p.resized = unsure, time.Now()
	}
}

const (
	maxPassed = 8  // how often excess hints are passed on between two changes of the listener's window
	unsure    = -1 // the window of a listener that must be set again
)

// excessHints takes the hints beyond the window. There are none before the listener has the window too, because it
// would deliver them again. Those that were on their way meanwhile can arrive at any time.
func (p *pool) excessHints() []backend.Hint {
	p.mu.Lock()
	defer p.mu.Unlock()
	window := p.windowNow()
	if p.listening != window || len(p.hinted) <= window {
		return nil
	}
	excess := p.hinted[window:]
	p.hinted = p.hinted[:window:window]
	return excess
}

// resize sets the listener's window, and retries on failure: with too small a window it gets too few hints or none.
// Only the claim loop calls it.
func (p *pool) resize(ctx context.Context) {
	window := p.window()
	if window == p.listening || time.Since(p.resized) < retry.MinPoll {
		return
	}
	p.resized = time.Now()
	opCtx, cancel := context.WithTimeout(ctx, retry.Timeout)
	defer cancel()
	if err := p.listener.Resize(opCtx, window); err != nil {
		if ctx.Err() == nil {
			p.e.Log.Debug("changing the listener's window failed", "queue", p.worker.Queue, "error", err)
		}
		return
	}
	p.listening, p.resized, p.passed = window, time.Time{}, 0
}

// passOn publishes hints again that this pool won't claim soon. If that fails, the dispatcher does it later.
func (p *pool) passOn(ctx context.Context, hints []backend.Hint) {
	if len(hints) == 0 {
		return
	}
	ids := make([]string, len(hints))
	for i, h := range hints {
		ids[i] = h.ID
	}
	if _, err := p.e.Ports.Transport.Hint(ctx, p.worker.Queue, ids); err != nil && ctx.Err() == nil {
		p.e.Log.Debug("passing on hints failed", "queue", p.worker.Queue, "error", err)
	}
	for _, h := range hints {
		h.Done()
	}
}
