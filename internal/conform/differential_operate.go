package conform

import (
	"context"
	"fmt"
	"slices"

	"github.com/afgen/afgen/runtime/backend"
)

// doList reads all pages of a list. Instants that limit it are those of tasks, by each store's clock. Subtasks are left
// out: those of a batch were created at the same instant, or one after the other.
func doList(m *machine, op operation) {
	t := m.some(op.A)
	q := backend.TaskQuery{
		Queue: pick(op.B, "", "q", "p", "none"), Source: pick(op.B+op.C, "", "", "", "t0", "t0/a/0"), Limit: 1 + op.D%3,
		Sort: pick(op.A+op.D, backend.SortNewest, backend.SortOldest, backend.SortEnded, backend.SortEnded),
		Statuses: pick(op.C, nil, []backend.Status{backend.StatusSuccess}, []backend.Status{backend.StatusFailed},
			[]backend.Status{backend.StatusWaiting, backend.StatusRetrying}, []backend.Status{backend.StatusRunning},
			[]backend.Status{backend.StatusSuccess, backend.StatusStopped}),
	}
	op.narrow(&q)
	m.both(func(s backend.Store) any {
		q := q
		if limit, err := s.Get(context.Background(), t.ID); err == nil && limit.Source == "" && op.D < 6 {
			if op.D < 3 {
				q.After = limit.Created
			} else {
				q.Before = limit.Created
			}
		}
		var all []backend.Task
		for {
			p, err := s.List(context.Background(), q)
			if err != nil {
				return outcome(err)
			}
			all = append(all, p.Tasks...)
			if q.Cursor = p.Cursor; q.Cursor == "" {
				break
			}
		}
		if q.Sort != backend.SortEnded {
			return coarse(all)
		}
		// Tasks that end together may be in any order.
		if !slices.IsSortedFunc(all, func(a, b backend.Task) int { return b.Ended.Compare(a.Ended) }) {
			m.Fatalf("%s: not sorted by end: %v", m.name, all)
		}
		return byID(all)
	})
}

// narrow adds a code or a filter to some queries.
func (op operation) narrow(q *backend.TaskQuery) {
	if len(q.Statuses) == 1 && q.Statuses[0] == backend.StatusFailed && op.D%2 == 0 {
		q.Code = pick(op.B, backend.ErrInternal, backend.ErrUnavailable, backend.ErrDeadlineExceeded)
	}
	switch op.A + op.B {
	case 6:
		q.Filter.Instance = fmt.Sprint("i", op.D%5)
	case 7:
		q.Filter.UniqueKey = pick(op.D, "k", "l")
	case 8:
		q.Filter.IDPrefix = pick(op.D, "t0", "t1")
	case 9:
		q.Filter.Payload = []backend.PayloadMatch{{Path: "n", Value: "1"}}
	case 10:
		q.Filter.Text = "why"
	}
}

func doAdjust(m *machine, op operation) {
	t := m.some(op.A)
	a := backend.Adjustment{ID: t.ID, Now: op.B%3 < 2}
	if op.C%2 == 0 {
		a.Weight = new(op.D % 4)
	}
	m.both(func(s backend.Store) any {
		t, err := s.Adjust(context.Background(), a)
		return outcome(err, coarse([]backend.Task{t}))
	})
}

func doDelete(m *machine, op operation) {
	t := m.some(op.A)
	m.both(func(s backend.Store) any { return outcome(s.Delete(context.Background(), t.ID)) })
}

// doCount compares the counts of queues, and how many tasks are ahead of one. Stores may leave out final statuses.
func doCount(m *machine, op operation) {
	t := m.some(op.A)
	m.both(func(s backend.Store) any {
		queues, err := s.Queues(context.Background())
		for _, q := range queues {
			for status := range q.Counts {
				if status.Final() && !m.o.Virtual {
					delete(q.Counts, status)
				}
			}
		}
		var ahead backend.Count
		var err2 error
		if m.o.Overtake == 0 {
			ahead, err2 = s.Ahead(context.Background(), t.ID)
		}
		return append(outcome(err, queues).([]any), outcome(err2, ahead))
	})
}
