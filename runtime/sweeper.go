package runtime

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

const (
	sweepEvery = 5 * time.Second
	looseAge   = 5 * time.Second // younger ones are somebody's who is still at it
	looseMax   = 100
	purgeEvery = time.Minute
	purgeMax   = 500
)

// sweep does what an interrupted process has left undone, and deletes what has been kept long enough. Several sweepers
// are harmless: every step is conditional.
func (e *engine) sweep(ctx context.Context) {
	purged := time.Now()
	for retry.Sleep(ctx, retry.Jitter(sweepEvery)) {
		e.tieUp(ctx)
		if time.Since(purged) >= purgeEvery {
			purged = time.Now()
			e.purge(ctx)
		}
	}
}

// tieUp deals with unfinished work.
func (e *engine) tieUp(ctx context.Context) {
	var unfinished []backend.Unfinished
	err := retry.Do(ctx, opTimeout, func(ctx context.Context) (err error) {
		unfinished, err = e.store.Unfinished(ctx, looseAge, looseMax)
		return err
	})
	e.leave("look for unfinished work", "", err)
	for _, l := range unfinished {
		switch l.What {
		case backend.UnfinishedBatch:
			err := retry.Do(ctx, opTimeout, func(ctx context.Context) error { return e.store.Discard(ctx, l.Source, l.Batch) })
			e.leave("discard a batch", l.Source, err)
		case backend.UnfinishedGate:
			e.follow(ctx, l.Source, followUp{open: true})
		case backend.UnfinishedSet:
			e.finish(ctx, l.Source)
		case backend.UnfinishedSubtasks:
			e.finisher.add(l.Source, followUp{stop: "its source or a sibling has failed"})
		case backend.UnfinishedClaims:
			e.reclaim(ctx, l.Owner, l.Count)
		case backend.UnfinishedOverdue:
			e.expire(ctx, l.Queue)
		}
	}
}

// reclaim frees what an owner has claimed that had been declared dead by then.
func (e *engine) reclaim(ctx context.Context, owner string, count int64) {
	var freed []Task
	err := retry.Do(ctx, opTimeout, func(ctx context.Context) (err error) {
		freed, err = e.store.ExpireOwner(ctx, owner, count, e.app.settings.maxCrashes)
		return err
	})
	e.leave("free late claims", owner, err)
	e.moved(freed)
}

// expire fails what waits past its deadline in a queue. Its workers have done so, where it has any.
func (e *engine) expire(ctx context.Context, queue string) {
	var failed []Task
	err := retry.Do(ctx, opTimeout, func(ctx context.Context) (err error) {
		_, failed, _, err = e.store.Promote(ctx, queue, 0)
		return err
	})
	e.leave("look for deadlines in", queue, err)
	e.ended(failed)
}

// purge deletes finished tasks, in small batches.
func (e *engine) purge(ctx context.Context) {
	r := e.app.settings.retention
	for ctx.Err() == nil {
		opCtx, cancel := context.WithTimeout(ctx, opTimeout)
		n, err := e.store.Purge(opCtx, r, purgeMax)
		cancel()
		if err != nil {
			e.leave("purge", "", err)
		}
		if err != nil || n < purgeMax {
			return
		}
	}
}
