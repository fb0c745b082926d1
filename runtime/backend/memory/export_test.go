package memory

import (
	"fmt"
	"slices"

	"github.com/afgen/afgen/runtime/backend"
)

// Checked makes a world panic at a transition that the state table doesn't list under the row it is said to be.
func Checked() Option {
	rows := backend.Transitions()
	return func(b *Backend) {
		b.store.check = func(row int, from, to backend.Status) {
			for _, t := range rows {
				if t.Row == row && slices.Contains(t.To, to) && (slices.Contains(t.From, from) || from == "" && len(t.From) == 0) {
					return
				}
			}
			panic(fmt.Sprintf("row %d doesn't lead from %q to %q", row, from, to))
		}
	}
}

// Kept counts what the store keeps, stale entries among it.
func (b *Backend) Kept() map[string]int {
	s := b.store
	kept := map[string]int{
		"tasks": len(s.tasks), "sets": len(s.sets), "unfinished sets": len(s.unfinished),
	}
	slots := func(l *line) (n int) {
		for _, w := range l.weights {
			n += len(w.inTurn) - w.head + len(w.late)
		}
		return n
	}
	for _, q := range s.queues {
		kept["families that ended in "+q.name] = len(q.ended.list) - q.ended.head
		kept["ready in "+q.name] = slots(&q.ready)
		kept["delayed in "+q.name] = len(q.delayed.heap)
		kept["deadlines in "+q.name] = len(q.expiry.heap)
		kept["unique keys in "+q.name] = len(q.keys)
		kept["hinted in "+q.name] = len(q.hinted.heap)
		kept["in the roll of "+q.name] = len(q.roll.list)
		if q.owed != nil {
			kept["owed in "+q.name] = slots(q.owed)
		}
	}
	return kept
}
