package tasks

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

const (
	dispatchEvery = time.Second
	watchAhead    = 3 * dispatchEvery / 2 // longer than until the next look

	refillFirst = 2 * backend.MaxDepthAge // before the transport's depth is read again; doubles
	refillMost  = time.Second
)

// dispatch publishes pending hints and fails tasks that have missed their deadline. It runs every second, or if the
// queue is quiet, when the next task is due or watchQueues has found something. While more hints are pending it also
// runs when this process has consumed most of those it has, so that a backlog larger than the transport holds drains
// at the workers' pace. Polls that claim many tasks at once do that without hints.
func (p *pool) dispatch(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	refill := time.NewTimer(0)
	defer refill.Stop()
	pause := refillFirst
	tick := func() {
		wait := retry.Jitter(dispatchEvery)
		next := p.promote(ctx, p.mayHint(ctx))
		if p.quiet.Load() {
			wait = retry.Longest
		}
		if next > 0 {
			wait = min(wait, next)
		}
		timer.Reset(wait)
	}
	for {
		select {
		case <-timer.C:
			tick()
		case <-p.promotable.C():
			tick()
		case <-p.low.C():
			pause = refillFirst
		case <-refill.C:
		case <-ctx.Done():
			return
		}
		if !p.refill(ctx) { // other processes may consume hints unnoticed
			refill.Reset(retry.Jitter(pause))
			pause = min(2*pause, refillMost)
		}
	}
}

// watchQueues makes quiet pools dispatch when their queues have something to promote. One request every second serves
// all of them.
func (e *Engine) watchQueues(ctx context.Context) {
	for retry.Sleep(ctx, retry.Jitter(dispatchEvery)) {
		var queues []string
		for name, p := range e.pools {
			if p.quiet.Load() {
				queues = append(queues, name)
			}
		}
		if len(queues) == 0 {
			continue
		}
		opCtx, cancel := context.WithTimeout(ctx, retry.Timeout)
		found, err := e.Ports.Store.Promotable(opCtx, queues, watchAhead)
		cancel()
		if err != nil && ctx.Err() == nil {
			e.Log.Debug("quiet queues not watched", "error", err)
		}
		for _, name := range found {
			if p := e.pools[name]; p != nil {
				p.promotable.Set()
			}
		}
	}
}

// refill publishes hints until none is needed. It returns false if the transport holds enough before.
func (p *pool) refill(ctx context.Context) bool {
	for p.needsHints() {
		p.e.hints.flush(ctx)
		if !retry.Sleep(ctx, refillFirst) { // so that the depth includes what was published
			return true
		}
		most := p.mayHint(ctx)
		if most == 0 {
			return false
		}
		p.promote(ctx, most)
	}
	return true
}

// needsHints reports whether ready tasks may have no hint, and polls don't find them as fast.
func (p *pool) needsHints() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hintsPending && p.perPoll < bulkClaim
}

// lowHints is the number of hints below which a pool asks for more.
func lowHints(window int) int { return window / 4 }

// mayHint returns how many more hints to publish: enough for this process's window, or 0 if there are enough for now.
func (p *pool) mayHint(ctx context.Context) int {
	if !p.byID {
		return 0
	}
	depth, err := p.e.Ports.Transport.Depth(ctx, p.worker.Queue)
	if err != nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	window := windowOf(p.applied.Slots())
	if depth += len(p.hinted); depth > window/2 {
		return 0
	}
	return window - depth
}

// promote publishes up to most hints, and returns the time until the next one is due.
func (p *pool) promote(ctx context.Context, most int) time.Duration {
	var ids []string
	var failed []backend.Task
	var next time.Duration
	err := retry.Do(ctx, retry.Timeout, func(ctx context.Context) (err error) {
		ids, failed, next, err = p.e.Ports.Store.Promote(ctx, p.worker.Queue, most)
		return err
	})
	if err != nil && ctx.Err() == nil {
		p.e.Log.Debug("nothing dispatched", "queue", p.worker.Queue, "error", err)
	}
	p.e.ended(failed)
	pending := p.byID && len(ids) == most
	p.mu.Lock()
	p.hintsPending = pending
	p.tryPoll = pending && most > 0 && p.perPoll < bulkClaim
	p.mu.Unlock()
	p.quiet.Store(err == nil && len(ids) == 0 && !pending)
	if len(ids) > 0 {
		p.e.Wake(p.worker.Queue, ids)
	}
	return next
}
