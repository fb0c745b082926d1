package memory

import (
	"fmt"
	"slices"

	"github.com/afgen/afgen/runtime/backend"
)

// Checked makes a Backend panic on a transition that its row of the state table doesn't list.
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

// Kept returns the sizes of the store's indexes, including stale entries.
func (b *Backend) Kept() map[string]int {
	s := b.store
	kept := map[string]int{
		"tasks": len(s.tasks), "sets": len(s.sets), "unfinished sets": len(s.unfinished),
	}
	entries := func(l *priorityQueue) (n int) {
		for _, w := range l.weights {
			n += len(w.ordered) - w.head + len(w.outOfOrder)
		}
		return n
	}
	for _, q := range s.queues {
		kept["ended trees in "+q.name] = len(q.ended.list) - q.ended.head
		kept["ready in "+q.name] = entries(&q.ready)
		kept["delayed in "+q.name] = len(q.delayed.heap)
		kept["deadlines in "+q.name] = len(q.expiry.heap)
		kept["unique keys in "+q.name] = len(q.keys)
		kept["hinted in "+q.name] = len(q.hinted.heap)
		kept["task list of "+q.name] = len(q.tasks.list)
		kept["task list by end of "+q.name] = len(q.tasks.ended.list)
		kept["codes of "+q.name] = len(q.failed)
		for code, l := range q.failed {
			kept[fmt.Sprintf("tasks of %s that failed with %s", q.name, code)] = len(l.list)
		}
		if q.needHint != nil {
			kept["needing a hint in "+q.name] = entries(q.needHint)
		}
	}
	return kept
}
