package memory

import (
	"cmp"
	"context"
	"encoding/json"
	"hash/maphash"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// A claim is the tasks that one call to Claim took and that still run.
type claim struct {
	owner *owner
	nonce string
	n     int
}

// Claim implements backend.Store.
func (s *store) Claim(ctx context.Context, c backend.Claim) ([]backend.Task, time.Duration, error) {
	if err := checkContext(ctx); err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.owner(c.Owner)
	if o.expired && !c.OwnerChecked {
		return nil, 0, ownerExpired(c.Owner)
	}
	q := s.queues[c.Queue]
	if q == nil {
		return nil, 0, nil
	}
	now := s.now()
	q.moveDueToReady(now.at)
	if len(c.IDs) == 0 {
		q.makeDueFor(c.Fingerprint, now)
	}
	next := q.nextDue(now.at)
	if cl := o.claims[c.Nonce]; cl != nil {
		return o.claimedBy(cl), next, nil
	}
	if len(c.IDs) > 0 {
		return s.claimThese(q, o, c, now), next, nil
	}
	var tasks []backend.Task
	if n := min(c.Max, q.ready.n-q.ready.stale); n > 0 { // more if there are restricted tasks
		tasks = make([]backend.Task, 0, n)
	}
	cl := &claim{owner: o, nonce: c.Nonce}
	for len(tasks) < c.Max {
		r := q.popFor(now.at, &c)
		if r == nil {
			break
		}
		if r.Suspected() {
			c.Suspects--
		}
		s.startRun(r, cl, &c, now)
		tasks = append(tasks, r.Task)
	}
	return tasks, next, nil
}

// claimThese claims the best of the tasks that c.IDs names.
func (s *store) claimThese(q *queue, o *owner, c backend.Claim, now timestamp) []backend.Task {
	free := make([]*record, 0, len(c.IDs))
	for _, id := range c.IDs {
		r := s.tasks[id]
		if r != nil && r.queue == q && r.place == inReady && r.deadline > now.at &&
			r.Allowed(c.Networks) && !c.Skips(&r.Task) {
			free = append(free, r)
		}
	}
	slices.SortFunc(free, func(a, b *record) int {
		return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.seq, b.seq))
	})
	free = slices.DeleteFunc(slices.Compact(free), func(r *record) bool {
		if r.Suspected() {
			c.Suspects--
			return c.Suspects < 0
		}
		return false
	})
	free = free[:min(len(free), max(c.Max, 0))]
	tasks := make([]backend.Task, len(free))
	cl := &claim{owner: o, nonce: c.Nonce}
	for i, r := range free {
		s.startRun(r, cl, &c, now)
		tasks[i] = r.Task
	}
	return tasks
}

// startRun adds a task to a claim (row 2).
func (s *store) startRun(r *record, cl *claim, c *backend.Claim, now timestamp) {
	s.transition(2, r, backend.StatusRunning, now)
	r.Fence++
	r.Attempt++
	r.Started = now.wall
	r.MaxCrashes = c.MaxCrashes
	r.Instance, r.IP = c.Instance, c.IP
	r.fanIn, r.settled, r.nonce = c.FanIn, false, 0
	cl.addTask(r)
}

// addTask makes cl the claim of r.
func (cl *claim) addTask(r *record) {
	o := cl.owner
	if cl.n == 0 {
		o.claims[cl.nonce] = cl
	}
	cl.n++
	r.claim, r.claimed = cl, len(o.running)
	o.running = append(o.running, r)
}

// removeFromClaim removes a task from its claim.
func (s *store) removeFromClaim(r *record) {
	cl := r.claim
	o := cl.owner
	last := o.running[len(o.running)-1]
	o.running[r.claimed], last.claimed = last, r.claimed
	o.running[len(o.running)-1] = nil
	o.running = o.running[:len(o.running)-1]
	if cl.n--; cl.n == 0 {
		delete(o.claims, cl.nonce)
	}
	r.claim = nil
	if r.Stopping {
		r.Stopping = false
		if r.siblings != nil {
			r.siblings.stopping--
		}
	}
}

// Settle implements backend.Store. The fence alone identifies the claim. The nonce tells a repeated settle from one by
// another process.
func (s *store) Settle(ctx context.Context, settles []backend.Settle) ([]backend.Settled, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	if err := backend.ValidateSettle(settles); err != nil {
		return nil, err
	}
	results := make([]backend.Settled, len(settles))
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for i := range settles {
		results[i] = s.settleTask(&settles[i], now)
	}
	return results, nil
}

func (s *store) settleTask(e *backend.Settle, now timestamp) backend.Settled {
	r := s.tasks[e.ID]
	if r == nil || r.Fence != e.Fence {
		return backend.SettledLost
	}
	if r.Status != backend.StatusRunning {
		if r.settled && r.nonce == maphash.String(s.seed, e.Nonce) {
			return r.settledResult()
		}
		return backend.SettledLost
	}
	switch stop := e.To == backend.StatusStopped; {
	case r.Stopping && !stop:
		return backend.SettledStopping
	case stop && !r.Stopping:
		return backend.SettledLost // no stop was requested
	}
	r.settled, r.nonce = true, maphash.String(s.seed, e.Nonce)
	if e.Log != nil {
		r.Log = e.Log
	}
	switch e.Payload {
	case backend.PayloadDecoded:
		r.WrongVersionSince = time.Time{}
	case backend.PayloadWrongVersion:
		if r.WrongVersionSince.IsZero() {
			r.WrongVersionSince = now.wall
		}
	}
	if e.Clear {
		r.Suspect = nil
	}
	var why *backend.TaskError // of this attempt
	switch {
	case e.To == backend.StatusSuccess:
		r.Result, r.Error = e.Result, nil
	case e.To == backend.StatusStopped:
		why = reasonError(e.Error, r.reason)
	case e.To != backend.StatusWaiting || e.Payload == backend.PayloadWrongVersion:
		why = reasonError(e.Error, "the attempt failed")
	}
	if why != nil {
		r.Error = why
	}
	s.addAttempt(r, backend.OutcomeOf(e.To), why, e.Trace, now)
	switch e.To {
	case backend.StatusSuccess:
		s.transition(3, r, e.To, now)
	case backend.StatusRetrying:
		r.setDelay(e.Delay, now)
		s.transition(4, r, e.To, now)
	case backend.StatusFailed:
		s.transition(5, r, e.To, now)
	case backend.StatusWaiting:
		r.Attempt--
		r.setDelay(e.Delay, now)
		s.transition(6, r, e.To, now)
	case backend.StatusStopped:
		s.transition(10, r, e.To, now)
	}
	return r.settledResult()
}

// settledResult returns the result of a settle that was applied.
func (r *record) settledResult() backend.Settled {
	if r.children != nil && r.children.rev > 0 {
		return backend.SettledWithSubtasks
	}
	return backend.SettledApplied
}

func (r *record) setDelay(d time.Duration, now timestamp) {
	r.setRunAt(instant.Time(instant.Add(instant.Of(now.wall), d)), now)
}

// MarkRetried implements backend.Store.
func (s *store) MarkRetried(ctx context.Context, id, from, to string) (string, error) {
	if err := checkContext(ctx); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.tasks[id]
	switch {
	case r == nil:
		return "", noTask(id)
	case !r.Status.Final():
		return "", backend.Errorf(backend.ErrFailedPrecondition, "task %q is %s", id, r.Status)
	case r.RetriedBy == from:
		r.RetriedBy = to
	}
	return r.RetriedBy, nil
}

// Progress implements backend.Store.
func (s *store) Progress(ctx context.Context, id string, fence int64, progress json.RawMessage) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.tasks[id]
	if r == nil || r.Status != backend.StatusRunning || r.Fence != fence {
		return backend.Errorf(backend.ErrAborted, "task %q no longer runs with fence %d", id, fence)
	}
	r.Progress, r.Progressed = progress, s.now().wall
	return nil
}
