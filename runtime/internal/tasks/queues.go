package tasks

import (
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
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
	Refusal     string    // why the pool claims nothing although its limit is not 0
	Oldest      time.Time // when the longest running attempt began, to the second; zero if none runs
}

// Queues returns the sorted names of the queues whose tasks this process runs.
func (e *Engine) Queues() []string { return slices.Clone(e.queues) }

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
	for _, queue := range e.queues {
		p := e.pools[queue]
		p.mu.Lock()
		s := QueueState{Queue: queue, Fingerprint: p.worker.Fingerprint, Own: p.worker.Max,
			Applied: p.applied, Slots: p.slots}
		s.Abandoned, _ = p.abandoned()
		for _, a := range p.running {
			if s.Oldest.IsZero() || a.begun.Before(s.Oldest) {
				s.Oldest = a.begun
			}
		}
		if withIDs {
			for key := range p.running {
				s.Running = append(s.Running, key.id)
			}
			slices.Sort(s.Running)
		}
		p.mu.Unlock()
		s.Oldest = s.Oldest.UTC().Truncate(time.Second)
		s.Refusal = p.refusesBecause()
		states = append(states, s)
	}
	return states
}

// Unwritten returns how many results are not yet in the store, and since when the oldest is waiting.
func (e *Engine) Unwritten() (n int, since time.Time) { return e.settler.oldest() }

// refusesBecause returns why the pool claims nothing although its limit is not 0, or "".
func (p *pool) refusesBecause() string {
	switch err := p.refusal.Load(); {
	case err != nil:
		return backend.Text("the store refuses its claims: "+(*err).Error(), maxClaimRefusal)
	case !p.e.heartbeat.CanClaim():
		return "the store has not accepted its heartbeats lately"
	case p.e.settler.backlog() > settleBacklog:
		return "too many of its results wait to be stored"
	}
	return ""
}

// maxClaimRefusal is the maximum length of QueueState.Refusal, since it is announced.
const maxClaimRefusal = 200
