package tasks

import (
	"maps"
	"slices"
	"time"
)

// A QueueState is what this process does for one queue.
type QueueState struct {
	Queue       string
	Fingerprint string
	Own         int   // the worker's own maximum
	Applied     Limit // what the pool goes by
	Slots       int   // in use, by handlers that were given up on as well
	Running     []string
	Abandoned   int
}

// Queues returns the names of the queues whose tasks this process runs, sorted.
func (e *Engine) Queues() []string { return slices.Sorted(maps.Keys(e.pools)) }

// Fingerprint returns the fingerprint of the payload of a queue's worker here. ok is false if there is none.
func (e *Engine) Fingerprint(queue string) (fingerprint string, ok bool) {
	p := e.pools[queue]
	if p == nil {
		return "", false
	}
	return p.worker.Fingerprint, true
}

// State returns what this process does for its queues, sorted by name. withIDs fills in Running.
func (e *Engine) State(withIDs bool) []QueueState {
	states := make([]QueueState, 0, len(e.pools))
	for _, queue := range e.Queues() {
		p := e.pools[queue]
		p.mu.Lock()
		s := QueueState{Queue: queue, Fingerprint: p.worker.Fingerprint, Own: p.worker.Max, Applied: p.applied, Slots: p.slots}
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

// Unwritten returns how many results the store doesn't have yet, and since when the first of them is waiting.
func (e *Engine) Unwritten() (n int, since time.Time) { return e.settler.oldest() }
