package fault_test

import (
	"context"
	"sync"

	"github.com/afgen/afgen/internal/fault"
	"github.com/afgen/afgen/internal/recorder"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/instrument"
)

// An observer is a recorder that counts events instead of keeping them: a process observes several operations of the
// store in each second.
type observer struct {
	recorder.Recorder

	mu     sync.Mutex
	events map[instrument.Kind]int
}

// Observe implements [instrument.Instrumentation].
func (o *observer) Observe(e instrument.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.events == nil {
		o.events = map[instrument.Kind]int{}
	}
	o.events[e.Kind]++
}

// noNode describes no machine, which saves reading /proc.
func noNode(context.Context) (n af.Node) { return n }

// observed returns the operations that have not ended exactly once for the instrument of their process, also in
// processes that have crashed: their goroutines end later.
func (m *sim) observed(n *tally) (broken []fault.Violation) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range m.all {
		for _, line := range p.seen.NotOnce() {
			broken = append(broken, fault.Violation{Rule: "observed", Text: p.name + ": " + line})
		}
		n.attempts += p.seen.Begun("attempt")
		n.submits += p.seen.Begun("submit")
		p.seen.mu.Lock()
		n.ends += p.seen.events[instrument.TaskEnded]
		n.observedLost += p.seen.events[instrument.AttemptLost]
		p.seen.mu.Unlock()
	}
	return broken
}
