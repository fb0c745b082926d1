package tasks

import (
	"context"
	"sync"

	"github.com/afgen/afgen/runtime/internal/signal"
)

// A finisher stops or releases the subtasks of sources that have ended, and finishes sources. It has its own
// goroutines, so a source with many subtasks doesn't delay the results of other tasks. Requests for the same source
// are merged. Requests beyond maxFollowUps sources are deferred to the sweeper.
type finisher struct {
	e *Engine

	mu      sync.Mutex
	pending map[string]*followUp // by source
	order   []string             // of pending
	busy    int                  // working goroutines
	idle    chan struct{}        // closed when nothing is pending; created by flush

	wake signal.Signal
}

const (
	finishers    = 4
	maxFollowUps = 10_000
)

func newFinisher(e *Engine) *finisher {
	return &finisher{e: e, pending: map[string]*followUp{}, wake: signal.New()}
}

// add requests f for a source. It never blocks.
func (w *finisher) add(source string, f followUp) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.pending[source]
	switch {
	case old != nil:
		if old.stop == "" {
			old.stop = f.stop
		}
		old.open = old.open || f.open
		old.also = append(old.also, f.also...)
	case len(w.pending) >= maxFollowUps:
		w.e.Log.Debug("deferred to the sweeper: finish subtasks", "task", source)
	default:
		w.pending[source] = &f
		w.order = append(w.order, source)
		w.wake.Set()
	}
}

// take returns the next request. The goroutine must call done afterwards.
func (w *finisher) take() (source string, f *followUp) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.order) == 0 {
		w.closeIfIdle()
		return "", nil
	}
	source = w.order[0]
	f = w.pending[source]
	w.order = w.order[1:]
	delete(w.pending, source)
	w.busy++
	if len(w.order) > 0 {
		w.wake.Set() // wake another goroutine
	}
	return source, f
}

func (w *finisher) done() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy--
	w.closeIfIdle()
}

// closeIfIdle ends a flush when nothing is pending. The caller holds w.mu.
func (w *finisher) closeIfIdle() {
	if w.idle != nil && w.busy == 0 && len(w.order) == 0 {
		close(w.idle)
		w.idle = nil
	}
}

func (w *finisher) run(ctx context.Context) {
	for {
		source, f := w.take()
		if f == nil {
			select {
			case <-w.wake.C():
				continue
			case <-ctx.Done():
				return
			}
		}
		w.e.follow(ctx, source, *f)
		w.done()
	}
}

// flush waits until nothing is pending or ctx ends.
func (w *finisher) flush(ctx context.Context) {
	w.mu.Lock()
	if w.busy == 0 && len(w.order) == 0 {
		w.mu.Unlock()
		return
	}
	if w.idle == nil {
		w.idle = make(chan struct{})
	}
	idle := w.idle
	w.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}
