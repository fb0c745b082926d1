package tasks

import (
	"maps"
	"slices"
	"time"
)

// A QueueState describes one queue in this process.
type QueueState struct {
	Queue       string
	Fingerprint string
	Own         int   // the worker's own maximum
	Applied     Limit // the limit in effect
	Slots       int   // in use, including by abandoned handlers
	Running     []string
	Abandoned   int
}

// Queues returns the sorted names of the queues whose tasks this process runs.
func (e *Engine) Queues() []string { return slices.Sorted(maps.Keys(e.pools)) }

// Fingerprint returns the payload fingerprint of a queue's worker. ok is false if this process has none.
func (e *Engine) Fingerprint(queue string) (fingerprint string, ok bool) {
	p := e.pools[queue]
	if p == nil {
		return "", false
	}
	return p.worker.Fingerprint, true
}

// State returns the state of this process's queues, sorted by name. withIDs fills in Running.
func (e *Engine) State(withIDs bool) []QueueState {
	states := make([]QueueState, 0, len(e.pools))
	for _, queue := range e.Queues() {
		p := e.pools[queue]
		p.mu.Lock()
		s := QueueState{Queue: queue, Fingerprint: p.worker.Fingerprint, Own: p.worker.Max,
			Applied: p.applied, Slots: p.slots}
		s.Abandoned, _ = p.abandoned()
		if withIDs {
			for key := range p.running {
				s.Running = append(s.Running, key.id)
			}
			slices.Sort(s.Running)
		}
		p.mu.Unlock()
		states = append(states, s)
	}
	return states
}

// Unwritten returns how many results are not yet in the store, and since when the oldest is waiting.
func (e *Engine) Unwritten() (n int, since time.Time) { return e.settler.oldest() }
