package mongo

import (
	"context"
	"maps"
	"slices"

	"github.com/afgen/afgen/runtime/backend"
)

// Spawn implements backend.Store. The write on the source decides; all that follows is completed by whoever comes next:
// this call repeated, Finish, Open or Discard.
func (s *store) Spawn(ctx context.Context, sp backend.Spawn) error {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return err
	}
	source, err := s.commit(ctx, sp.Source, sp.Batch)
	if err != nil {
		return err
	}
	if slices.Contains(source.Opening, sp.Batch) {
		if err := s.makeLive(ctx, sp.Source, sp.Batch); err != nil {
			return err
		}
	}
	if sp.Now || source.Status == string(backend.StatusSuccess) {
		return s.openGates(ctx, m{"shut": sp.Source, "batch": sp.Batch})
	}
	return nil
}

// commit raises a source's spawn_rev for a batch, unless that is part of its set already and nothing was added since. It
// returns the source as it is afterwards: with a status that it had when the batch was part of the set, or later.
func (c *Client) commit(ctx context.Context, id, batch string) (*document, error) {
	again := false
	for {
		open := m{
			"_id": id, "status": m{"$nin": []string{string(backend.StatusFailed), string(backend.StatusStopped)}},
			"subtasks": m{"$exists": false}, "purging": m{"$ne": true}, "discarded": m{"$ne": batch}, "batches": m{"$ne": batch},
		}
		if again {
			open["batches"] = batch
		}
		r, err := c.tasks.UpdateOne(ctx, open, m{
			"$inc": m{"spawn_rev": int64(1)}, "$addToSet": m{"batches": batch, "opening": batch},
			"$set": m{"open_set": true}, "$min": m{"quiet": c.clock.now()},
		})
		if err != nil {
			return nil, c.failed(ctx, err, backend.OutcomeUnknown)
		}
		source, err := c.one(ctx, id)
		switch {
		case err != nil:
			return nil, err
		case source == nil:
			return nil, noTask(id)
		case r.MatchedCount > 0 || slices.Contains(source.Opening, batch):
			return source, nil
		}
		committed := slices.Contains(source.Batches, batch)
		if committed {
			added, err := c.some(ctx, m{"held": heldBy(id, batch)})
			if err != nil || !added {
				return source, err
			}
		}
		if err := takesMore(source, batch); err != nil {
			return nil, err
		}
		again = committed
	}
}

// takesMore says why a source takes no more subtasks, or not these.
func takesMore(source *document, batch string) error {
	switch s := backend.Status(source.Status); {
	case source.Subtasks != nil || source.Purging || s == backend.StatusFailed || s == backend.StatusStopped:
		return backend.Errorf(backend.ErrFailedPrecondition, "task %q takes no more subtasks", source.ID).With(backend.OutcomeAnswered)
	case slices.Contains(source.Discarded, batch):
		return backend.Errorf(backend.ErrAborted, "batch %q of task %q was discarded: insert it again", batch, source.ID).
			With(backend.OutcomeAnswered)
	}
	return nil
}

// makeLive makes the tasks of a committed batch part of the set, behind a gate that is shut.
func (c *Client) makeLive(ctx context.Context, source, batch string) error {
	now := c.clock.now()
	// Those that live first; what ends meanwhile is found by the second update.
	for _, u := range []struct {
		status []string
		set    m
	}{
		{lives, m{"live": source, "shut": source, "committed": now}},
		{ended, m{"shut": source, "committed": now}},
	} {
		_, err := c.tasks.UpdateMany(ctx, m{"held": heldBy(source, batch), "status": m{"$in": u.status}},
			m{"$set": u.set, "$unset": m{"held": ""}})
		if err != nil {
			return c.failed(ctx, err, backend.OutcomeUnknown)
		}
	}
	_, err := c.tasks.UpdateOne(ctx, m{"_id": source}, m{"$pull": m{"opening": batch}})
	return c.failed(ctx, err, backend.OutcomeUnknown)
}

// openGates lets those of the committed subtasks that match wait in their queues, if they live.
func (c *Client) openGates(ctx context.Context, filter m) error {
	now := c.clock.now()
	for _, u := range []struct {
		guard m
		change
	}{
		{m{"status": m{"$in": waits}, "due": m{"$lte": now}}, change{set: m{"place": inLine}, unset: []string{"shut", "wake"}}},
		{m{"status": m{"$in": waits}, "due": m{"$gt": now}}, change{set: m{"place": delayed}, unset: []string{"shut"}}},
		{m{}, change{unset: []string{"shut"}}},
	} {
		maps.Copy(u.guard, filter)
		if _, err := c.tasks.UpdateMany(ctx, u.guard, u.update()); err != nil {
			return c.failed(ctx, err, backend.OutcomeUnknown)
		}
	}
	return nil
}

// Discard implements backend.Store. That a batch was discarded is noted on its source before anything is deleted, by a
// write that no commit can have come before; and what is inserted into it after the note bears a later generation, and
// stays.
func (s *store) Discard(ctx context.Context, source, batch string) error {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return err
	}
	held := heldBy(source, batch)
	for {
		there, err := s.some(ctx, m{"held": held})
		if err != nil || !there {
			return err
		}
		x, err := s.one(ctx, source)
		if err != nil {
			return err
		}
		generation := int64(0)
		if x != nil {
			if slices.Contains(x.Opening, batch) {
				return s.makeLive(ctx, source, batch) // it was committed
			}
			r, err := s.tasks.UpdateOne(ctx, m{"_id": source, "spawn_rev": orMissing(x.SpawnRev), "discards": orMissing(x.Discards)},
				m{"$set": m{"discards": x.Discards + 1}, "$addToSet": m{"discarded": batch}})
			if err != nil {
				return s.failed(ctx, err, backend.OutcomeUnknown)
			}
			if r.MatchedCount == 0 {
				continue
			}
			generation = x.Discards
		}
		_, err = s.tasks.DeleteMany(ctx, m{"held": held, "generation": m{"$not": m{"$gt": generation}}})
		return s.failed(ctx, err, backend.OutcomeUnknown)
	}
}

// orMissing matches a number that is not stored while it is 0.
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
	x, err := s.one(ctx, source)
	if err != nil || x == nil || x.SpawnRev == 0 || x.Status != string(backend.StatusSuccess) {
		return nil, err
	}
	for _, batch := range x.Opening {
		if err := s.makeLive(ctx, source, batch); err != nil {
			return nil, err
		}
	}
	type queue struct {
		Name string `bson:"_id"`
	}
	queues, err := group[queue](ctx, s.Client, m{"shut": source}, "$queue", nil)
	if err != nil || len(queues) == 0 {
		return nil, err
	}
	names := make([]string, len(queues))
	for i, q := range queues {
		names[i] = q.Name
	}
	return names, s.openGates(ctx, m{"shut": source})
}
