package conform

import (
	"cmp"
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

func (m *model) Beat(_ context.Context, owner string, count int64) error {
	o := m.owner(owner)
	if o.expired {
		return backend.NewError(backend.ErrAborted, "")
	}
	if count > o.count {
		o.count, o.heard = count, time.Now()
	}
	return nil
}

func (m *model) Drain(_ context.Context, owner string) error {
	switch o := m.owners[owner]; {
	case o == nil:
	case o.expired:
		return backend.NewError(backend.ErrAborted, "")
	default:
		o.draining = true
	}
	return nil
}

func (m *model) Owners(context.Context) (map[string]backend.Heartbeat, error) {
	out := map[string]backend.Heartbeat{}
	for name, o := range m.owners {
		if !o.expired {
			out[name] = backend.Heartbeat{Count: o.count, At: o.heard}
		}
	}
	return out, nil
}

func (m *model) ExpireOwner(_ context.Context, owner string, count int64, maxCrashes int) ([]backend.Task, error) {
	o := m.owners[owner]
	if o == nil || o.count != count {
		return nil, nil
	}
	o.expired = true
	lost := m.where(func(t *modelTask) bool { return t.owner == owner })
	loss := m.lose(owner, lost, o.heard)
	for _, t := range lost {
		if t.Stopping {
			t.addAttempt(backend.AttemptStopped, &backend.TaskError{Code: backend.ErrAborted, Message: t.reason})
			t.abort(t.reason)
			continue
		}
		t.addAttempt(backend.AttemptLost, nil)
		t.Attempt--
		if t.again(backend.StatusWaiting); !o.draining {
			loss(t, cmp.Or(t.MaxCrashes, maxCrashes))
		}
	}
	return heads(lost), nil
}

// lose returns a function that applies the loss of an owner to one of its tasks.
func (m *model) lose(owner string, ran []*modelTask, heard time.Time) func(t *modelTask, most int) {
	now := time.Now()
	alive, dead := heard, now
	for _, t := range ran {
		if t.Started.After(alive) {
			alive = t.Started
		}
	}
	if !heard.IsZero() && alive.Add(time.Second).Before(now) {
		dead = alive.Add(time.Second)
	}
	cleared := func(t *modelTask) bool {
		return t.Suspect != nil && (t.Suspect.Cleared > 0 || alive.Sub(t.Started) >= 2*t.Suspect.For)
	}
	var guilty []*modelTask
	for _, t := range ran {
		if t.Suspect != nil && !cleared(t) {
			guilty = append(guilty, t)
		}
	}
	one := len(guilty) == 1
	return func(t *modelTask, most int) {
		var s backend.Suspect
		if t.Suspect != nil {
			s = *t.Suspect
		}
		if one && cleared(t) && s.Cleared < most {
			s.Cleared++
			t.Suspect = &s
			return
		}
		charged := one && t == guilty[0]
		t.Suspect = &backend.Suspect{Losses: s.Losses + 1, For: max(dead.Sub(t.Started), 200*time.Millisecond),
			Owner: owner, Charged: charged}
		if charged {
			t.Crashes++
		}
		if charged && t.Crashes >= most {
			t.Error = &backend.TaskError{Code: backend.ErrInternal}
			last := &t.Attempts[len(t.Attempts)-1]
			last.Code = backend.ErrInternal
			t.Instance, t.IP = last.Instance, last.IP
			t.end(backend.StatusFailed)
			return
		}
		if s.Losses > 0 {
			t.RunAt = now.UTC().Add(min(time.Second<<(s.Losses-1), 5*time.Minute))
		}
	}
}

func (m *model) Refund(_ context.Context, owner string) error {
	if o := m.owners[owner]; o == nil || !o.expired {
		return nil
	}
	for _, t := range m.tasks {
		if t.Status.Final() || t.Suspect == nil || t.Suspect.Owner != owner {
			continue
		}
		s := *t.Suspect
		if s.Charged {
			t.Crashes--
		}
		s.Losses, s.Owner, s.Charged = s.Losses-1, "", false
		if t.Suspect = &s; s.Losses == 0 {
			t.Suspect = nil
		}
	}
	return nil
}

func (m *model) Owned(_ context.Context, owner string) ([]backend.Owned, error) {
	var out []backend.Owned
	for _, t := range m.where(func(t *modelTask) bool { return t.owner == owner }) {
		out = append(out, backend.Owned{ID: t.ID, Queue: t.Queue, Fence: t.Fence, Stopping: t.Stopping})
	}
	return out, nil
}
