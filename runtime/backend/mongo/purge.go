package mongo

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	rememberOwners = 24 * time.Hour // convicted ones
	lateClaim      = time.Minute    // longer than a claim takes
)

// Purge implements backend.Store. A family is as old as what ended last in it, and counts once, in the queue of its
// source. One larger than max goes in several calls, its source last. Besides, Purge frees what convicted owners were
// given by claims that came too late, and forgets owners that were convicted long ago.
//
// Families that still live are passed over, however many there are. A call that is cut short, by max or by its context,
// is continued where it was by the next one.
func (s *store) Purge(ctx context.Context, keep backend.Retention, max int) (int, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return 0, err
	}
	if err := s.purgeOwners(ctx); err != nil {
		return 0, err
	}
	from := s.purged.Swap(nil)
	n := 0
	if from != nil {
		if n, err = s.purgeFrom(ctx, *from, keep, max); err != nil || n >= max {
			return n, err
		}
	}
	deleted, err := s.purgeFrom(ctx, purgePlace{}, keep, max-n)
	return n + deleted, err
}

// A purgePlace is how far a purge has come: to the sources of a queue that ended at an instant.
type purgePlace struct {
	queue string
	ended int64
}

// purgeFrom deletes up to max tasks, beginning at a place. If it doesn't come to the end it notes where it was.
func (c *Client) purgeFrom(ctx context.Context, place purgePlace, keep backend.Retention, max int) (n int, err error) {
	for n < max {
		queue, more, err := c.nextQueue(ctx, place.queue)
		if err != nil {
			c.purged.Store(&place)
		}
		if err != nil || !more {
			return n, err
		}
		if queue != place.queue {
			place = purgePlace{queue: queue}
		}
		deleted, err := c.purgeQueue(ctx, &place, keep, max-n)
		if n += deleted; err != nil || n >= max {
			c.purged.Store(&place)
			return n, err
		}
		place = purgePlace{queue: queue + "\x00"} // no name lies between
	}
	return n, nil
}

// nextQueue returns the first queue whose name is not less than from.
func (c *Client) nextQueue(ctx context.Context, from string) (string, bool, error) {
	found, err := c.find(ctx, m{"top": true, "queue": m{"$gte": from}},
		options.Find().SetSort(d{asc("queue")}).SetLimit(1).SetProjection(m{"queue": 1}))
	if err != nil || len(found) == 0 {
		return "", false, err
	}
	return found[0].Queue, true, nil
}

// purgeQueue deletes up to max tasks of families whose sources are of one queue, from a place on, and moves that along.
func (c *Client) purgeQueue(ctx context.Context, place *purgePlace, keep backend.Retention, max int) (n int, err error) {
	from := place.ended
	over := func(ended m) m {
		return m{"top": true, "queue": place.queue, "ended": ended, "open_set": m{"$ne": true}}
	}
	if keep.Age > 0 {
		before := c.clock.now() - int64(keep.Age)
		n, err = c.purgeOldest(ctx, place, over(m{"$gt": int64(0), "$gte": from, "$lt": before}), before, 0, max)
		if err != nil || n >= max {
			return n, err
		}
	}
	if keep.Max > 0 {
		total, err := c.countOf(ctx, over(m{"$gt": int64(0)}))
		if err != nil {
			return n, err
		}
		surplus := total - int64(keep.Max)
		if surplus > 0 && from > 0 { // of which some come before the place
			before, err := c.countOf(ctx, over(m{"$gt": int64(0), "$lt": from}))
			if err != nil {
				return n, err
			}
			surplus -= before
		}
		if surplus > 0 {
			place.ended = from
			deleted, err := c.purgeOldest(ctx, place, over(m{"$gt": int64(0), "$gte": from}), c.clock.now(), surplus, max-n)
			return n + deleted, err
		}
	}
	return n, nil
}

func (c *Client) countOf(ctx context.Context, filter m) (int64, error) {
	n, err := c.tasks.CountDocuments(ctx, filter)
	return n, c.failed(ctx, err, backend.OutcomeNotSent)
}

// purgeOldest deletes up to max tasks of the families of the sources that match, the oldest first; of so many of them, if
// limit isn't 0. It looks at them a chunk at a time, until enough is deleted.
func (c *Client) purgeOldest(ctx context.Context, place *purgePlace, over m, before, limit int64, max int) (n int, err error) {
	cursor, err := c.tasks.Find(ctx, over, options.Find().SetSort(d{asc("ended")}).SetLimit(limit).
		SetBatchSize(int32(min(max, chunk))).SetProjection(m{"ended": 1, "spawn_rev": 1, "done_made": 1, "purging": 1}))
	if err != nil {
		return 0, c.failed(ctx, err, backend.OutcomeNotSent)
	}
	defer func() { err = cmp.Or(err, c.failed(ctx, cursor.Close(ctx), backend.OutcomeUnknown)) }()
	for n < max {
		var sources []*document
		for len(sources) == 0 || cursor.RemainingBatchLength() > 0 {
			if !cursor.Next(ctx) {
				break
			}
			x := new(document)
			if err := cursor.Decode(x); err != nil {
				return n, c.failed(ctx, err, backend.OutcomeNotSent)
			}
			sources = append(sources, x)
		}
		if len(sources) == 0 {
			return n, c.failed(ctx, cursor.Err(), backend.OutcomeNotSent)
		}
		place.ended = sources[0].Ended
		sources, err := c.withoutLiving(ctx, sources)
		if err != nil {
			return n, err
		}
		deleted, err := c.purgeFamilies(ctx, sources, place, before, max-n)
		if n += deleted; err != nil {
			return n, err
		}
	}
	return n, nil
}

// withoutLiving leaves out sources of which a subtask lives or has an unfinished set, or whose SubtasksDone has not ended: most
// of the families that live, by few commands for many of them.
func (c *Client) withoutLiving(ctx context.Context, sources []*document) ([]*document, error) {
	byDone, ids := map[string]string{}, []string{}
	for _, x := range sources {
		if x.SpawnRev > 0 && !x.Purging {
			ids = append(ids, x.ID)
			byDone[doneID(x.ID)] = x.ID
		}
	}
	if len(ids) == 0 {
		return sources, nil
	}
	type source struct {
		ID string `bson:"_id"`
	}
	living := map[string]bool{}
	done, err := c.find(ctx, m{"_id": m{"$in": slices.Collect(maps.Keys(byDone))}, "done_of": m{"$exists": true}, "status": m{"$in": lives}},
		options.Find().SetProjection(m{"_id": 1}))
	if err != nil {
		return nil, err
	}
	for _, x := range done {
		living[byDone[x.ID]] = true
	}
	for _, q := range []struct {
		field string
		match m
	}{{"live", m{"live": m{"$in": ids}}}, {"kin.source", m{"open_set": true, "kin.source": m{"$in": ids}}}} {
		found, err := group[source](ctx, c, q.match, "$"+q.field, nil)
		if err != nil {
			return nil, err
		}
		for _, g := range found {
			living[g.ID] = true
		}
	}
	return slices.DeleteFunc(sources, func(x *document) bool { return living[x.ID] }), nil
}

// purgeFamilies deletes up to max tasks of the families of sources, where nothing in them lives or has ended after an
// instant. It moves the place along.
func (c *Client) purgeFamilies(ctx context.Context, sources []*document, place *purgePlace, before int64, max int) (n int, err error) {
	var alone []string
	for _, x := range sources {
		if x.SpawnRev == 0 {
			alone = append(alone, x.ID)
		}
	}
	err = chunks(alone[:min(len(alone), max)], func(part []string) error {
		// One that has got subtasks meanwhile stays.
		deleted, err := c.remove(ctx, m{"_id": m{"$in": part}, "status": m{"$in": ended}, "spawn_rev": m{"$exists": false}})
		n += deleted
		return err
	})
	for _, x := range sources {
		if err != nil || n >= max {
			return n, err
		}
		if x.SpawnRev == 0 {
			continue
		}
		place.ended = x.Ended
		var deleted int
		deleted, err = c.purgeSource(ctx, x, before, max-n)
		n += deleted
	}
	return n, err
}

// purgeSource deletes up to max tasks of a source and what is under it, if that is over.
func (c *Client) purgeSource(ctx context.Context, source *document, before int64, max int) (int, error) {
	if !source.Purging {
		over, err := c.isOver(ctx, source, before)
		if err != nil || !over {
			return 0, err
		}
		// Whether it is over need not be asked again, however many calls it takes to delete it: its set is finished, and
		// takes no more.
		if _, err := c.tasks.UpdateOne(ctx, m{"_id": source.ID}, m{"$set": m{"purging": true}}); err != nil {
			return 0, c.failed(ctx, err, backend.OutcomeUnknown)
		}
	}
	return c.purgeFamily(ctx, source, before, max)
}

// isOver says whether nothing of a family lives, no set in it is unfinished, and all of it ended before an instant.
func (c *Client) isOver(ctx context.Context, source *document, before int64) (bool, error) {
	level := []string{source.ID}
	done := []string{doneID(source.ID)}
	for len(level) > 0 {
		var next []string
		err := chunks(level, func(part []string) error {
			kin, err := c.find(ctx, m{"kin.source": m{"$in": part}, "held": m{"$exists": false}}, options.Find().SetProjection(
				m{"status": 1, "ended": 1, "open_set": 1, "spawn_rev": 1}))
			for _, x := range kin {
				if !isFinal(x.Status) || x.OpenSet || x.Ended >= before {
					return errNotOver
				}
				if x.SpawnRev > 0 {
					next = append(next, x.ID)
					done = append(done, doneID(x.ID))
				}
			}
			return err
		})
		if err == errNotOver {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		level = next
	}
	err := chunks(done, func(part []string) error {
		late, err := c.some(ctx, m{"_id": m{"$in": part}, "done_of": m{"$exists": true}, "ended": m{"$not": m{"$lt": before}}})
		if err == nil && late {
			return errNotOver
		}
		return err
	})
	if err == errNotOver {
		return false, nil
	}
	return err == nil, err
}

var errNotOver = backend.NewError(backend.ErrFailedPrecondition, "something of the family lives")

// purgeFamily deletes up to max tasks of a family that is over, from the leaves up, its source last. A subtask that had none of
// its own may have got its first ones since that was found out: it is not deleted, nor is what it is under, before they are
// over, too.
func (c *Client) purgeFamily(ctx context.Context, source *document, before int64, max int) (n int, err error) {
	for n < max {
		kin, err := c.find(ctx, m{"kin.source": source.ID},
			options.Find().SetLimit(int64(min(max-n, chunk))).SetProjection(m{"status": 1, "ended": 1, "open_set": 1, "spawn_rev": 1, "purging": 1}))
		if err != nil {
			return n, err
		}
		if len(kin) == 0 {
			break
		}
		var leaves []string
		progress := n
		for _, x := range kin {
			if x.SpawnRev == 0 {
				leaves = append(leaves, x.ID)
				continue
			}
			if !x.Purging && (!isFinal(x.Status) || x.OpenSet || x.Ended >= before) {
				continue
			}
			deleted, err := c.purgeSource(ctx, x, before, max-n)
			if n += deleted; err != nil || n >= max {
				return n, err
			}
		}
		if len(leaves) > 0 {
			deleted, err := c.remove(ctx, m{"_id": m{"$in": leaves[:min(len(leaves), max-n)]}, "spawn_rev": m{"$exists": false}})
			if n += deleted; err != nil {
				return n, err
			}
		}
		if n == progress { // what is left of it lives
			return n, nil
		}
	}
	for _, last := range []m{{"_id": doneID(source.ID), "done_of": source.ID}, {"_id": source.ID}} {
		if n >= max {
			break
		}
		deleted, err := c.remove(ctx, last)
		if n += deleted; err != nil {
			return n, err
		}
	}
	return n, nil
}

func (c *Client) remove(ctx context.Context, filter m) (int, error) {
	r, err := c.tasks.DeleteMany(ctx, filter)
	if err != nil {
		return 0, c.failed(ctx, err, backend.OutcomeUnknown)
	}
	return int(r.DeletedCount), nil
}

// purgeOwners frees tasks that run for nobody, and forgets owners.
func (c *Client) purgeOwners(ctx context.Context) error {
	owners, err := findIn[holder](ctx, c, c.owners, m{})
	if err != nil {
		return err
	}
	type running struct {
		Owner string `bson:"_id"`
	}
	busy, err := group[running](ctx, c, m{"owner": m{"$gt": ""}}, "$owner", nil)
	if err != nil {
		return err
	}
	known := make(map[string]*holder, len(owners))
	for _, o := range owners {
		known[o.Name] = o
	}
	for _, b := range busy {
		if o := known[b.Owner]; o != nil && !o.Freed {
			continue
		}
		// A claim makes its owner known after it took something, and gives that back itself if it can. So what it has left here
		// was never begun: nothing is charged.
		late := m{"owner": b.Owner, "started": m{"$lt": c.clock.now() - int64(lateClaim)}}
		if _, err := c.free(ctx, late, &backend.Loss{Owner: b.Owner, Void: true}); err != nil {
			return err
		}
	}
	_, err = c.owners.DeleteMany(ctx, m{"freed": true, "at": m{"$lt": c.clock.now() - int64(rememberOwners)}})
	return c.failed(ctx, err, backend.OutcomeUnknown)
}
