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
	purgeMax      = 500 // tasks deleted by one request
)

// A purgeTurn is the document that names the purger. One process of the system deletes expired tasks, every minute,
// and records each time. It keeps that job, because it remembers what the store has. If it is a minute late, the first
// process that notices takes the job. Times are of the store's clock. Two purgers at once would be harmless: a purge
// is a series of conditional deletions.
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
		if wait = e.takePurgeTurn(ctx); wait == 0 {
			wait = e.purge(ctx)
			e.purged(ctx)
		}
	}
}

// takePurgeTurn tries to make it this process's turn to purge. It returns 0 if it is, and otherwise when to try again.
func (e *Engine) takePurgeTurn(ctx context.Context) (wait time.Duration) {
	err := retry.Do(ctx, retry.Timeout, func(ctx context.Context) error {
		now, err := e.Ports.Store.Now(ctx)
		if err != nil {
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
		return purgeEvery
	case err != nil:
		e.DeferToSweeper("purge", "", err)
		return purgeEvery
	}
	return wait
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
	for ctx.Err() == nil {
		opCtx, cancel := context.WithTimeout(ctx, retry.Timeout)
		n, err := e.Ports.Store.Purge(opCtx, e.Retention, purgeMax)
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
