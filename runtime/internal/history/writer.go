package history

import (
	"context"
	"encoding/json"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// Run closes and writes a window once a minute, until ctx ends. It writes nothing after a minute without events.
func (r *Recorder) Run(ctx context.Context) {
	for r.Docs != nil && retry.Sleep(ctx, r.untilClose()) {
		r.Flush(ctx)
	}
}

// untilClose returns when to close the window: within about a minute.
func (r *Recorder) untilClose() time.Duration {
	at := time.Now()
	r.mu.Lock()
	now := r.clock.now(at)
	r.mu.Unlock()
	wait := now.Truncate(minute).Add(r.phase).Sub(now)
	if wait < time.Second {
		wait += minute
	}
	return wait
}

// Flush closes the window and writes all that are not written. What it can't write, a later call does.
func (r *Recorder) Flush(ctx context.Context) {
	if r.Docs == nil {
		return
	}
	select {
	case r.writing <- struct{}{}:
		defer func() { <-r.writing }()
	case <-ctx.Done():
		return
	}
	if r.close() { // even if nothing counted, as happens while the clock is wrong
		if _, err := r.now(ctx); err != nil {
			return
		}
	}
	for {
		r.mu.Lock()
		var w *window
		if len(r.unwritten) > 0 {
			w = r.unwritten[0]
		}
		r.mu.Unlock()
		if w == nil {
			return
		}
		if err := r.write(ctx, w); err != nil {
			r.Log.Debug("storing the history failed", "number", w.seq, "error", err)
			if !retry.Refused(err) {
				return
			}
		}
		r.mu.Lock()
		r.unwritten = r.unwritten[1:]
		r.mu.Unlock()
	}
}

// close closes the window if it has events, and opens the next one. It reports whether the clock is doubted.
func (r *Recorder) close() (doubted bool) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.open
	if len(w.queues) == 0 {
		w.opened = now
		return r.clock.doubted
	}
	w.closed = now
	r.open = &window{seq: w.seq + 1, opened: now, queues: map[string]*Totals{}}
	r.unwritten = append(r.unwritten, w)
	if n := len(r.unwritten) - maxUnwritten; n > 0 {
		r.unwritten = r.unwritten[n:]
		r.Log.Debug("history lost: the store was unavailable for too long")
	}
	return r.clock.doubted
}

// middle returns the middle of a window that was closed, or is open until now, by the store's clock. The caller holds
// r.mu.
func (r *Recorder) middle(w *window, now time.Time) time.Time {
	end := w.closed
	if end.IsZero() {
		end = now
	}
	return r.clock.now(w.opened.Add(end.Sub(w.opened) / 2))
}

// write writes the document of a closed window. No other process writes it, so repeating a write whose reply was lost
// finds it written.
func (r *Recorder) write(ctx context.Context, w *window) error {
	if w.value == nil {
		if _, err := r.now(ctx); err != nil {
			return err
		}
		queues, err := encode(w.queues, maxMinuteBytes)
		if err != nil {
			return err
		}
		value, err := json.Marshal(document{Queues: queues})
		if err != nil {
			return err
		}
		r.mu.Lock()
		w.name, w.value = windowName(r.middle(w, w.closed), r.Instance, w.seq), value
		r.mu.Unlock()
	}
	err := retry.Do(ctx, retry.Timeout, func(ctx context.Context) error {
		_, err := r.Docs.PutIf(ctx, w.name, 0, w.value)
		return err
	})
	if backend.CodeOf(err) == backend.ErrAborted {
		return nil
	}
	return err
}

// now returns the store's time. It asks the store only if this process has not seen a time of its clock for long.
func (r *Recorder) now(ctx context.Context) (time.Time, error) {
	at := time.Now()
	r.mu.Lock()
	stale := r.clock.stale(at)
	now := r.clock.now(at)
	r.mu.Unlock()
	if !stale {
		return now, nil
	}
	err := retry.Do(ctx, retry.Timeout, func(ctx context.Context) (err error) {
		now, err = r.Config.Store.Now(ctx)
		return err
	})
	if err != nil {
		return now, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock.see(now, time.Now())
	return now, nil
}
