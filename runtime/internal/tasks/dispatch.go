package tasks

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// dispatch publishes pending hints and fails tasks that have missed their deadline. It runs every second, and also
// when all hints are consumed while more are pending, so that a backlog larger than the transport holds drains at the
// worker's pace.
func (p *pool) dispatch(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-p.spent.C():
			if most := p.mayHint(ctx); most > 0 {
				p.promote(ctx, most)
			}
			continue // the timer keeps running: deadlines are checked each second
		case <-ctx.Done():
			return
		}
		wait := retry.Jitter(time.Second)
		if next := p.promote(ctx, p.mayHint(ctx)); next > 0 {
			wait = min(wait, next)
		}
		timer.Reset(wait)
	}
}

// mayHint returns how many more hints the transport should hold.
func (p *pool) mayHint(ctx context.Context) int {
	if !p.byID {
		return 0
	}
	depth, err := p.e.Ports.Transport.Depth(ctx, p.worker.Queue)
	if err != nil || depth >= p.window()/2 {
		return 0
	}
	return p.window() - depth
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
	p.mu.Lock()
	p.hintsPending = p.byID && len(ids) == most
	p.mu.Unlock()
	if len(ids) > 0 {
		p.e.Wake(p.worker.Queue, ids)
	}
	return next
}
