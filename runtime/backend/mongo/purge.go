package mongo

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

const (
	ownerTTL  = 24 * time.Hour // how long expired owners are kept
	lateClaim = time.Minute    // longer than a claim takes

	always = math.MaxInt64 // later than any end of a task
)

// Purge implements backend.Store. A source and its subtasks form a tree. A tree's age is that of its last end; it
// counts as one task, in the queue of its source. A tree larger than max is deleted by several calls, its source last.
// Purge also frees tasks that were claimed for expired owners after their expiry, and deletes old expired owners.
//
// Trees with live tasks are skipped, however many there are. A call that stops because of max or its context is
// continued by the next call.
func (s *store) Purge(ctx context.Context, keep backend.Retention, max int) (int, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return 0, err
	}
	if err := s.purgeOwners(ctx); err != nil {
		return 0, err
	}
	from := s.purgePos.Swap(nil)
	n := 0
	if from != nil {
		if n, err = s.purgeFrom(ctx, *from, keep, max); err != nil || n >= max {
			return n, err
		}
	}
	deleted, err := s.purgeFrom(ctx, purgePosition{}, keep, max-n)
	return n + deleted, err
}

// A purgePosition is the progress of a purge: a queue, and the end of the sources reached.
type purgePosition struct {
	queue string
	ended int64
}

// purgeFrom deletes up to max tasks, starting at a position. It records where it stops before the end.
func (c *Client) purgeFrom(ctx context.Context, pos purgePosition, keep backend.Retention, max int) (n int, err error) {
	for n < max {
		queue, more, err := c.nextQueue(ctx, pos.queue)
		if err != nil {
			c.purgePos.Store(&pos)
		}
		if err != nil || !more {
			return n, err
		}
		if queue != pos.queue {
			pos = purgePosition{queue: queue}
		}
		deleted, err := c.purgeQueue(ctx, &pos, keep, max-n)
		if n += deleted; err != nil || n >= max {
			c.purgePos.Store(&pos)
			return n, err
		}
		pos = purgePosition{queue: queue + "\x00"} // the smallest greater name
	}
	return n, nil
}

// nextQueue returns the first queue whose name is at least from.
func (c *Client) nextQueue(ctx context.Context, from string) (string, bool, error) {
	found, err := c.find(ctx, m{"top": true, "queue": m{"$gte": from}},
		options.Find().SetSort(d{asc("queue")}).SetLimit(1).SetProjection(m{"queue": 1}))
	if err != nil || len(found) == 0 {
		return "", false, err
	}
	return found[0].Queue, true, nil
}

// purgeQueue deletes up to max tasks of trees whose sources are in one queue, from a position on, which it advances.
func (c *Client) purgeQueue(
	ctx context.Context, pos *purgePosition, keep backend.Retention, max int,
) (n int, err error) {
	from, limit := pos.ended, int64(always)
	if !keep.Before.IsZero() {
		limit = instant.Of(keep.Before)
	}
	if keep.Age > 0 {
		before := min(c.clock.now()-int64(keep.Age), limit)
		ended := m{"$gt": int64(0), "$gte": from, "$lt": before}
		n, err = c.purgeOldest(ctx, pos, overIn(pos.queue, ended), before, max)
		if err != nil || n >= max {
			return n, err
		}
	}
	if keep.Max > 0 {
		newest, err := c.findSurplus(ctx, pos.queue, keep.Max)
		if err != nil || newest == nil {
			return n, err
		}
		pos.ended = from
		before := min(c.clock.now(), limit)
		surplus := overIn(pos.queue, m{"$gt": int64(0), "$gte": from, "$lte": newest.Ended, "$lt": limit})
		surplus["$or"] = newest.andBeyond("$lt")
		deleted, err := c.purgeOldest(ctx, pos, surplus, before, max-n)
		return n + deleted, err
	}
	return n, nil
}

// endedIn returns the filter for sources of a queue by their end.
func endedIn(queue string, ended any) m { return m{"top": true, "queue": queue, "ended": ended} }

// overIn returns the filter for those of them that have no unfinished set.
func overIn(queue string, ended any) m {
	filter := endedIn(queue, ended)
	filter["open_set"] = m{"$ne": true}
	return filter
}

// byEnd is the order of sources by their end, newest first. No two of a queue are equal, so processes that delete what
// is beyond the newest ones at the same time keep the same ones.
var byEnd = d{desc("ended"), desc("created"), desc("_id")}

// andBeyond returns the conditions for x and the sources that are older ($lt) or newer ($gt) in byEnd, of those that did
// not end on its other side.
func (x *document) andBeyond(op string) []m {
	return []m{{"ended": m{op: x.Ended}}, {"created": m{op: x.Created}}, {"created": x.Created, "_id": m{op + "e": x.ID}}}
}

// findSurplus returns the newest source of a queue beyond the newest max, or nil if there is none. It reads the index
// only, and of an unchanged queue without a surplus next to nothing.
func (c *Client) findSurplus(ctx context.Context, queue string, max int) (*document, error) {
	exceeds, err := c.ended.Exceeds(queue, c.clock.now(), max, func(after, notAfter int64, limit int) (int, error) {
		n, err := c.countOf(ctx, endedIn(queue, m{"$gt": after, "$lte": notAfter}), int64(limit))
		return int(n), err
	})
	if err != nil || !exceeds {
		return nil, err
	}
	// Sources with an unfinished set don't count. They are few, so they are counted by themselves.
	for open := int64(0); ; {
		found, err := c.find(ctx, endedIn(queue, m{"$gt": int64(0)}), options.Find().SetSort(byEnd).
			SetSkip(int64(max)-1+open).SetLimit(2).SetProjection(m{"ended": 1, "created": 1}))
		if err != nil || len(found) < 2 {
			return nil, err
		}
		oldest := found[0] // of those that are kept
		kept := endedIn(queue, m{"$gte": oldest.Ended})
		kept["open_set"] = true
		kept["$or"] = oldest.andBeyond("$gt")
		more, err := c.countOf(ctx, kept, 0)
		if err != nil {
			return nil, err
		}
		if more <= open {
			return found[1], nil
		}
		open = more
	}
}

// countOf counts up to limit matching tasks, or all of them if limit is 0.
func (c *Client) countOf(ctx context.Context, filter m, limit int64) (int64, error) {
	o := options.Count()
	if limit > 0 {
		o.SetLimit(limit)
	}
	n, err := c.tasks.CountDocuments(ctx, filter, o)
	return n, c.wrapError(ctx, err, backend.OutcomeNotSent)
}

// purgeOldest deletes up to max tasks of the trees of matching sources, oldest first. It reads sources in chunks until
// enough is deleted.
func (c *Client) purgeOldest(
	ctx context.Context, pos *purgePosition, over m, before int64, max int,
) (n int, err error) {
	cursor, err := c.tasks.Find(ctx, over, options.Find().SetSort(d{asc("ended")}).
		SetBatchSize(int32(min(max, chunk))).SetProjection(m{"created": 1, "ended": 1, "spawn_rev": 1, "purging": 1}))
	if err != nil {
		return 0, c.wrapError(ctx, err, backend.OutcomeNotSent)
	}
	defer func() { err = cmp.Or(err, c.wrapError(ctx, cursor.Close(ctx), backend.OutcomeUnknown)) }()
	for n < max {
		var sources []*document
		for len(sources) == 0 || cursor.RemainingBatchLength() > 0 {
			if !cursor.Next(ctx) {
				break
			}
			x := new(document)
			if err := cursor.Decode(x); err != nil {
				return n, c.wrapError(ctx, err, backend.OutcomeNotSent)
			}
			sources = append(sources, x)
		}
		if len(sources) == 0 {
			return n, c.wrapError(ctx, cursor.Err(), backend.OutcomeNotSent)
		}
		pos.ended = sources[0].Ended
		sources, err := c.skipLive(ctx, sources)
		if err != nil {
			return n, err
		}
		deleted, err := c.purgeTrees(ctx, sources, pos, before, max-n)
		if n += deleted; err != nil {
			return n, err
		}
	}
	return n, nil
}

// skipLive removes sources with a live subtask, an unfinished set below them, or a SubtasksDone task that isn't final.
// These are most of the live trees, found with few commands.
func (c *Client) skipLive(ctx context.Context, sources []*document) ([]*document, error) {
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
	live := map[string]bool{}
	done, err := c.find(ctx, m{"_id": m{"$in": slices.Collect(maps.Keys(byDone))}, "done_of": m{"$exists": true},
		"status": m{"$in": liveStatuses}},
		options.Find().SetProjection(m{"_id": 1}))
	if err != nil {
		return nil, err
	}
	for _, x := range done {
		live[byDone[x.ID]] = true
	}
	for _, q := range []struct {
		field string
		match m
	}{{"live", m{"live": m{"$in": ids}}}, {"kin.source", m{"open_set": true, "kin.source": m{"$in": ids}}}} {
		found, err := groupBy[source](ctx, c, q.match, "$"+q.field, nil)
		if err != nil {
			return nil, err
		}
		for _, g := range found {
			live[g.ID] = true
		}
	}
	return slices.DeleteFunc(sources, func(x *document) bool { return live[x.ID] }), nil
}

// purgeTrees deletes up to max tasks of the trees of sources that have no live tasks and ended before an instant. It
// advances the position.
func (c *Client) purgeTrees(
	ctx context.Context, sources []*document, pos *purgePosition, before int64, max int,
) (n int, err error) {
	var alone []*document
	for _, x := range sources {
		if x.SpawnRev == 0 {
			alone = append(alone, x)
		}
	}
	err = chunks(alone[:min(len(alone), max)], func(part []*document) error {
		deleted, err := c.purgeAlone(ctx, part, m{"status": m{"$in": finalStatuses}}, before, max-n)
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
		pos.ended = x.Ended
		var deleted int
		deleted, err = c.purgeSource(ctx, x, before, max-n)
		n += deleted
	}
	return n, err
}

// purgeOwners frees tasks that were claimed for expired or deleted owners, and deletes old expired owners.
func (c *Client) purgeOwners(ctx context.Context) error {
	type running struct {
		Owner string `bson:"_id"`
	}
	busy, err := groupBy[running](ctx, c, m{"owner": m{"$gt": ""}}, "$owner", nil)
	if err != nil {
		return err
	}
	// An owner exists before it claims. Read first, the owners would lack those that began to claim in between.
	owners, err := findIn[ownerDoc](ctx, c, c.owners, m{})
	if err != nil {
		return err
	}
	known := make(map[string]*ownerDoc, len(owners))
	for _, o := range owners {
		known[o.Name] = o
	}
	for _, b := range busy {
		if o := known[b.Owner]; o != nil && !o.Freed {
			continue
		}
		// A claim checks its owner after claiming, and releases the tasks if it can. So the handlers of tasks found here were
		// never started, and nothing is charged.
		late := m{"owner": b.Owner, "started": m{"$lt": c.clock.now() - int64(lateClaim)}}
		if _, err := c.freeClaims(ctx, late, &backend.Loss{Owner: b.Owner, Void: true}); err != nil {
			return err
		}
	}
	_, err = c.owners.DeleteMany(ctx, m{"freed": true, "at": m{"$lt": c.clock.now() - int64(ownerTTL)}})
	return c.wrapError(ctx, err, backend.OutcomeUnknown)
}
