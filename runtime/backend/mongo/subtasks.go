package mongo

import (
	"cmp"
	"context"
	"maps"
	"slices"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
)

// Spawn implements backend.Store. The write on the source commits the batch. If the process dies after it, a repeated
// Spawn, Finish, Open or Discard completes the rest.
func (s *store) Spawn(ctx context.Context, sp backend.Spawn) error {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return err
	}
	source, err := s.commit(ctx, sp)
	if err != nil {
		return err
	}
	if slices.Contains(source.Opening, sp.Batch) {
		if err := s.makeLive(ctx, source, sp.Batch); err != nil {
			return err
		}
	}
	if sp.Now || source.Status == string(backend.StatusSuccess) {
		_, err = s.openGates(ctx, source.insertedFor(m{"shut": source.ID, "batch": sp.Batch}))
		return err
	}
	return nil
}

// commit increments a source's spawn_rev for a batch, unless the batch is committed and nothing was added since. It
// returns the source as read afterwards, with a status from when the batch was part of the set, or later.
//
// A batch with a given size is counted between reading and writing the source, and the write requires that no Discard
// was recorded in between. A later Discard finds the batch committed. An earlier one may still be deleting, but only
// tasks that were inserted before it, of generations below its number; these don't count.
func (c *Client) commit(ctx context.Context, sp backend.Spawn) (*document, error) {
	var first *document
	for durable := false; ; {
		source, err := c.readSource(ctx, sp.Source)
		if first == nil {
			first = source
		}
		switch {
		case err != nil:
			return nil, err
		case source == nil || source.Created != first.Created: // deleted, and its ID may be in use again
			return nil, noTask(sp.Source)
		case sp.Stale(backend.Status(source.Status), source.Fence):
			return nil, sp.ErrorStale()
		case source.Held != "":
			return nil, sp.ErrorUncommitted()
		}
		if slices.Contains(source.Opening, sp.Batch) { // committed, and possibly interrupted
			if err := c.makeLive(ctx, source, sp.Batch); err != nil {
				return nil, err
			}
			source.Opening = nil
		}
		committed := slices.Contains(source.Batches, sp.Batch)
		if committed {
			added, err := c.exists(ctx, m{"held": heldKey(sp.Source, sp.Batch)})
			if err != nil {
				return nil, err
			}
			if !added && !durable { // the commit may have had no majority: read the source again after it
				if err := c.awaitMajority(ctx); err != nil {
					return nil, err
				}
				durable = true
				continue
			}
			if !added {
				return source, c.checkComplete(ctx, sp)
			}
		}
		if err := checkAccepts(source, sp, committed); err != nil {
			return nil, err
		}
		if err := c.countBatch(ctx, source, sp, committed); err != nil {
			return nil, err
		}
		guard := m{
			"_id": source.ID, "created": source.Created, "status": m{"$nin": []string{string(backend.StatusFailed), string(backend.StatusStopped)}},
			"subtasks": m{"$exists": false}, "purging": m{"$ne": true}, "discarded": m{"$ne": sp.Batch},
			"batches":  m{"$ne": sp.Batch},
			"discards": orMissing(source.Discards),
			"held":     m{"$exists": false},
		}
		if committed {
			guard["batches"] = sp.Batch
		}
		if sp.Fence != 0 {
			guard["fence"] = sp.Fence
			guard["status"] = m{"$in": []string{string(backend.StatusRunning), string(backend.StatusSuccess)}}
		}
		var r *driver.UpdateResult
		err = c.withinSizeLimit(ctx, func() []string { return []string{sp.Source} }, func() (err error) {
			r, err = c.tasks.UpdateOne(ctx, guard, m{
				"$inc": m{"spawn_rev": int64(1)}, "$addToSet": m{"batches": sp.Batch, "opening": sp.Batch},
				"$set": m{"open_set": true}, "$min": m{"quiet": c.clock.now()},
			})
			return err
		})
		if err != nil {
			return nil, c.wrapError(ctx, err, backend.OutcomeUnknown)
		}
		if r.MatchedCount == 0 {
			continue // the source has changed; read it again
		}
		source, err = c.readSource(ctx, sp.Source)
		if err == nil && (source == nil || source.Created != first.Created) {
			err = noTask(sp.Source)
		}
		return source, err
	}
}

// readSource returns the fields of a source that decide about its subtasks, or nil if there is no such task.
func (c *Client) readSource(ctx context.Context, id string) (*document, error) {
	found, err := c.find(ctx, m{"_id": id}, options.Find().SetProjection(m{
		"created": 1, "status": 1, "fence": 1, "subtasks": 1, "purging": 1, "spawn_rev": 1, "batches": 1, "opening": 1,
		"discarded": 1, "discards": 1, "marks": 1, "unmarked": 1, "held": 1,
	}))
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}

// checkAccepts returns an error if a source accepts no more subtasks, or not these.
func checkAccepts(source *document, sp backend.Spawn, committed bool) error {
	switch s := backend.Status(source.Status); {
	case source.Subtasks != nil || source.Purging || s == backend.StatusFailed || s == backend.StatusStopped:
		return sp.ErrorRefused()
	case !committed && len(source.Batches) >= backend.MaxBatches:
		return sp.ErrorFull()
	case slices.Contains(source.Discarded, sp.Batch):
		return sp.ErrorDiscarded()
	}
	return nil
}

// countBatch returns an error unless exactly the tasks of a batch are stored, not counting those that a Discard may
// still delete.
func (c *Client) countBatch(ctx context.Context, source *document, sp backend.Spawn, committed bool) error {
	if sp.Count == 0 {
		return nil
	}
	held := m{"held": heldKey(sp.Source, sp.Batch)}
	stored, err := c.count(ctx, held)
	if err != nil {
		return err
	}
	if last := source.lastDiscard(sp.Batch); last > 0 {
		doomed := m{"held": held["held"], "generation": m{"$not": m{"$gte": last}}}
		n, err := c.count(ctx, doomed)
		if err != nil {
			return err
		}
		stored -= n
	}
	if committed {
		n, err := c.countCommitted(ctx, sp)
		if err != nil {
			return err
		}
		stored += n
	}
	if stored != sp.Count {
		return sp.ErrorPartial(stored)
	}
	return nil
}

// checkComplete returns an error unless all tasks of a committed batch exist.
func (c *Client) checkComplete(ctx context.Context, sp backend.Spawn) error {
	if sp.Count == 0 {
		return nil
	}
	n, err := c.countCommitted(ctx, sp)
	if err == nil && n < sp.Count {
		err = sp.ErrorPartial(n)
	}
	return err
}

// countCommitted counts the committed tasks of a batch, up to sp.Count.
func (c *Client) countCommitted(ctx context.Context, sp backend.Spawn) (n int, err error) {
	ids := make([]string, 0, min(sp.Count, chunk))
	for i := range sp.Count {
		ids = append(ids, backend.SubtaskID(sp.Source, sp.Batch, i))
		if len(ids) < chunk && i < sp.Count-1 {
			continue
		}
		some, err := c.count(ctx, m{"_id": m{"$in": ids}, "kin.source": sp.Source, "batch": sp.Batch,
			"held": m{"$exists": false}})
		if err != nil {
			return 0, err
		}
		n, ids = n+some, ids[:0]
	}
	return n, nil
}

func (c *Client) count(ctx context.Context, filter m) (int, error) {
	n, err := c.tasks.CountDocuments(ctx, filter)
	return int(n), c.wrapError(ctx, err, backend.OutcomeNotSent)
}

// insertedFor restricts a filter to subtasks that were not inserted for a later task with the ID of their source. The
// source was read before, and its tree may have been deleted since.
func (x *document) insertedFor(filter m) m {
	filter["kin.of"] = m{"$not": m{"$gt": x.Created}}
	return filter
}

// makeLive adds the tasks of a committed batch to the set of a source, gated.
func (c *Client) makeLive(ctx context.Context, source *document, batch string) error {
	now := c.clock.now()
	held := source.insertedFor(m{"held": heldKey(source.ID, batch)})
	err := c.eachChunk(ctx, held, func(part []*document) error {
		var models []driver.WriteModel
		// Live tasks first. Those that end meanwhile are found by the second update.
		for _, u := range []struct {
			status []string
			set    m
		}{
			{liveStatuses, m{"live": source.ID, "shut": source.ID, "committed": now}},
			{finalStatuses, m{"shut": source.ID, "committed": now}},
		} {
			filter := m{"_id": m{"$in": idsOf(part)}, "status": m{"$in": u.status}}
			maps.Copy(filter, held)
			models = append(models, driver.NewUpdateManyModel().SetHint("_id_").SetFilter(filter).
				SetUpdate(m{"$set": u.set, "$unset": m{"held": ""}}))
		}
		_, err := c.tasks.BulkWrite(ctx, models)
		return c.wrapError(ctx, err, backend.OutcomeUnknown)
	})
	if err != nil {
		return err
	}
	_, err = c.tasks.UpdateOne(ctx, source.same(), m{"$pull": m{"opening": batch}})
	return c.wrapError(ctx, err, backend.OutcomeUnknown)
}

// openGates opens the gates of matching committed subtasks, so that live ones wait in their queues. It returns the
// queues.
func (c *Client) openGates(ctx context.Context, filter m) ([]string, error) {
	now := c.clock.now()
	queues := map[string]bool{}
	err := c.eachChunk(ctx, filter, func(part []*document) error {
		var models []driver.WriteModel
		for _, u := range []struct {
			guard m
			change
		}{
			{
				m{"status": m{"$in": waitingStatuses}, "due": m{"$lte": now}},
				change{set: m{"place": ready}, unset: []string{"shut", "wake"}},
			},
			{m{"status": m{"$in": waitingStatuses}, "due": m{"$gt": now}},
				change{set: m{"place": delayed}, unset: []string{"shut"}}},
			{m{}, change{unset: []string{"shut"}}},
		} {
			maps.Copy(u.guard, filter)
			u.guard["_id"] = m{"$in": idsOf(part)}
			models = append(models, driver.NewUpdateManyModel().SetHint("_id_").SetFilter(u.guard).SetUpdate(u.update()))
		}
		for _, x := range part {
			queues[x.Queue] = true
		}
		_, err := c.tasks.BulkWrite(ctx, models)
		return c.wrapError(ctx, err, backend.OutcomeUnknown)
	})
	return slices.Sorted(maps.Keys(queues)), err
}

// Discard implements backend.Store. It first records on the source that the batch was discarded, by a write that fails
// if any commit came before. Tasks inserted into the batch after that record have a later generation and are kept.
func (s *store) Discard(ctx context.Context, source, batch string) error {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return err
	}
	if batch == doneBatch {
		return s.discardDoneTask(ctx, source)
	}
	var first *document
	for {
		there, err := s.exists(ctx, m{"held": heldKey(source, batch)})
		if err != nil || !there {
			return err
		}
		x, err := s.findOne(ctx, source)
		switch {
		case err != nil:
			return err
		case x == nil:
			return s.discardOrphans(ctx, source, batch)
		case first == nil:
			first = x
		case x.Created != first.Created:
			return nil // the batch is that of a later task with this ID
		}
		if slices.Contains(x.Opening, batch) {
			return s.makeLive(ctx, x, batch) // committed
		}
		unchanged := x.same()
		unchanged["spawn_rev"], unchanged["discards"] = orMissing(x.SpawnRev), orMissing(x.Discards)
		r, err := s.tasks.UpdateOne(ctx, unchanged, x.recordDiscard(batch))
		if err != nil {
			return s.wrapError(ctx, err, backend.OutcomeUnknown)
		}
		if r.MatchedCount == 0 {
			continue
		}
		doomed := x.insertedFor(m{"held": heldKey(source, batch), "generation": m{"$not": m{"$gt": x.Discards}}})
		return s.eachChunk(ctx, doomed, func(part []*document) error {
			filter := maps.Clone(doomed)
			filter["_id"] = m{"$in": idsOf(part)}
			_, err := s.remove(ctx, filter)
			return err
		})
	}
}

// discardOrphans deletes the tasks of an uncommitted batch whose source does not exist. A task with the ID of the source
// may be stored meanwhile. What was found before is its own only if it was inserted for it, which changes kin.of.
func (c *Client) discardOrphans(ctx context.Context, source, batch string) error {
	held := heldKey(source, batch)
	return c.eachChunk(ctx, m{"held": held}, func(part []*document) error {
		if there, err := c.exists(ctx, m{"_id": source}); err != nil || there {
			return err
		}
		last := slices.MaxFunc(part, func(a, b *document) int { return cmp.Compare(a.Kin.Of, b.Kin.Of) })
		_, err := c.remove(ctx, m{"_id": m{"$in": idsOf(part)}, "held": held, "kin.of": m{"$not": m{"$gt": last.Kin.Of}}})
		return err
	})
}

// maxMarks is the number of discarded batches that a source remembers.
const maxMarks = backend.MaxBatches / 10

// recordDiscard returns the update of a source that records the discard of a batch.
func (x *document) recordDiscard(batch string) m {
	number := x.Discards + 1
	marks, unmarked := x.Marks, x.Unmarked
	if !x.marked() {
		marks, unmarked = nil, x.Discards
	}
	marks = append(slices.DeleteFunc(marks, func(d mark) bool { return d.Batch == batch }), mark{batch, number})
	if len(marks) > maxMarks {
		marks, unmarked = marks[1:], max(unmarked, marks[0].Number)
	}
	set := m{"discards": number, "marks": marks, "unmarked": unmarked}
	if len(x.Discarded) < maxMarks {
		return m{"$set": set, "$addToSet": m{"discarded": batch}}
	}
	set["discarded"] = append(x.Discarded[1:], batch) // without the oldest
	return m{"$set": set}
}

// marked reports whether the last discard has a mark. Older versions of this package write none.
func (x *document) marked() bool {
	return len(x.Marks) > 0 && x.Marks[len(x.Marks)-1].Number == x.Discards
}

// lastDiscard returns the number of the last discard of a batch, or 0. If that may be unknown, the result is too high
// rather than too low: then a commit fails, and succeeds after the batch was inserted again.
func (x *document) lastDiscard(batch string) int64 {
	if !x.marked() {
		return x.Discards
	}
	for _, d := range x.Marks {
		if d.Batch == batch {
			return d.Number
		}
	}
	return x.Unmarked
}

// orMissing matches a number that is stored only if it isn't 0.
func orMissing(n int64) any {
	if n == 0 {
		return m{"$exists": false}
	}
	return n
}

// Open implements backend.Store.
func (s *store) Open(ctx context.Context, source string) ([]string, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return nil, err
	}
	x, err := s.findOne(ctx, source)
	if err != nil || x == nil || x.SpawnRev == 0 || x.Status != string(backend.StatusSuccess) {
		return nil, err
	}
	for _, batch := range x.Opening {
		if err := s.makeLive(ctx, x, batch); err != nil {
			return nil, err
		}
	}
	return s.openGates(ctx, x.insertedFor(m{"shut": source}))
}
