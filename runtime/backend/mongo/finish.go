package mongo

import (
	"context"
	"slices"

	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/afgen/afgen/runtime/backend"
)

// Finish implements backend.Store (row 12). The set stays open_set until all of it is done, so that an interrupted Finish
// is found by Unfinished.
func (s *store) Finish(ctx context.Context, source string) (bool, string, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return false, "", err
	}
	for {
		x, err := s.one(ctx, source)
		switch {
		case err != nil:
			return false, "", err
		case x == nil || x.SpawnRev == 0 || !isFinal(x.Status):
			return false, "", nil
		case x.Subtasks != nil:
			queue, err := s.afterSet(ctx, x)
			return err == nil, queue, err
		}
		done, err := s.finishSet(ctx, x)
		if err != nil {
			return false, "", err
		}
		if !done {
			// Something lives, or was committed meanwhile: then it lives.
			if live, err := s.some(ctx, m{"live": source}); err != nil || live {
				return false, "", err
			}
		}
	}
}

// finishSet finishes the set of a source, unless something of it lives or was committed since the source was read.
func (c *Client) finishSet(ctx context.Context, source *document) (bool, error) {
	for _, batch := range source.Opening {
		if err := c.makeLive(ctx, source.ID, batch); err != nil {
			return false, err
		}
	}
	live, err := c.some(ctx, m{"live": source.ID})
	if err != nil || live {
		return false, err
	}
	sum, err := c.countSubtasks(ctx, source.ID)
	if err != nil {
		return false, err
	}
	var r *driver.UpdateResult
	err = c.withRoom(ctx, func() []string { return []string{source.ID} }, func() (err error) {
		r, err = c.tasks.UpdateOne(ctx, m{"_id": source.ID, "spawn_rev": source.SpawnRev, "subtasks": m{"$exists": false}},
			m{"$set": m{"subtasks": sum}})
		return err
	})
	if err != nil {
		return false, c.failed(ctx, err, backend.OutcomeUnknown)
	}
	return r.MatchedCount > 0, nil
}

// countSubtasks sums up a set of which nothing lives.
func (c *Client) countSubtasks(ctx context.Context, source string) (*counts, error) {
	type number struct {
		Status string `bson:"_id"`
		N      int    `bson:"n"`
	}
	numbers, err := group[number](ctx, c, m{"kin.source": source, "held": m{"$exists": false}}, "$status", m{"n": m{"$sum": 1}})
	sum := &counts{Finished: c.clock.now()}
	for _, n := range numbers {
		sum.Total += n.N
		switch backend.Status(n.Status) {
		case backend.StatusSuccess:
			sum.Succeeded = n.N
		case backend.StatusFailed:
			sum.Failed = n.N
		default:
			sum.Stopped += n.N
		}
	}
	return sum, err
}

// afterSet does what follows from a finished set, and returns the queue in which SubtasksDone is to run.
func (c *Client) afterSet(ctx context.Context, source *document) (queue string, err error) {
	// Nothing that lives is behind its gates, which are left as they are: there may be very many.
	wanted := source.Status == string(backend.StatusSuccess) && source.FanIn
	if wanted {
		done, err := c.doneTask(ctx, source)
		if err != nil {
			return "", err
		}
		if done != nil && slices.Contains(waits, done.Status) {
			queue = source.Queue
		}
	}
	if !source.OpenSet {
		return queue, nil
	}
	u := m{"$unset": m{"open_set": ""}}
	if wanted {
		u["$set"] = m{"done_made": true}
	}
	_, err = c.tasks.UpdateOne(ctx, m{"_id": source.ID}, u)
	return queue, c.failed(ctx, err, backend.OutcomeUnknown)
}

func doneID(source string) string { return source + "/done" }

// doneTask makes the task that runs SubtasksDone, unless it was made before; nil where it was, and has gone since.
func (c *Client) doneTask(ctx context.Context, source *document) (*document, error) {
	if source.DoneMade {
		return c.one(ctx, doneID(source.ID))
	}
	now := c.clock.now()
	stored, err := c.insert(ctx, []*document{newDocument(&backend.NewTask{Task: backend.Task{
		ID: doneID(source.ID), Queue: source.Queue, Status: backend.StatusWaiting, Weight: source.Weight,
		Payload: source.Payload, Fingerprint: source.Fingerprint, DoneOf: source.ID,
	}}, c.clock.moments(1), now)})
	if err != nil {
		return nil, err
	}
	return stored[0], nil
}
