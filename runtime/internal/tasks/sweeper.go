package tasks

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

const (
	sweepEvery    = 5 * time.Second
	unfinishedAge = 5 * time.Second // younger work may belong to a live process
	unfinishedMax = 100
)

// sweep finishes the work of interrupted processes. Several sweepers may run at once, because every step is
// conditional.
func (e *Engine) sweep(ctx context.Context) {
	for retry.Sleep(ctx, retry.Jitter(sweepEvery)) {
		e.repair(ctx)
	}
}

// repair finishes unfinished work.
func (e *Engine) repair(ctx context.Context) {
	var unfinished []backend.Unfinished
	err := retry.Do(ctx, retry.Timeout, func(ctx context.Context) (err error) {
		unfinished, err = e.Ports.Store.Unfinished(ctx, unfinishedAge, unfinishedMax)
		return err
	})
	e.DeferToSweeper("find unfinished work", "", err)
	for _, l := range unfinished {
		switch l.What {
		case backend.UnfinishedBatch:
			err := retry.Do(ctx, retry.Timeout, func(ctx context.Context) error {
				return e.Ports.Store.Discard(ctx, l.Source, l.Batch)
			})
			e.DeferToSweeper("discard a batch", l.Source, err)
		case backend.UnfinishedGate:
			e.follow(ctx, l.Source, followUp{open: true})
		case backend.UnfinishedSet:
			e.finish(ctx, l.Source)
		case backend.UnfinishedSubtasks:
			e.finisher.add(l.Source, followUp{stop: "source or a sibling failed"})
		case backend.UnfinishedClaims:
			e.reclaim(ctx, l.Owner, l.Count)
		case backend.UnfinishedOverdue:
			e.expire(ctx, l.Queue)
		}
	}
}

// reclaim releases tasks claimed by an owner after it was declared dead.
func (e *Engine) reclaim(ctx context.Context, owner string, count int64) {
	var freed []backend.Task
	err := retry.Do(ctx, retry.Timeout, func(ctx context.Context) (err error) {
		freed, err = e.Ports.Store.ExpireOwner(ctx, owner, count, e.MaxCrashes)
		return err
	})
	e.DeferToSweeper("release late claims", owner, err)
	e.moved(freed)
}

// expire fails tasks of a queue that wait past their deadline. Workers of the queue do the same.
func (e *Engine) expire(ctx context.Context, queue string) {
	var failed []backend.Task
	err := retry.Do(ctx, retry.Timeout, func(ctx context.Context) (err error) {
		_, failed, _, err = e.Ports.Store.Promote(ctx, queue, 0)
		return err
	})
	e.DeferToSweeper("expire tasks of queue", queue, err)
	e.ended(failed)
}
