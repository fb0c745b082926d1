package memory

import (
	"context"
	"math"

	"github.com/afgen/afgen/runtime/backend"
)

// endedTrees lists the task trees of one queue that have ended, oldest first, by their root: a task that is not a
// subtask. A task without subtasks is a tree by itself.
type endedTrees struct {
	list  []endedTree
	head  int
	stale int
}

// An endedTree is one entry. It is stale if the tree has been reopened or deleted since.
type endedTree struct {
	at   int64
	gen  uint32
	root *record
}

func (e endedTree) stale() bool { return e.root.deleted || e.root.endGen != e.gen }

// addUnfinished records n more live tasks or unfinished sets in a tree.
func (s *store) addUnfinished(root *record, n int) {
	if root.unfinished == 0 && n > 0 {
		root.endGen++
		root.queue.ended.markStale()
	}
	root.unfinished += n
}

// removeUnfinished records that a task or set of a tree has ended.
func (s *store) removeUnfinished(root *record, now timestamp) {
	if root.unfinished--; root.unfinished == 0 {
		a := &root.queue.ended
		a.list = append(a.list, endedTree{now.at, root.endGen, root})
	}
}

// len returns the number of entries that are not stale.
func (a *endedTrees) len() int { return len(a.list) - a.head - a.stale }

// first returns the oldest entry that is not stale.
func (a *endedTrees) first() (endedTree, bool) {
	for a.head < len(a.list) {
		if e := a.list[a.head]; !e.stale() {
			return e, true
		}
		a.list[a.head] = endedTree{}
		a.head++
		a.stale--
		if a.head > 1024 && a.head > len(a.list)/2 {
			a.compact()
		}
	}
	a.list, a.head = a.list[:0], 0
	return endedTree{}, false
}

// markStale records that one entry has become stale, and compacts the list if there are too many.
func (a *endedTrees) markStale() {
	a.stale++
	if a.stale > maxStale && a.stale > len(a.list)/2 {
		a.compact()
	}
}

func (a *endedTrees) compact() {
	kept := a.list[:0]
	for _, e := range a.list[a.head:] {
		if !e.stale() {
			kept = append(kept, e)
		}
	}
	clear(a.list[len(kept):])
	a.list, a.head, a.stale = kept, 0, 0
}

// Purge implements backend.Store. The age of a tree is that of the task that ended last, and a tree counts as one task
// of its root's queue. A tree larger than max is deleted by several calls, its root last.
func (s *store) Purge(ctx context.Context, keep backend.Retention, max int) (int, error) {
	if err := checkContext(ctx); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	before := int64(math.MaxInt64)
	if !keep.Before.IsZero() {
		before = now.instant(keep.Before)
	}
	n := 0
	for keep.Age > 0 && n < max {
		e, ok := s.oldestTree()
		if !ok || now.at-e.at <= int64(keep.Age) || e.at >= before {
			break
		}
		n += s.purgeTree(e.root, max-n)
	}
	if keep.Max <= 0 {
		return n, nil
	}
	for _, q := range s.queues {
		for n < max && q.ended.len() > keep.Max {
			e, ok := q.ended.first()
			if !ok || e.at >= before {
				break
			}
			n += s.purgeTree(e.root, max-n)
		}
	}
	return n, nil
}

// oldestTree returns the tree that ended first.
func (s *store) oldestTree() (oldest endedTree, found bool) {
	for _, q := range s.queues {
		if e, ok := q.ended.first(); ok && (!found || e.at < oldest.at) {
			oldest, found = e, true
		}
	}
	return oldest, found
}

// purgeTree deletes up to max tasks of a tree, leaves first.
func (s *store) purgeTree(root *record, max int) int {
	n := 0
	path := []*record{root}
	for len(path) > 0 && n < max {
		r := path[len(path)-1]
		if r.children != nil {
			if child := r.children.tasks.last(); child != nil {
				path = append(path, child)
				continue
			}
			if done := s.tasks[doneID(r.ID)]; done != nil && done.DoneOf == r.ID {
				path = append(path, done)
				continue
			}
			delete(s.sets, r.ID)
			delete(s.unfinished, r.children)
		}
		s.deleteTask(r)
		if r.uncommitted {
			s.removeUncommitted(r)
		}
		n++
		path = path[:len(path)-1]
	}
	if root.deleted {
		root.queue.ended.markStale()
	}
	return n
}
