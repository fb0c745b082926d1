package tasks

import (
	"context"
	"encoding/json"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

const (
	purgeDoc   = "purger" // name of the document
	purgeEvery = time.Minute
	// purgeTakeover is how late the purger must be before another process replaces it.
	purgeTakeover = time.Minute
	purgeJitter   = 2 * time.Second
	purgeMax      = 500              // tasks deleted by one request
	purgingEvery  = 10 * time.Second // interval of calls of Purging during a purge
	foldMost      = purgeTakeover / 2
)

// A purgeTurn is the document that names the purger. One process of the system deletes expired tasks and folds the
// history, every minute, and records each time. It keeps that job, because it remembers what the store has. If it is a
// minute late, the first process that notices takes the job. Times are of the store's clock. Two purgers at once would
// be harmless: a purge is a series of conditional deletions, and see [history.Recorder.Fold].
type purgeTurn struct {
	Instance string    `json:"instance"`
	At       time.Time `json:"at"` // of its last purge
}

// due returns how long an instance must wait before it may purge.
func (p purgeTurn) due(instance string, now time.Time) time.Duration {
	wait := purgeEvery
	if p.Instance != instance {
		wait += purgeTakeover
	}
	if p.At.After(now.Add(purgeEvery)) { // the clock was set back
		return 0
	}
	return max(p.At.Add(wait).Sub(now), 0)
}

// purgeLoop purges whenever it is this process's turn.
func (e *Engine) purgeLoop(ctx context.Context) {
	wait := purgeEvery
	for retry.Sleep(ctx, wait+retry.Jitter(purgeJitter)) {
		var now time.Time
		if wait, now = e.takePurgeTurn(ctx); wait == 0 {
			wait = e.purge(ctx)
			e.purged(ctx)
			e.foldHistory(ctx, now)
		}
	}
}

// foldHistory folds the history, for a time after which no other process has replaced the purger.
func (e *Engine) foldHistory(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, foldMost)
	defer cancel()
	e.History.Fold(ctx, now)
}

// takePurgeTurn tries to make it this process's turn to purge. It returns 0 and the store's time if it is, and
// otherwise when to try again.
func (e *Engine) takePurgeTurn(ctx context.Context) (wait time.Duration, now time.Time) {
	err := retry.Do(ctx, retry.Timeout, func(ctx context.Context) (err error) {
		if now, err = e.Ports.Store.Now(ctx); err != nil {
			return err
		}
		doc, err := e.Ports.Docs.Get(ctx, purgeDoc)
		if err != nil && backend.CodeOf(err) != backend.ErrNotFound {
			return err
		}
		var last purgeTurn
		if json.Unmarshal(doc.Value, &last) != nil {
			last = purgeTurn{} // there is none, or it is of another version
		}
		if wait = last.due(e.Instance.ID, now); wait > 0 {
			return nil
		}
		value, err := json.Marshal(purgeTurn{e.Instance.ID, now})
		if err == nil {
			_, err = e.Ports.Docs.PutIf(ctx, purgeDoc, doc.Revision, value)
		}
		return err
	})
	switch {
	case backend.CodeOf(err) == backend.ErrAborted: // another process was faster
		return purgeEvery, now
	case err != nil:
		e.DeferToSweeper("purge", "", err)
		return purgeEvery, now
	}
	return wait, now
}

// purged lets the App delete what it keeps for a limited time.
func (e *Engine) purged(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, purgeEvery)
	defer cancel()
	e.Purged(ctx)
}

// purge deletes expired tasks in small batches, for at most a minute. It returns when to continue.
func (e *Engine) purge(ctx context.Context) (wait time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, purgeEvery)
	defer cancel()
	var prepared time.Time
	keep := e.Retention
	for ctx.Err() == nil {
		opCtx, cancel := context.WithTimeout(ctx, retry.Timeout)
		var n int
		var err error
		if time.Since(prepared) >= purgingEvery {
			prepared = time.Now()
			keep.Before, err = e.Purging(opCtx)
		}
		if err == nil {
			n, err = e.Ports.Store.Purge(opCtx, keep, purgeMax)
		}
		cancel()
		if err != nil {
			e.DeferToSweeper("purge", "", err)
			return purgeEvery
		}
		if n < purgeMax {
			return purgeEvery
		}
	}
	return 0
}
