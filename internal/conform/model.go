package conform

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// Model returns a store for few tasks that scans all of them in every method: slow, but simple enough to trust. It is
// not safe for concurrent use, and its List ignores pages and order.
func Model() *backend.Ports {
	return &backend.Ports{Name: "model", Store: &model{owners: map[string]*modelOwner{}, sets: map[string]*modelSet{}}}
}

type model struct {
	tasks  []*modelTask // oldest first
	owners map[string]*modelOwner
	sets   map[string]*modelSet
}

type modelTask struct {
	backend.Task
	committed, closed bool
	inserted, ended   time.Time
	hints             int
	hinted            time.Time
	owner, nonce      string
	fanIn             bool
	reason, settled   string // settled is "" or the nonce with a dot
	position          int
	sinceCommit       time.Time
}

type modelOwner struct {
	count             int64
	heard             time.Time
	expired, draining bool
}

type modelSet struct {
	batches   []string // committed
	discarded []string
	quiet     time.Time // the first commit
	finished  time.Time
}

func (m *model) find(id string) *modelTask {
	for _, t := range m.tasks {
		if t.ID == id {
			return t
		}
	}
	return nil
}

func (m *model) where(ok func(*modelTask) bool) []*modelTask {
	var out []*modelTask
	for _, t := range m.tasks {
		if ok(t) {
			out = append(out, t)
		}
	}
	return out
}

func docs(tasks []*modelTask) []backend.Task {
	var out []backend.Task
	for _, t := range tasks {
		out = append(out, t.Task)
	}
	return out
}

func heads(tasks []*modelTask) []backend.Task {
	out := docs(tasks)
	for i := range out {
		out[i] = out[i].Head()
	}
	return out
}

func (t *modelTask) waits() bool   { return !t.Status.Final() && t.Status != backend.StatusRunning }
func (t *modelTask) late() bool    { return !t.Deadline.IsZero() && !time.Now().Before(t.Deadline) }
func (t *modelTask) isReady() bool { return t.waits() && !t.closed && !t.RunAt.After(time.Now()) }

func (t *modelTask) end(to backend.Status) {
	t.Status, t.Ended, t.ended = to, time.Now().UTC(), time.Now()
	t.Gated, t.Uncommitted = false, false
	t.owner, t.Stopping = "", false
}

func (t *modelTask) again(to backend.Status) {
	t.Status, t.owner, t.hints = to, "", 0
	t.Instance, t.IP = "", ""
}

func (t *modelTask) abort(why string) {
	t.Error = &backend.TaskError{Code: backend.ErrAborted, Message: why}
	t.end(backend.StatusStopped)
}

func best(tasks []*modelTask, max int) []*modelTask {
	slices.SortFunc(tasks, func(a, b *modelTask) int {
		return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.position, b.position))
	})
	return tasks[:min(len(tasks), max)]
}

func (m *model) Insert(_ context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	var out []backend.Task
	for _, n := range tasks {
		t := m.find(n.Task.ID)
		if t == nil && n.Task.UniqueKey != "" {
			for _, o := range m.tasks {
				if o.Queue == n.Task.Queue && o.UniqueKey == n.Task.UniqueKey && !o.Status.Final() {
					t = o
				}
			}
		}
		if t == nil {
			t = m.add(n)
		} else if n.Gated {
			for _, h := range m.held(n.Task.Source, n.Task.Batch) {
				h.inserted = time.Now()
			}
		}
		out = append(out, t.Head())
	}
	return out, nil
}

func (m *model) add(n backend.NewTask) *modelTask {
	t := &modelTask{Task: n.Task, committed: !n.Gated, closed: n.Gated, inserted: time.Now()}
	t.Created, t.Uncommitted = time.Now().UTC(), n.Gated
	if t.RunAt.IsZero() || n.Delay != 0 {
		t.RunAt = time.Now().UTC().Add(n.Delay)
	}
	if len(m.tasks) > 0 {
		t.position = m.tasks[len(m.tasks)-1].position + 1
	}
	m.tasks = append(m.tasks, t)
	if n.Gated {
		s := m.set(t.Source)
		s.discarded = slices.DeleteFunc(s.discarded, func(b string) bool { return b == t.Batch })
	}
	return t
}

func (m *model) set(source string) *modelSet {
	if m.sets[source] == nil {
		m.sets[source] = &modelSet{}
	}
	return m.sets[source]
}

func (m *model) owner(name string) *modelOwner {
	if m.owners[name] == nil {
		m.owners[name] = &modelOwner{}
	}
	return m.owners[name]
}

func (m *model) Claim(_ context.Context, c backend.Claim) ([]backend.Task, time.Duration, error) {
	if m.owner(c.Owner).expired {
		return nil, 0, backend.NewError(backend.ErrAborted, "")
	}
	next := m.nextDue(c.Queue)
	if c.Fingerprint != "" && len(c.IDs) == 0 {
		for _, t := range m.where(func(t *modelTask) bool {
			return t.Queue == c.Queue && !t.WrongVersionSince.IsZero() && t.Fingerprint == c.Fingerprint && t.waits() &&
				!t.closed && t.RunAt.After(time.Now())
		}) {
			t.RunAt = time.Now().UTC()
		}
		next = m.nextDue(c.Queue)
	}
	if held := m.where(func(t *modelTask) bool { return t.owner == c.Owner && t.nonce == c.Nonce }); len(held) > 0 {
		return docs(held), next, nil
	}
	took := best(m.where(func(t *modelTask) bool {
		return t.Queue == c.Queue && t.isReady() && !t.late() && t.Allowed(c.Networks) && !c.Skips(&t.Task) &&
			(len(c.IDs) == 0 || slices.Contains(c.IDs, t.ID))
	}), len(m.tasks))
	took = slices.DeleteFunc(took, func(t *modelTask) bool {
		if t.Suspected() {
			c.Suspects--
		}
		return t.Suspected() && c.Suspects < 0
	})
	took = took[:min(len(took), c.Max)]
	for _, t := range took {
		t.MaxCrashes = c.MaxCrashes
		t.Status, t.owner, t.nonce, t.fanIn, t.settled = backend.StatusRunning, c.Owner, c.Nonce, c.FanIn, ""
		t.Fence++
		t.Attempt++
		t.Started = time.Now().UTC()
		t.Instance, t.IP = c.Instance, c.IP
	}
	return docs(took), next, nil
}

func (m *model) Now(context.Context) (time.Time, error) { return time.Now().UTC(), nil }

func (m *model) nextDue(queue string) time.Duration {
	var next time.Duration
	for _, t := range m.tasks {
		if d := time.Until(t.RunAt); t.Queue == queue && t.waits() && !t.closed && d > 0 && (next == 0 || d < next) {
			next = d
		}
	}
	return next
}

func (m *model) Settle(_ context.Context, settles []backend.Settle) ([]backend.Settled, error) {
	var out []backend.Settled
	for _, s := range settles {
		out = append(out, m.settle(s))
	}
	return out, nil
}

func (m *model) settle(s backend.Settle) backend.Settled {
	t := m.find(s.ID)
	switch {
	case t == nil || t.Fence != s.Fence:
		return backend.SettledLost
	case t.Status != backend.StatusRunning && t.settled == s.Nonce+".":
		return m.applied(t)
	case t.Status != backend.StatusRunning:
		return backend.SettledLost
	case t.Stopping && s.To != backend.StatusStopped:
		return backend.SettledStopping
	case !t.Stopping && s.To == backend.StatusStopped:
		return backend.SettledLost
	}
	t.settled = s.Nonce + "."
	if s.Clear {
		t.Suspect = nil
	}
	if s.Error == nil {
		s.Error = &backend.TaskError{Code: backend.ErrAborted, Message: "the attempt failed"}
	}
	switch s.Payload {
	case backend.PayloadDecoded:
		t.WrongVersionSince = time.Time{}
	case backend.PayloadWrongVersion:
		if t.WrongVersionSince.IsZero() {
			t.WrongVersionSince = time.Now().UTC()
		}
		if s.To == backend.StatusWaiting {
			t.Error = s.Error
		}
	}
	switch {
	case s.To == backend.StatusSuccess, s.To == backend.StatusWaiting && s.Payload != backend.PayloadWrongVersion:
		t.addAttempt(backend.OutcomeOf(s.To), nil)
	case s.To == backend.StatusStopped:
		t.addAttempt(backend.AttemptStopped, &backend.TaskError{Code: backend.ErrAborted, Message: t.reason})
	default:
		t.addAttempt(backend.OutcomeOf(s.To), s.Error)
	}
	t.Attempts[len(t.Attempts)-1].Trace = s.Trace
	switch s.To {
	case backend.StatusSuccess:
		t.Result, t.Error = s.Result, nil
		t.end(s.To)
	case backend.StatusFailed:
		t.Error = s.Error
		t.end(s.To)
	case backend.StatusStopped:
		t.abort(t.reason)
	case backend.StatusRetrying:
		t.Error = s.Error
		t.again(s.To)
		t.RunAt = time.Now().UTC().Add(s.Delay)
	case backend.StatusWaiting:
		t.Attempt--
		t.again(s.To)
		t.RunAt = time.Now().UTC().Add(s.Delay)
	}
	return m.applied(t)
}

func (m *model) applied(t *modelTask) backend.Settled {
	if len(m.set(t.ID).batches) > 0 {
		return backend.SettledWithSubtasks
	}
	return backend.SettledApplied
}

func (m *model) MarkRetried(_ context.Context, id, from, to string) (string, error) {
	t := m.find(id)
	switch {
	case t == nil:
		return "", backend.NewError(backend.ErrNotFound, "")
	case !t.Status.Final():
		return "", backend.NewError(backend.ErrFailedPrecondition, "")
	case t.RetriedBy == from:
		t.RetriedBy = to
	}
	return t.RetriedBy, nil
}

func (m *model) Progress(_ context.Context, id string, fence int64, progress json.RawMessage) error {
	t := m.find(id)
	if t == nil || t.Status != backend.StatusRunning || t.Fence != fence {
		return backend.NewError(backend.ErrAborted, "")
	}
	t.Progress, t.Progressed = progress, time.Now().UTC()
	return nil
}

func (m *model) Promote(_ context.Context, queue string, max int) ([]string, []backend.Task, time.Duration, error) {
	failed := m.where(func(t *modelTask) bool { return t.Queue == queue && t.waits() && t.late() })
	for _, t := range failed {
		t.Error = &backend.TaskError{Code: backend.ErrDeadlineExceeded}
		t.end(backend.StatusFailed)
	}
	picked := best(m.where(func(t *modelTask) bool {
		age := min(5*time.Second<<t.hints, 5*time.Minute)
		return t.Queue == queue && t.isReady() && (t.hints == 0 || time.Since(t.hinted) >= age)
	}), max)
	ids := []string{}
	for _, t := range picked {
		if t.Status == backend.StatusWaiting {
			t.Status = backend.StatusPending
		}
		t.hints++
		t.hinted = time.Now()
		ids = append(ids, t.ID)
	}
	return ids, heads(failed), m.nextDue(queue), nil
}

func (m *model) Promotable(_ context.Context, queues []string, within time.Duration) ([]string, error) {
	return slices.DeleteFunc(slices.Clone(queues), func(q string) bool {
		return len(m.where(func(t *modelTask) bool { return t.Queue == q && t.waits() })) == 0
	}), nil
}

func (m *model) Stop(_ context.Context, s backend.Stop) ([]backend.Task, error) {
	top := m.find(s.ID)
	if top == nil {
		return nil, backend.NewError(backend.ErrNotFound, "")
	}
	var out []*modelTask
	for _, t := range m.tasks {
		if t.Status.Final() || !m.under(t, s.ID) || t == top && s.Below {
			continue
		}
		if t.Status != backend.StatusRunning {
			t.abort(s.Reason)
		} else if !t.Stopping {
			t.Stopping, t.reason = true, s.Reason
		}
		out = append(out, t)
	}
	return heads(out), nil
}

// under reports whether t is the task id or one of its descendants.
func (m *model) under(t *modelTask, id string) bool {
	for t != nil && t.ID != id {
		if t.Source == "" {
			return false
		}
		t = m.find(t.Source)
	}
	return t != nil
}

func (m *model) Get(_ context.Context, id string) (backend.Task, error) {
	if t := m.find(id); t != nil {
		return t.Task, nil
	}
	return backend.Task{}, backend.NewError(backend.ErrNotFound, "")
}

func (m *model) Statuses(_ context.Context, ids []string) (map[string]backend.Status, error) {
	found := map[string]backend.Status{}
	for _, id := range ids {
		if t := m.find(id); t != nil {
			found[id] = t.Status
		}
	}
	return found, nil
}

func (m *model) List(_ context.Context, q backend.TaskQuery) (backend.TaskPage, error) {
	tasks := docs(m.where(func(t *modelTask) bool {
		return (q.Queue == "" || t.Queue == q.Queue) && (q.Source == "" || t.Source == q.Source) &&
			(len(q.Statuses) == 0 || slices.Contains(q.Statuses, t.Status)) &&
			(q.Code == "" || t.Error != nil && t.Error.Code == q.Code) && q.Filter.Matches(&t.Task) &&
			(q.After.IsZero() || !t.Created.Before(q.After)) && (q.Before.IsZero() || t.Created.Before(q.Before))
	}))
	slices.SortFunc(tasks, func(a, b backend.Task) int {
		switch order := cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID)); q.Sort {
		case backend.SortNewest:
			return -order
		case backend.SortOldest:
			return order
		default:
			return b.Ended.Compare(a.Ended)
		}
	})
	return backend.TaskPage{Tasks: tasks, Total: len(tasks)}, nil
}
