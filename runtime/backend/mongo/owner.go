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

// A holder is an owner as it is stored. Convicted ones stay for a day (purge.go).
type holder struct {
	Name      string `bson:"_id"`
	Count     int64  `bson:"count"`
	Convicted bool   `bson:"convicted,omitempty"`
	At        int64  `bson:"at,omitempty"` // of the conviction
	Most      int    `bson:"most,omitempty"`
	Freed     bool   `bson:"freed,omitempty"` // none of its claims is left
	Draining  bool   `bson:"draining,omitempty"`
	Heard     int64  `bson:"heard,omitempty"` // when its count last rose
	Loss      *loss  `bson:"loss,omitempty"`  // what was decided about its tasks
	Refunded  bool   `bson:"refunded,omitempty"`
}

// A loss is the part of a [backend.Loss] that must not be decided twice.
type loss struct {
	Alive   int64  `bson:"alive"`
	Dead    int64  `bson:"dead"`
	Charged string `bson:"charged,omitempty"`
}

func (o *holder) loss(maxCrashes int) *backend.Loss {
	return &backend.Loss{
		Owner: o.Name, Alive: instant.Time(o.Loss.Alive), Dead: instant.Time(o.Loss.Dead), Charged: o.Loss.Charged,
		MaxCrashes: maxCrashes, Void: o.Refunded || o.Draining,
	}
}

func convicted(name string) error {
	return backend.Errorf(backend.ErrAborted, "owner %q was declared dead and lost its tasks", name).With(backend.OutcomeAnswered)
}

// holder returns an owner; nil if it is not known.
func (c *Client) holder(ctx context.Context, name string) (*holder, error) {
	o := new(holder)
	err := c.owners.FindOne(ctx, m{"_id": name}).Decode(o)
	switch {
	case errors.Is(err, driver.ErrNoDocuments):
		return nil, nil
	case err != nil:
		return nil, c.failed(ctx, err, backend.OutcomeNotSent)
	}
	return o, nil
}

// isOwner reports whether an owner is known; one that was declared dead is an error.
func (c *Client) isOwner(ctx context.Context, name string) (known bool, err error) {
	o, err := c.holder(ctx, name)
	switch {
	case err != nil || o == nil:
		return false, err
	case o.Convicted:
		return true, convicted(name)
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

// beat raises a counter. An owner that is not there is new, unless it has come meanwhile: then the next try finds it.
func (c *Client) beat(ctx context.Context, owner string, count int64) error {
	for range 3 {
		r, err := c.owners.UpdateOne(ctx, m{"_id": owner, "convicted": m{"$ne": true}}, m{"$max": m{"count": count, "heard": c.clock.now()}})
		if err != nil {
			return c.failed(ctx, err, backend.OutcomeUnknown)
		}
		if r.MatchedCount > 0 {
			return nil
		}
		_, err = c.owners.InsertOne(ctx, holder{Name: owner, Count: count, Heard: c.clock.now()})
		if err == nil {
			return nil
		}
		if !driver.IsDuplicateKeyError(err) {
			return c.failed(ctx, err, backend.OutcomeUnknown)
		}
	}
	return convicted(owner)
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
		return s.failed(ctx, err, backend.OutcomeUnknown)
	}
	if r.MatchedCount == 0 {
		_, err = s.isOwner(ctx, owner)
	}
	return err
}

// Owners implements backend.Store. One whose conviction was interrupted is still among them, as all that its judges would
// see of it is a counter that stands still: so another judges it again.
func (s *store) Owners(ctx context.Context) (map[string]int64, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return nil, err
	}
	found, err := findIn[holder](ctx, s.Client, s.owners, m{"freed": m{"$ne": true}})
	counts := make(map[string]int64, len(found))
	for _, o := range found {
		counts[o.Name] = o.Count
	}
	return counts, err
}

// ExpireOwner implements backend.Store: one conditional write on the owner, one of what that means for its tasks, then one on each of
// them. So an interrupted one is finished as it was begun, whatever the tasks are by then.
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
		// What runs for an owner of which all was freed before was granted after that: its claim finds that the owner is dead, so no
		// handler has begun.
		o, err := s.holder(ctx, owner)
		if err != nil || o == nil || !o.Freed || o.Count != count {
			return nil, err
		}
		lost, err := s.free(ctx, m{"owner": owner}, &backend.Loss{Owner: owner, Void: true})
		return headsOf(lost), err
	}
	o, err := s.decidedLoss(ctx, owner)
	if err != nil || o == nil {
		return nil, err
	}
	lost, err := s.free(ctx, m{"owner": owner}, o.loss(maxCrashes))
	if err != nil {
		return nil, err
	}
	if _, err := s.changeOwner(ctx, m{"_id": owner}, m{"freed": true}); err != nil {
		return nil, err
	}
	if o, err = s.holder(ctx, owner); err == nil && o != nil && o.Refunded {
		err = s.refund(ctx, owner) // perhaps while its tasks were being freed
	}
	return headsOf(lost), err
}

// changeOwner sets fields of an owner that matches, and reports whether there is one.
func (c *Client) changeOwner(ctx context.Context, filter, set m) (bool, error) {
	r, err := c.owners.UpdateOne(ctx, filter, m{"$set": set})
	if err != nil {
		return false, c.failed(ctx, err, backend.OutcomeUnknown)
	}
	return r.MatchedCount > 0, nil
}

// decidedLoss returns an owner that was declared dead with what its loss means, which it decides unless that has been done; nil if the
// owner is gone.
func (c *Client) decidedLoss(ctx context.Context, name string) (*holder, error) {
	o, err := c.holder(ctx, name)
	if err != nil || o == nil || o.Loss != nil {
		return o, err
	}
	ran, err := c.find(ctx, m{"owner": name, "status": string(backend.StatusRunning)},
		options.Find().SetProjection(m{"started": 1, "suspect": 1, "status": 1}))
	if err != nil {
		return nil, err
	}
	l := backend.NewLoss(name, tasksOf(ran), instant.Time(o.Heard), instant.Time(o.At), o.Most)
	_, err = c.changeOwner(ctx, m{"_id": name, "loss": m{"$exists": false}},
		m{"loss": loss{instant.Of(l.Alive), instant.Of(l.Dead), l.Charged}})
	if err != nil {
		return nil, err
	}
	return c.holder(ctx, name) // another may have decided it at the same time
}

// free ends the claims on tasks that match (rows 7 and 10), until none is left, and returns those it has ended.
func (c *Client) free(ctx context.Context, filter m, l *backend.Loss) ([]*document, error) {
	filter["status"] = string(backend.StatusRunning)
	mark := newMark()
	var ids []string
	for {
		found, err := c.find(ctx, filter, options.Find().SetLimit(chunk).SetProjection(m{
			"fence": 1, "crashes": 1, "max_crashes": 1, "suspect": 1, "started": 1, "stopping": 1,
		}))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			break
		}
		models := make([]driver.WriteModel, len(found))
		for i, x := range found {
			// A refund may take back the suspicion of a task that runs.
			guard := m{
				"_id": x.ID, "fence": x.Fence, "status": string(backend.StatusRunning), "crashes": x.Crashes, "stopping": m{"$ne": true},
				"suspect.losses": nil,
			}
			if x.Suspect != nil {
				guard["suspect.losses"] = x.Suspect.Losses
			}
			if x.Stopping {
				guard["stopping"] = true
			}
			u := orphaned(x, l, c.clock.now())
			u.set["mark"] = mark
			models[i] = driver.NewUpdateOneModel().SetFilter(guard).SetUpdate(u.update())
		}
		err = c.withRoom(ctx, func() []string { return idsOf(found) }, func() error {
			_, err := c.tasks.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
			return err
		})
		if err != nil {
			return nil, c.failed(ctx, err, backend.OutcomeUnknown)
		}
		ids = append(ids, idsOf(found)...)
	}
	var freed []*document
	slices.Sort(ids)
	return freed, chunks(slices.Compact(ids), func(part []string) error {
		found, err := c.heads(ctx, m{"_id": m{"$in": part}, "mark": mark})
		freed = append(freed, found...)
		return err
	})
}

// orphaned is what becomes of a task whose owner was lost.
func orphaned(x *document, l *backend.Loss, now int64) change {
	if x.Stopping {
		return stops(now)
	}
	t := x.task()
	wait := l.Free(&t)
	u := waitsAgain(t.Status)
	switch {
	case t.Status == backend.StatusFailed:
		u = fails(t.Status, now, failureOf(t.Error))
		u.inc = m{}
	case wait > 0:
		u = u.waitUntil(now+int64(wait), now)
	}
	u.inc["attempt"] = -1
	u.set["crashes"] = t.Crashes
	if s := suspectOf(&t); s != nil {
		u.set["suspect"] = s
	}
	return u
}

// Refund implements backend.Store. The owner is marked first, so that a judge who has not finished charges nothing more.
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

// refund takes back what the loss of an owner has counted against tasks.
func (c *Client) refund(ctx context.Context, owner string) error {
	counted := m{"suspect.owner": owner, "status": m{"$in": lives}}
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
	return c.failed(ctx, err, backend.OutcomeUnknown)
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
