package conform

import (
	"context"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

func (m *model) committed(source string) []*modelTask {
	return m.where(func(t *modelTask) bool { return t.Source == source && t.committed })
}

func (m *model) live(source string) []*modelTask {
	return slices.DeleteFunc(m.committed(source), func(t *modelTask) bool { return t.Status.Final() })
}

func (m *model) Spawn(_ context.Context, s backend.Spawn) error {
	src := m.find(s.Source)
	if src == nil {
		return backend.NewError(backend.ErrNotFound, "")
	}
	if s.Stale(src.Status, src.Fence) {
		return s.ErrorStale()
	}
	if !src.committed {
		return s.ErrorUncommitted()
	}
	set := m.set(s.Source)
	held := m.held(s.Source, s.Batch)
	named := 0
	for i := range s.Count {
		if t := m.find(backend.SubtaskID(s.Source, s.Batch, i)); t != nil && t.committed && t.Batch == s.Batch {
			named++
		}
	}
	if len(held) == 0 && slices.Contains(set.batches, s.Batch) && named < s.Count {
		return backend.NewError(backend.ErrAborted, "")
	}
	if len(held) > 0 || !slices.Contains(set.batches, s.Batch) {
		switch {
		case !set.finished.IsZero(), src.Status == backend.StatusFailed, src.Status == backend.StatusStopped:
			return backend.NewError(backend.ErrFailedPrecondition, "")
		case slices.Contains(set.discarded, s.Batch), s.Count > 0 && named+len(held) != s.Count:
			return backend.NewError(backend.ErrAborted, "")
		}
		if len(set.batches) == 0 {
			set.quiet = time.Now()
		}
		set.batches, src.Spawned = append(set.batches, s.Batch), true
		for _, t := range held {
			t.committed, t.sinceCommit, t.Gated, t.Uncommitted = true, time.Now(), !t.Status.Final(), false
		}
	}
	for _, t := range m.committed(s.Source) {
		if t.Batch == s.Batch && (s.Now || src.Status == backend.StatusSuccess) {
			t.closed, t.Gated = false, false
		}
	}
	return nil
}

func (m *model) held(source, batch string) []*modelTask {
	return m.where(func(t *modelTask) bool { return t.Source == source && t.Batch == batch && !t.committed })
}

func (m *model) Discard(_ context.Context, source, batch string) error {
	if held := m.held(source, batch); len(held) > 0 {
		m.remove(func(t *modelTask) bool { return slices.Contains(held, t) })
		if m.find(source) != nil {
			m.set(source).discarded = append(m.set(source).discarded, batch)
		}
	}
	return nil
}

func (m *model) remove(gone func(*modelTask) bool) {
	m.tasks = slices.DeleteFunc(m.tasks, gone)
	for id := range m.sets {
		if m.find(id) == nil {
			delete(m.sets, id)
		}
	}
}

func (m *model) Open(_ context.Context, source string) ([]string, error) {
	src := m.find(source)
	if src == nil || src.Status != backend.StatusSuccess {
		return nil, nil
	}
	var queues []string
	for _, t := range m.committed(source) {
		if t.closed && !slices.Contains(queues, t.Queue) {
			queues = append(queues, t.Queue)
		}
		t.closed, t.Gated = false, false
	}
	return queues, nil
}

func (m *model) Finish(_ context.Context, source string) (bool, string, error) {
	src := m.find(source)
	if src == nil {
		return false, "", nil
	}
	set := m.set(source)
	if !src.Status.Final() || len(set.batches) == 0 || len(m.live(source)) > 0 {
		return false, "", nil
	}
	if set.finished.IsZero() {
		set.finished = time.Now()
		c := backend.SubtaskCounts{Finished: time.Now().UTC()}
		for _, t := range m.committed(source) {
			t.closed = false // no live task is behind its gate
			c.Total++
			switch t.Status {
			case backend.StatusSuccess:
				c.Succeeded++
			case backend.StatusFailed:
				c.Failed++
			default:
				c.Stopped++
			}
		}
		src.Subtasks = &c
		if src.Status == backend.StatusSuccess && src.fanIn && m.find(source+"/done") == nil {
			m.add(backend.NewTask{Task: backend.Task{
				ID: source + "/done", Queue: src.Queue, Status: backend.StatusWaiting, Weight: src.Weight,
				Payload: src.Payload, Fingerprint: src.Fingerprint, DoneOf: source, Trace: src.Trace, Metadata: src.Metadata,
			}})
		}
	}
	if done := m.find(source + "/done"); done != nil && done.waits() {
		return true, src.Queue, nil
	}
	return true, "", nil
}

func (m *model) Unfinished(_ context.Context, age time.Duration, _ int) ([]backend.Unfinished, error) {
	var out []backend.Unfinished
	add := func(what backend.UnfinishedKind, source, batch string, since time.Time) {
		l := backend.Unfinished{What: what, Source: source, Batch: batch}
		least := age
		if what == backend.UnfinishedBatch {
			least *= backend.BatchAges
		}
		if time.Since(since) >= least && !slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	for _, t := range m.tasks {
		if !t.committed {
			var since time.Time
			for _, h := range m.held(t.Source, t.Batch) {
				since = latest(since, h.inserted)
			}
			add(backend.UnfinishedBatch, t.Source, t.Batch, since)
		}
	}
	late := map[string]time.Time{}
	for _, t := range m.tasks {
		if since, ok := late[t.Queue]; t.waits() && t.late() && (!ok || t.Deadline.Before(since)) {
			late[t.Queue] = t.Deadline
		}
	}
	for queue, since := range late {
		if time.Since(since) >= age {
			out = append(out, backend.Unfinished{What: backend.UnfinishedOverdue, Queue: queue})
		}
	}
	for id, set := range m.sets {
		src := m.find(id)
		if src == nil || len(set.batches) == 0 {
			continue
		}
		ended, quiet := latest(src.ended, set.quiet), latest(src.ended, set.quiet)
		for _, t := range m.committed(id) {
			quiet = latest(quiet, latest(t.ended, t.sinceCommit))
			if t.closed && src.Status == backend.StatusSuccess {
				add(backend.UnfinishedGate, id, "", ended)
			}
			if t.Status == backend.StatusFailed && t.OnFailure == backend.FailFast && m.unasked(id) {
				add(backend.UnfinishedSubtasks, id, "", latest(t.ended, t.sinceCommit))
			}
		}
		if src.Status.Final() && set.finished.IsZero() && len(m.live(id)) == 0 {
			add(backend.UnfinishedSet, id, "", quiet)
		}
		if (src.Status == backend.StatusFailed || src.Status == backend.StatusStopped) && m.unasked(id) {
			add(backend.UnfinishedSubtasks, id, "", ended)
		}
	}
	return out, nil
}

// unasked reports whether a source has a live subtask that was not asked to stop.
func (m *model) unasked(source string) bool {
	return slices.ContainsFunc(m.live(source), func(t *modelTask) bool { return !t.Stopping })
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Purge deletes all families that it may delete, without a maximum.
func (m *model) Purge(_ context.Context, r backend.Retention, _ int) (int, error) {
	var all []family
	for _, root := range m.tasks {
		if m.root(root) != root || !root.committed {
			continue
		}
		if f, ended := m.family(root); ended {
			all = append(all, f)
		}
	}
	slices.SortStableFunc(all, func(a, b family) int { return b.since.Compare(a.since) })
	n, kept := 0, map[string]int{}
	for _, f := range all {
		kept[f.root.Queue]++
		if r.Age > 0 && time.Since(f.since) > r.Age || r.Max > 0 && kept[f.root.Queue] > r.Max {
			n += len(f.tasks)
			m.remove(func(t *modelTask) bool { return slices.Contains(f.tasks, t) })
		}
	}
	return n, nil
}

// root returns the task at the top of a family.
func (m *model) root(t *modelTask) *modelTask {
	up := t.Source
	if t.DoneOf != "" && t.RetryOf == "" { // a retry of SubtasksDone belongs to no source
		up = t.DoneOf
	}
	if up == "" {
		return t
	}
	if source := m.find(up); source != nil {
		return m.root(source)
	}
	return t
}
