package memory

import (
	"cmp"
	"context"
	"slices"

	"github.com/afgen/afgen/runtime/backend"
)

// Queues implements backend.Store. All counts are exact.
func (s *store) Queues(ctx context.Context) ([]backend.QueueCounts, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	all := make([]backend.QueueCounts, 0, len(s.queues))
	for name, q := range s.queues {
		counts := map[backend.Status]backend.Count{}
		for _, status := range backend.Statuses() {
			if n := q.tasks.counts[statusIndex(status)]; n > 0 {
				counts[status] = backend.Count{N: n}
			}
		}
		if len(counts) == 0 {
			continue
		}
		c := backend.QueueCounts{Queue: name, Counts: counts}
		q.moveDueToReady(now.at)
		if r := q.oldest(now.at); r != nil {
			c.Oldest = r.RunAt
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b backend.QueueCounts) int { return cmp.Compare(a.Queue, b.Queue) })
	return all, nil
}

// oldest returns the task that has been due for longest, of the first ready task of each weight. The caller has called
// moveDueToReady.
func (q *queue) oldest(now int64) *record {
	first := map[int]*record{} // by weight
	q.eachReadyQueue(func(l *priorityQueue) {
		for _, w := range l.weights {
			if r := l.firstOf(w, now); r != nil && (first[w.weight] == nil || r.seq < first[w.weight].seq) {
				first[w.weight] = r
			}
		}
	})
	var oldest *record
	for _, r := range first {
		if oldest == nil || r.due < oldest.due {
			oldest = r
		}
	}
	return oldest
}

// eachReadyQueue calls fn for the priority queues that together have all ready tasks.
func (q *queue) eachReadyQueue(fn func(*priorityQueue)) {
	fn(&q.ready)
	for _, l := range q.restricted {
		fn(l)
	}
}

// firstOf returns the first task of a weight that is not past its deadline, or nil.
func (q *priorityQueue) firstOf(w *weightClass, now int64) (first *record) {
	for !w.empty() && w.first().stale() {
		w.drop()
		q.n--
		q.stale--
	}
	w.walk(func(e entry) bool {
		if first != nil && first.seq < e.seq {
			return false
		}
		if e.stale() || e.r.deadline <= now {
			return true
		}
		first = e.r
		return false
	})
	return first
}

// walk calls fn for the entries of a weight: for those of ordered by age until it returns false, and for those of
// outOfOrder, but not for the ones that are younger than an entry for which it returned false.
func (w *weightClass) walk(fn func(entry) bool) {
	for _, e := range w.ordered[w.head:] {
		if !fn(e) {
			break
		}
	}
	var below func(i int)
	below = func(i int) {
		if i < len(w.outOfOrder) && fn(w.outOfOrder[i]) {
			below(2*i + 1)
			below(2*i + 2)
		}
	}
	below(0)
}

// Ahead implements backend.Store.
func (s *store) Ahead(ctx context.Context, id string) (backend.Count, error) {
	if err := checkContext(ctx); err != nil {
		return backend.Count{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.tasks[id]
	if r == nil {
		return backend.Count{}, noTask(id)
	}
	now := s.now()
	r.queue.moveDueToReady(now.at)
	n := 0
	r.queue.eachReadyQueue(func(l *priorityQueue) {
		for _, w := range l.weights {
			if w.weight < r.Weight {
				break
			}
			w.walk(func(e entry) bool {
				if w.weight == r.Weight && e.seq >= r.seq || n > backend.MaxTotal {
					return false
				}
				if !e.stale() && e.r.deadline > now.at {
					n++
				}
				return true
			})
		}
	})
	counted, more := backend.BoundedTotal(n)
	return backend.Count{N: counted, AtLeast: more}, nil
}
