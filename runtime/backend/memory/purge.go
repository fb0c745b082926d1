package memory

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

// An ageing lists families of one queue that have ended, oldest first, by their root: a task that is nobody's subtask. One without
// subtasks is a family of its own.
type ageing struct {
	list  []ending
	head  int
	stale int
}

// An ending is one entry; it is stale when the family has begun to live again, or is gone.
type ending struct {
	at      int64
	endings uint32
	root    *record
}

func (e ending) stale() bool { return e.root.gone || e.root.endings != e.endings }

// reopen notes that n more tasks or sets of a family live.
func (s *store) reopen(root *record, n int) {
	if root.open == 0 && n > 0 {
		root.endings++
		root.queue.ended.lost()
	}
	root.open += n
}

// closeOne notes that a task or set of a family has ended.
func (s *store) closeOne(root *record, now tick) {
	if root.open--; root.open == 0 {
		a := &root.queue.ended
		a.list = append(a.list, ending{now.at, root.endings, root})
	}
}

// len is how many families have ended.
func (a *ageing) len() int { return len(a.list) - a.head - a.stale }

// first returns the oldest entry that is not stale.
func (a *ageing) first() (ending, bool) {
	for a.head < len(a.list) {
		if e := a.list[a.head]; !e.stale() {
			return e, true
		}
		a.list[a.head] = ending{}
		a.head++
		a.stale--
		if a.head > 1024 && a.head > len(a.list)/2 {
			a.compact()
		}
	}
	a.list, a.head = a.list[:0], 0
	return ending{}, false
}

// lost notes that one entry has become stale.
func (a *ageing) lost() {
	a.stale++
	if a.stale > slack && a.stale > len(a.list)/2 {
		a.compact()
	}
}

func (a *ageing) compact() {
	kept := a.list[:0]
	for _, e := range a.list[a.head:] {
		if !e.stale() {
			kept = append(kept, e)
		}
	}
	clear(a.list[len(kept):])
	a.list, a.head, a.stale = kept, 0, 0
}

// Purge implements backend.Store. A family is as old as what ended last in it, and counts once, in the queue of its
// source. One larger than max goes in several calls, its source last.
func (s *store) Purge(ctx context.Context, keep backend.Retention, max int) (int, error) {
	if err := alive(ctx); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	n := 0
	for keep.Age > 0 && n < max {
		e, ok := s.oldest()
		if !ok || now.at-e.at <= int64(keep.Age) {
			break
		}
		n += s.purge(e.root, max-n)
	}
	if keep.Max <= 0 {
		return n, nil
	}
	for _, q := range s.queues {
		for n < max && q.ended.len() > keep.Max {
			e, ok := q.ended.first()
			if !ok {
				break
			}
			n += s.purge(e.root, max-n)
		}
	}
	return n, nil
}

// oldest returns the family that ended first.
func (s *store) oldest() (oldest ending, found bool) {
	for _, q := range s.queues {
		if e, ok := q.ended.first(); ok && (!found || e.at < oldest.at) {
			oldest, found = e, true
		}
	}
	return oldest, found
}

// purge deletes up to max tasks of a family, from the leaves up.
func (s *store) purge(root *record, max int) int {
	n := 0
	path := []*record{root}
	for len(path) > 0 && n < max {
		r := path[len(path)-1]
		if r.kids != nil {
			if child := r.kids.roll.last(); child != nil {
				path = append(path, child)
				continue
			}
			if done := s.tasks[doneID(r.ID)]; done != nil && done.DoneOf == r.ID {
				path = append(path, done)
				continue
			}
			delete(s.sets, r.ID)
			delete(s.unfinished, r.kids)
		}
		s.forget(r)
		if r.held {
			s.unhold(r)
		}
		n++
		path = path[:len(path)-1]
	}
	if root.gone {
		root.queue.ended.lost()
	}
	return n
}
