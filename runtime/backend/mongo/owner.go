package mongo

import (
	"context"
	"errors"
	"maps"
	"slices"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// An ownerDoc is an owner as stored. Expired ones are kept for a day (purge.go).
type ownerDoc struct {
	Name       string `bson:"_id"`
	Count      int64  `bson:"count"`
	Expired    bool   `bson:"convicted,omitempty"`
	ExpiredAt  int64  `bson:"at,omitempty"` // while expired
	MaxCrashes int    `bson:"most,omitempty"`
	Freed      bool   `bson:"freed,omitempty"` // all its claims were released
	Draining   bool   `bson:"draining,omitempty"`
	LastBeat   int64  `bson:"heard,omitempty"` // when count last rose
	Loss       *loss  `bson:"loss,omitempty"`  // decision about its tasks
	Refunded   bool   `bson:"refunded,omitempty"`
}

// A loss is the part of a [backend.Loss] that must be decided only once.
type loss struct {
	Alive   int64  `bson:"alive"`
	Dead    int64  `bson:"dead"`
	Charged string `bson:"charged,omitempty"`
}

func (o *ownerDoc) loss(maxCrashes int) *backend.Loss {
	return &backend.Loss{
		Owner: o.Name, Alive: instant.Time(o.Loss.Alive), Dead: instant.Time(o.Loss.Dead), Charged: o.Loss.Charged,
		MaxCrashes: maxCrashes, Void: o.Refunded || o.Draining,
	}
}

func ownerExpired(name string) error {
	return backend.Errorf(backend.ErrAborted, "owner %q was declared dead and lost its tasks", name).
		With(backend.OutcomeAnswered)
}

// findOwner returns an owner, or nil if it doesn't exist.
func (c *Client) findOwner(ctx context.Context, name string) (*ownerDoc, error) {
	o := new(ownerDoc)
	err := c.owners.FindOne(ctx, m{"_id": name}).Decode(o)
	switch {
	case errors.Is(err, driver.ErrNoDocuments):
		return nil, nil
	case err != nil:
		return nil, c.wrapError(ctx, err, backend.OutcomeNotSent)
	}
	return o, nil
}

// checkOwner reports whether an owner exists. It returns an error if the owner has expired.
func (c *Client) checkOwner(ctx context.Context, name string) (known bool, err error) {
	o, err := c.findOwner(ctx, name)
	switch {
	case err != nil || o == nil:
		return false, err
	case o.Expired:
		return true, ownerExpired(name)
	}
	return true, nil
}

// Beat implements backend.Store.
func (s *store) Beat(ctx context.Context, owner string, count int64) error {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return err
	}
	return s.beat(ctx, owner, count)
}

// beat raises a heartbeat counter. A missing owner is inserted; if another process inserts it concurrently, the next
// try finds it.
func (c *Client) beat(ctx context.Context, owner string, count int64) error {
	for range 3 {
		r, err := c.owners.UpdateOne(ctx, m{"_id": owner, "convicted": m{"$ne": true}},
			m{"$max": m{"count": count, "heard": c.clock.now()}})
		if err != nil {
			return c.wrapError(ctx, err, backend.OutcomeUnknown)
		}
		if r.MatchedCount > 0 {
			return nil
		}
		_, err = c.owners.InsertOne(ctx, ownerDoc{Name: owner, Count: count, LastBeat: c.clock.now()})
		if err == nil {
			return nil
		}
		if !driver.IsDuplicateKeyError(err) {
			return c.wrapError(ctx, err, backend.OutcomeUnknown)
		}
	}
	return ownerExpired(owner)
}

// Drain implements backend.Store.
func (s *store) Drain(ctx context.Context, owner string) error {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return err
	}
	r, err := s.owners.UpdateOne(ctx, m{"_id": owner, "convicted": m{"$ne": true}}, m{"$set": m{"draining": true}})
	if err != nil {
		return s.wrapError(ctx, err, backend.OutcomeUnknown)
	}
	if r.MatchedCount == 0 {
		_, err = s.checkOwner(ctx, owner)
	}
	return err
}

// Owners implements backend.Store. It includes owners whose expiry was interrupted. Observers see a counter that
// doesn't change, so another process expires them again.
func (s *store) Owners(ctx context.Context) (map[string]backend.Heartbeat, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return nil, err
	}
	found, err := findIn[ownerDoc](ctx, s.Client, s.owners, m{"freed": m{"$ne": true}})
	beats := make(map[string]backend.Heartbeat, len(found))
	for _, o := range found {
		beats[o.Name] = backend.Heartbeat{Count: o.Count, At: instant.Time(o.LastBeat)}
	}
	return beats, err
}

// ExpireOwner implements backend.Store. It is one conditional write on the owner, one that records the decision about
// its tasks, and one on each of them. So an interrupted expiry is completed with the same decision, whatever has
// happened to the tasks.
func (s *store) ExpireOwner(ctx context.Context, owner string, count int64, maxCrashes int) ([]backend.Task, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return nil, err
	}
	matched, err := s.changeOwner(ctx, m{"_id": owner, "count": count, "freed": m{"$ne": true}},
		m{"convicted": true, "at": s.clock.now(), "most": maxCrashes})
	if err != nil {
		return nil, err
	}
	if !matched {
		// Running tasks of a fully freed owner were claimed after that. Such a claim finds that its owner has expired, so no
		// handler has started.
		o, err := s.findOwner(ctx, owner)
		if err != nil || o == nil || !o.Freed || o.Count != count {
			return nil, err
		}
		lost, err := s.freeClaims(ctx, m{"owner": owner}, &backend.Loss{Owner: owner, Void: true})
		return headsOf(lost), err
	}
	o, err := s.decidedLoss(ctx, owner)
	if err != nil || o == nil {
		return nil, err
	}
	lost, err := s.freeClaims(ctx, m{"owner": owner}, o.loss(maxCrashes))
	if err != nil {
		return nil, err
	}
	if _, err := s.changeOwner(ctx, m{"_id": owner}, m{"freed": true}); err != nil {
		return nil, err
	}
	if o, err = s.findOwner(ctx, owner); err == nil && o != nil && o.Refunded {
		err = s.refund(ctx, owner) // it may have been refunded meanwhile
	}
	return headsOf(lost), err
}

// changeOwner sets fields of a matching owner, and reports whether there was one.
func (c *Client) changeOwner(ctx context.Context, filter, set m) (bool, error) {
	r, err := c.owners.UpdateOne(ctx, filter, m{"$set": set})
	if err != nil {
		return false, c.wrapError(ctx, err, backend.OutcomeUnknown)
	}
	return r.MatchedCount > 0, nil
}

// decidedLoss returns an expired owner with the decision about its loss, which it makes unless it exists. It returns
// nil if the owner is gone.
func (c *Client) decidedLoss(ctx context.Context, name string) (*ownerDoc, error) {
	o, err := c.findOwner(ctx, name)
	if err != nil || o == nil || o.Loss != nil {
		return o, err
	}
	ran, err := c.find(ctx, m{"owner": name, "status": string(backend.StatusRunning)},
		options.Find().SetProjection(m{"started": 1, "suspect": 1, "status": 1}))
	if err != nil {
		return nil, err
	}
	l := backend.NewLoss(name, tasksOf(ran), instant.Time(o.LastBeat), instant.Time(o.ExpiredAt), o.MaxCrashes)
	_, err = c.changeOwner(ctx, m{"_id": name, "loss": m{"$exists": false}},
		m{"loss": loss{instant.Of(l.Alive), instant.Of(l.Dead), l.Charged}})
	if err != nil {
		return nil, err
	}
	return c.findOwner(ctx, name) // another process may have decided concurrently
}

// freeClaims ends the claims on matching tasks (rows 7 and 10) until none is left, and returns the tasks it has freed.
func (c *Client) freeClaims(ctx context.Context, filter m, l *backend.Loss) ([]*document, error) {
	filter["status"] = string(backend.StatusRunning)
	mark := newMark()
	var ids []string
	for {
		found, err := c.find(ctx, filter, options.Find().SetLimit(chunk).SetProjection(m{
			"fence": 1, "crashes": 1, "max_crashes": 1, "suspect": 1, "started": 1, "stopping": 1, "attempt": 1,
			"claimer": 1,
		}))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			break
		}
		models := make([]driver.WriteModel, len(found))
		for i, x := range found {
			// A refund may clear the suspect state of a running task.
			guard := m{
				"_id": x.ID, "fence": x.Fence, "status": string(backend.StatusRunning), "crashes": x.Crashes,
				"stopping":       m{"$ne": true},
				"suspect.losses": nil,
			}
			if x.Suspect != nil {
				guard["suspect.losses"] = x.Suspect.Losses
			}
			if x.Stopping {
				guard["stopping"] = true
			}
			u := lossChange(x, l, c.clock.now())
			u.set["mark"] = mark
			models[i] = driver.NewUpdateOneModel().SetFilter(guard).SetUpdate(u.update())
		}
		err = c.withinSizeLimit(ctx, func() []string { return idsOf(found) }, func() error {
			_, err := c.tasks.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
			return err
		})
		if err != nil {
			return nil, c.wrapError(ctx, err, backend.OutcomeUnknown)
		}
		ids = append(ids, idsOf(found)...)
	}
	var freed []*document
	slices.Sort(ids)
	return freed, chunks(slices.Compact(ids), func(part []string) error {
		found, err := c.findHeads(ctx, m{"_id": m{"$in": part}, "mark": mark})
		freed = append(freed, found...)
		return err
	})
}

// lossChange returns the change of a task whose owner was lost.
func lossChange(x *document, l *backend.Loss, now int64) change {
	if x.Stopping {
		return stopChange(now)
	}
	t := x.task()
	wait := l.Free(&t)
	u := requeueChange(t.Status)
	var why *failure
	switch {
	case t.Status == backend.StatusFailed:
		why = failureOf(t.Error)
		u = failChange(t.Status, now, why)
		u.inc = m{}
	case wait > 0:
		u = u.waitUntil(now+int64(wait), now)
	}
	u.push = x.endedAttempt(now, backend.AttemptLost, why)
	u.inc["attempt"] = -1
	u.set["crashes"] = t.Crashes
	if s := suspectOf(&t); s != nil {
		u.set["suspect"] = s
	}
	return u
}

// Refund implements backend.Store. It marks the owner first, so that a concurrent ExpireOwner charges nothing more.
func (s *store) Refund(ctx context.Context, owner string) error {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return err
	}
	matched, err := s.changeOwner(ctx, m{"_id": owner, "convicted": true}, m{"refunded": true})
	if err != nil || !matched {
		return err
	}
	return s.refund(ctx, owner)
}

// refund reverts what the loss of an owner has charged to tasks.
func (c *Client) refund(ctx context.Context, owner string) error {
	counted := m{"suspect.owner": owner, "status": m{"$in": liveStatuses}}
	lost, err := c.find(ctx, counted, options.Find().SetProjection(m{"status": 1, "crashes": 1, "suspect": 1}))
	if err != nil || len(lost) == 0 {
		return err
	}
	models := make([]driver.WriteModel, len(lost))
	for i, x := range lost {
		guard := maps.Clone(counted)
		guard["_id"], guard["crashes"], guard["suspect.losses"] = x.ID, x.Crashes, x.Suspect.Losses
		t := x.task()
		t.Refund(owner)
		u := change{set: m{"crashes": t.Crashes}}
		if s := suspectOf(&t); s != nil {
			u.set["suspect"] = s
		} else {
			u.unset = []string{"suspect"}
		}
		models[i] = driver.NewUpdateOneModel().SetFilter(guard).SetUpdate(u.update())
	}
	_, err = c.tasks.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	return c.wrapError(ctx, err, backend.OutcomeUnknown)
}

// Owned implements backend.Store.
func (s *store) Owned(ctx context.Context, owner string) ([]backend.Owned, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return nil, err
	}
	found, err := s.find(ctx, m{"owner": owner}, options.Find().SetProjection(m{"queue": 1, "fence": 1, "stopping": 1}))
	owned := make([]backend.Owned, len(found))
	for i, x := range found {
		owned[i] = backend.Owned{ID: x.ID, Queue: x.Queue, Fence: x.Fence, Stopping: x.Stopping}
	}
	return owned, err
}
