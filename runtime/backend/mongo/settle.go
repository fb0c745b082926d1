package mongo

import (
	"context"
	"encoding/json"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// Settle implements backend.Store.
//
// It is one unordered bulk of guarded updates, which first require that the tasks have no subtasks. If all match, no
// read is needed. Otherwise the others are read back: a task that was settled before has the settle's nonce, and one
// with subtasks is settled in a second round.
func (s *store) Settle(ctx context.Context, settles []backend.Settle) ([]backend.Settled, error) {
	if ctx.Err() != nil {
		return nil, notStarted(ctx)
	}
	if err := backend.ValidateSettle(settles); err != nil {
		return nil, err
	}
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return nil, err
	}
	returned, err := s.returned(ctx, settles)
	if err != nil {
		return nil, err
	}
	results := make([]backend.Settled, len(settles))
	remaining := make([]int, len(settles))
	for i := range remaining {
		remaining[i] = i
	}
	// Three rounds suffice, since a set of subtasks is never removed, nor is the stop request of a running task. The limit
	// is a safety net.
	for round := 0; len(remaining) > 0 && round < 10; round++ {
		all, err := s.writeSettles(ctx, settles, remaining, returned, round > 0)
		if err != nil {
			return nil, err
		}
		if all && round == 0 {
			for _, i := range remaining {
				results[i] = backend.SettledApplied
			}
			return results, nil
		}
		if remaining, err = s.readBack(ctx, settles, remaining, results); err != nil {
			return nil, err
		}
	}
	if len(remaining) > 0 {
		return nil, backend.Errorf(backend.ErrInternal, "settling task %q made no progress", settles[remaining[0]].ID)
	}
	return results, nil
}

// writeSettles writes settles, and reports whether all claims were still held. Equal changes are one update, and those
// of one claim often are equal. No update is one that the driver may repeat: the server would record each of them in
// the session, and the settle's nonce tells what an earlier try has done.
func (c *Client) writeSettles(
	ctx context.Context, settles []backend.Settle, which []int, returned map[string]*document, withSubtasks bool,
) (all bool, err error) {
	now := c.clock.now()
	type group struct {
		fence    int64
		stopping bool
		update   string // as BSON
	}
	var groups []group // in order
	members := map[group][]string{}
	for _, i := range which {
		e := &settles[i]
		update, err := bson.Marshal(settleChange(e, returned[e.ID], now).update())
		if err != nil {
			return false, backend.Errorf(backend.ErrInternal, "encoding the settle of task %q: %w", e.ID, err)
		}
		g := group{e.Fence, e.To == backend.StatusStopped, string(update)}
		if members[g] == nil {
			groups = append(groups, g)
		}
		members[g] = append(members[g], e.ID)
	}
	models := make([]driver.WriteModel, len(groups))
	for k, g := range groups {
		guard := m{"_id": m{"$in": members[g]}, "fence": g.fence, "status": string(backend.StatusRunning)}
		if guard["stopping"] = any(true); !g.stopping {
			guard["stopping"] = m{"$ne": true}
		}
		if !withSubtasks {
			guard["spawn_rev"] = m{"$exists": false}
		}
		models[k] = driver.NewUpdateManyModel().SetFilter(guard).SetUpdate(bson.Raw(g.update)).SetHint("_id_")
	}
	var r *driver.BulkWriteResult
	again := false
	err = c.withinSizeLimit(ctx, func() []string {
		again = true
		ids := make([]string, len(which))
		for k, i := range which {
			ids[k] = settles[i].ID
		}
		return ids
	}, func() (err error) {
		r, err = c.tasks.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
		return err
	})
	if err != nil {
		return false, c.wrapError(ctx, err, backend.OutcomeUnknown)
	}
	return !again && r.MatchedCount == int64(len(which)), nil
}

// returned reads the tasks, by ID, that settles make wait again or whose payloads could not be decoded: their attempts
// are stored, and an update can't copy fields. Usually there are none. What it reads does not change during a claim.
func (c *Client) returned(ctx context.Context, settles []backend.Settle) (map[string]*document, error) {
	var ids []string
	for i := range settles {
		if !settles[i].To.Final() || settles[i].Payload == backend.PayloadWrongVersion {
			ids = append(ids, settles[i].ID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	found, err := c.find(ctx, m{"_id": m{"$in": ids}}, options.Find().SetProjection(m{
		"queue": 1, "fingerprint": 1, "fence": 1, "attempt": 1, "started": 1, "claimer": 1,
	}))
	byID := make(map[string]*document, len(found))
	for _, x := range found {
		byID[x.ID] = x
	}
	return byID, err
}

// settleChange returns the change of a settle (rows 3 to 6 and 10). x is the task as returned has read it, or nil.
func settleChange(e *backend.Settle, x *document, now int64) change {
	var u change
	switch e.To {
	case backend.StatusSuccess:
		u = endChange(e.To, now)
		u.unset = append(u.unset, "error")
		if e.Result != nil {
			u.set["result"] = []byte(e.Result)
		}
	case backend.StatusFailed:
		u = failChange(e.To, now, failureOf(e.Error))
	case backend.StatusStopped:
		u = stopChange(now)
		if e.Error != nil {
			u = failChange(e.To, now, failureOf(e.Error))
		}
	default:
		u = requeueChange(e.To).waitUntil(instant.Add(now, e.Delay), now)
		if e.To == backend.StatusRetrying {
			u.set["error"] = failureOf(e.Error)
		} else {
			u.inc["attempt"] = -1
		}
	}
	u.set["settled"] = e.Nonce
	switch live := !e.To.Final(); {
	case e.Payload == backend.PayloadDecoded:
		u.unset = append(u.unset, "wrong_since")
		if live {
			u.unset = append(u.unset, "unfit")
		}
	case e.Payload == backend.PayloadWrongVersion:
		u.min = m{"wrong_since": now}
		if live && x != nil {
			u.set["unfit"] = uniqueKeyOf(x.Queue, x.Fingerprint)
		}
		if e.To == backend.StatusWaiting {
			u.set["error"] = failureOf(e.Error)
		}
	}
	switch live := !e.To.Final(); {
	case live && x != nil:
		why, _ := u.set["error"].(*failure)
		u.push = x.endedAttempt(now, backend.OutcomeOf(e.To), why)
		u.push.Trace = e.Trace
	case !live && e.Trace != "":
		u.set["claimer.trace"] = e.Trace
	}
	if e.Clear {
		u.unset = append(u.unset, "suspect")
	}
	if e.Log != nil {
		u.set["log"] = e.Log
	}
	return u
}

// readBack sets the results of settles, and returns those that are still to be written.
func (c *Client) readBack(
	ctx context.Context, settles []backend.Settle, which []int, results []backend.Settled,
) (remaining []int, err error) {
	ids := make([]string, len(which))
	for k, i := range which {
		ids[k] = settles[i].ID
	}
	found, err := c.find(ctx, m{"_id": m{"$in": ids}},
		options.Find().SetProjection(m{"status": 1, "fence": 1, "settled": 1, "stopping": 1, "spawn_rev": 1}))
	if err != nil {
		return nil, err
	}
	byID := make(map[string]*document, len(found))
	for _, x := range found {
		byID[x.ID] = x
	}
	for _, i := range which {
		e, x := &settles[i], byID[settles[i].ID]
		stop := e.To == backend.StatusStopped
		switch {
		case x == nil || x.Fence != e.Fence:
			results[i] = backend.SettledLost
		case x.Status != string(backend.StatusRunning) && x.Settled != e.Nonce:
			results[i] = backend.SettledLost
		case x.Status != string(backend.StatusRunning) && x.SpawnRev > 0:
			results[i] = backend.SettledWithSubtasks
		case x.Status != string(backend.StatusRunning):
			results[i] = backend.SettledApplied
		case x.Stopping && !stop:
			results[i] = backend.SettledStopping
		case !x.Stopping && stop:
			results[i] = backend.SettledLost // no stop was requested
		default:
			remaining = append(remaining, i) // it has subtasks
		}
	}
	return remaining, nil
}

// MarkRetried implements backend.Store.
func (s *store) MarkRetried(ctx context.Context, id, from, to string) (string, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return "", err
	}
	guard := m{"_id": id, "status": m{"$in": finalStatuses}, "retried_by": from}
	if from == "" {
		guard["retried_by"] = m{"$exists": false}
	}
	u := change{set: m{"retried_by": to}}
	if to == "" {
		u = change{unset: []string{"retried_by"}}
	}
	r, err := s.tasks.UpdateOne(ctx, guard, u.update())
	switch {
	case err != nil:
		return "", s.wrapError(ctx, err, backend.OutcomeUnknown)
	case r.MatchedCount > 0: // another process may change it again before it could be read
		return to, nil
	}
	x, err := s.findOne(ctx, id)
	switch {
	case err != nil:
		return "", err
	case x == nil:
		return "", noTask(id)
	case !isFinal(x.Status):
		return "", backend.Errorf(backend.ErrFailedPrecondition, "task %q is %s", id, x.Status).With(backend.OutcomeAnswered)
	}
	return x.RetriedBy, nil
}

// Progress implements backend.Store.
func (s *store) Progress(ctx context.Context, id string, fence int64, progress json.RawMessage) error {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return err
	}
	r, err := s.tasks.UpdateOne(ctx, m{"_id": id, "fence": fence, "status": string(backend.StatusRunning)},
		m{"$set": m{"progress": []byte(progress), "progressed": s.clock.now()}})
	if err != nil {
		return s.wrapError(ctx, err, backend.OutcomeUnknown)
	}
	if r.MatchedCount == 0 {
		return backend.Errorf(backend.ErrAborted, "task %q no longer runs with fence %d", id, fence).
			With(backend.OutcomeAnswered)
	}
	return nil
}
