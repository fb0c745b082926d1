package conform

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// addAttempt appends the attempt that ends now.
func (t *modelTask) addAttempt(outcome backend.AttemptOutcome, why *backend.TaskError) {
	a := backend.Attempt{Attempt: t.Attempt, Fence: t.Fence, Instance: t.Instance, IP: t.IP, Started: t.Started,
		Ended: time.Now().UTC(), Outcome: outcome}
	if why != nil {
		a.Code, a.Message = why.Code, why.Message
	}
	t.Attempts = append(slices.Clone(t.Attempts), a)
	t.Attempts = t.Attempts[max(0, len(t.Attempts)-10):]
}

func (m *model) Queues(context.Context) ([]backend.QueueCounts, error) {
	queues := map[string]backend.QueueCounts{}
	for _, t := range m.tasks {
		q, ok := queues[t.Queue]
		if !ok {
			q = backend.QueueCounts{Queue: t.Queue, Counts: map[backend.Status]backend.Count{}}
		}
		q.Counts[t.Status] = backend.Count{N: q.Counts[t.Status].N + 1}
		ahead := m.where(func(o *modelTask) bool {
			return o.Queue == t.Queue && o.Weight == t.Weight && o.position < t.position && o.isReady() && !o.late()
		})
		if t.isReady() && !t.late() && len(ahead) == 0 && (q.Oldest.IsZero() || t.RunAt.Before(q.Oldest)) {
			q.Oldest = t.RunAt
		}
		queues[t.Queue] = q
	}
	return slices.SortedFunc(maps.Values(queues), func(a, b backend.QueueCounts) int {
		return strings.Compare(a.Queue, b.Queue)
	}), nil
}

func (m *model) Ahead(_ context.Context, id string) (backend.Count, error) {
	t := m.find(id)
	if t == nil {
		return backend.Count{}, backend.NewError(backend.ErrNotFound, "")
	}
	return backend.Count{N: len(m.where(func(o *modelTask) bool {
		return o.Queue == t.Queue && o.isReady() && !o.late() &&
			(o.Weight > t.Weight || o.Weight == t.Weight && o.position < t.position)
	}))}, nil
}

func (m *model) Adjust(_ context.Context, a backend.Adjustment) (backend.Task, error) {
	t := m.find(a.ID)
	switch {
	case t == nil:
		return backend.Task{}, backend.NewError(backend.ErrNotFound, "")
	case t.Status.Final() || a.Now && t.Status == backend.StatusRunning:
		return backend.Task{}, a.ErrorRefused(t.Status)
	case a.Now && t.closed:
		return backend.Task{}, a.ErrorGated()
	}
	if a.Now && t.RunAt.After(time.Now()) {
		t.RunAt = time.Now().UTC()
	}
	if a.Weight != nil {
		t.Weight = *a.Weight
	}
	return t.Head(), nil
}

func (m *model) Delete(_ context.Context, id string) error {
	t := m.find(id)
	if t == nil {
		return nil
	}
	if m.root(t) != t || !t.committed {
		return backend.ErrorNotDeletable(id, backend.PartOfTree)
	}
	f, ended := m.family(t)
	if !ended {
		return backend.ErrorNotDeletable(id, backend.TreeNotEnded)
	}
	m.remove(func(t *modelTask) bool { return slices.Contains(f.tasks, t) })
	return nil
}

// A family is a task that is no subtask, and all tasks under it.
type family struct {
	root  *modelTask
	tasks []*modelTask
	since time.Time // when it ended
}

// family returns the family of a root, and whether all of it has ended.
func (m *model) family(root *modelTask) (f family, ended bool) {
	f, ended = family{root: root}, true
	for _, t := range m.tasks {
		if m.root(t) != root {
			continue
		}
		f.tasks = append(f.tasks, t)
		set := m.set(t.ID)
		ended = ended && (!t.committed || t.Status.Final() && (len(set.batches) == 0 || !set.finished.IsZero()))
		if t.committed {
			f.since = latest(f.since, latest(latest(t.ended, t.sinceCommit), set.finished))
		}
	}
	return f, ended
}
