package tasks

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/afgen/afgen/runtime/internal/grace"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// An observer is an Engine without workers that only does what callers request: it inserts, stops and waits for tasks.
// It has no owner in the store, detects no dead processes and repairs nothing. Its goroutines wait for the follow-up of
// a request, so an idle observer sends nothing. It subscribes to the ends of tasks only while a caller waits for one.
func (e *Engine) observerPhases() []phase {
	return []phase{
		{"goroutines", nil, func() []func(context.Context) { return nil }, e.endGoroutines},
		{"follow up", nil, e.followUpParts, e.flush},
		{"claim", nil, func() []func(context.Context) { return nil }, e.drainPools},
	}
}

// endGoroutines stops all goroutines.
func (e *Engine) endGoroutines(b budget) error {
	e.end()
	grace.Await(b.end, e.done.Wait)
	return nil
}

// hearEnd notifies a waiter for a task of an observer. The caller must call the returned function at the end of the
// wait.
func (e *Engine) hearEnd(id string, ch signal.Signal) (stop func()) {
	ctx, cancel := context.WithCancel(e.ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.bus.Subscribe(topicEnded, func(event json.RawMessage) {
			var ids []string
			if event == nil || json.Unmarshal(event, &ids) != nil || slices.Contains(ids, id) {
				ch.Set()
			}
		})(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}
