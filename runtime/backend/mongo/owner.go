package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
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
}

func convicted(name string) error {
	return backend.Errorf(backend.ErrAborted, "owner %q was taken for dead: what it ran is another's", name).With(backend.OutcomeAnswered)
}

// isOwner says whether an owner is known; one that was convicted is an error.
func (c *Client) isOwner(ctx context.Context, name string) (known bool, err error) {
	var o holder
	err = c.owners.FindOne(ctx, m{"_id": name}).Decode(&o)
	switch {
	case errors.Is(err, driver.ErrNoDocuments):
		return false, nil
	case err != nil:
		return false, c.failed(ctx, err, backend.OutcomeNotSent)
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
		r, err := c.owners.UpdateOne(ctx, m{"_id": owner, "convicted": m{"$ne": true}}, m{"$max": m{"count": count}})
		if err != nil {
			return c.failed(ctx, err, backend.OutcomeUnknown)
		}
		if r.MatchedCount > 0 {
			return nil
		}
		_, err = c.owners.InsertOne(ctx, holder{Name: owner, Count: count})
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

// Judge implements backend.Store: one conditional write on the owner, then one on each of its tasks.
func (s *store) Judge(ctx context.Context, owner string, count int64, maxCrashes int) ([]backend.Task, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return nil, err
	}
	r, err := s.owners.UpdateOne(ctx, m{"_id": owner, "count": count, "freed": m{"$ne": true}},
		m{"$set": m{"convicted": true, "at": s.clock.now(), "most": maxCrashes}})
	if err != nil {
		return nil, s.failed(ctx, err, backend.OutcomeUnknown)
	}
	var o holder
	switch err := s.owners.FindOne(ctx, m{"_id": owner}).Decode(&o); {
	case errors.Is(err, driver.ErrNoDocuments):
		return nil, nil
	case err != nil:
		return nil, s.failed(ctx, err, backend.OutcomeUnknown)
	case r.MatchedCount == 0 && (!o.Freed || o.Count != count):
		return nil, nil
	}
	// What runs for an owner of which all was freed before was granted after that: its claim finds that the owner is dead, so no
	// handler has begun.
	late := r.MatchedCount == 0
	lost, err := s.free(ctx, m{"owner": owner}, maxCrashes, !o.Draining && !late)
	if late {
		return tasksOf(lost), err
	}
	if err != nil {
		return nil, err
	}
	_, err = s.owners.UpdateOne(ctx, m{"_id": owner}, m{"$set": m{"freed": true}})
	return tasksOf(lost), s.failed(ctx, err, backend.OutcomeUnknown)
}

// free ends the claims on tasks that match (rows 7 and 10), until none is left, and returns those it has ended.
func (c *Client) free(ctx context.Context, filter m, maxCrashes int, charged bool) ([]*document, error) {
	filter["status"] = string(backend.StatusRunning)
	mark := newMark()
	var ids []string
	for {
		found, err := c.find(ctx, filter, options.Find().SetLimit(chunk).
			SetProjection(m{"fence": 1, "crashes": 1, "stopping": 1}))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			break
		}
		models := make([]driver.WriteModel, len(found))
		for i, x := range found {
			guard := m{"_id": x.ID, "fence": x.Fence, "status": string(backend.StatusRunning), "stopping": m{"$ne": true}}
			if x.Stopping {
				guard["stopping"] = true
			}
			u := orphaned(x, maxCrashes, charged, c.clock.now())
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
		found, err := c.find(ctx, m{"_id": m{"$in": part}, "mark": mark})
		freed = append(freed, found...)
		return err
	})
}

// orphaned is what becomes of a task whose owner was lost.
func orphaned(x *document, maxCrashes int, charged bool, now int64) change {
	if x.Stopping {
		return stops(now)
	}
	u := waitsAgain(backend.StatusWaiting)
	if !charged {
		u.inc["attempt"] = -1
		return u
	}
	if x.Crashes+1 >= maxCrashes {
		u = fails(backend.StatusFailed, now, &failure{
			string(backend.ErrInternal), fmt.Sprintf("%d processes were lost while they ran it", x.Crashes+1),
		})
		u.inc = m{}
	}
	u.inc["crashes"], u.inc["attempt"] = 1, -1
	return u
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
