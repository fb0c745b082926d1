package mongo

import (
	"context"
	"slices"

	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/afgen/afgen/runtime/backend"
)

// Finish implements backend.Store (row 12). The set keeps open_set until everything is done, so that Unfinished finds
// an interrupted Finish.
func (s *store) Finish(ctx context.Context, source string) (bool, string, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return false, "", err
	}
	for {
		x, err := s.findOne(ctx, source)
		switch {
		case err != nil:
			return false, "", err
		case x == nil || x.SpawnRev == 0 || !isFinal(x.Status):
			return false, "", nil
		case x.Subtasks != nil:
			queue, err := s.completeSet(ctx, x)
			return err == nil, queue, err
		}
		done, err := s.finishSet(ctx, x)
		if err != nil {
			return false, "", err
		}
		if !done {
			// A subtask is live, or was committed meanwhile and is live.
			if live, err := s.exists(ctx, m{"live": source}); err != nil || live {
				return false, "", err
			}
		}
	}
}

// finishSet finishes the set of a source unless a subtask is live or a batch was committed since the source was read.
func (c *Client) finishSet(ctx context.Context, source *document) (bool, error) {
	for _, batch := range source.Opening {
		if err := c.makeLive(ctx, source.ID, batch); err != nil {
			return false, err
		}
	}
	live, err := c.exists(ctx, m{"live": source.ID})
	if err != nil || live {
		return false, err
	}
	sum, err := c.countSubtasks(ctx, source.ID)
	if err != nil {
		return false, err
	}
	var r *driver.UpdateResult
	err = c.withinSizeLimit(ctx, func() []string { return []string{source.ID} }, func() (err error) {
		r, err = c.tasks.UpdateOne(ctx, m{"_id": source.ID, "spawn_rev": source.SpawnRev, "subtasks": m{"$exists": false}},
			m{"$set": m{"subtasks": sum}})
		return err
	})
	if err != nil {
		return false, c.wrapError(ctx, err, backend.OutcomeUnknown)
	}
	return r.MatchedCount > 0, nil
}

// countSubtasks counts the subtasks of a set without live ones.
func (c *Client) countSubtasks(ctx context.Context, source string) (*counts, error) {
	type number struct {
		Status string `bson:"_id"`
		N      int    `bson:"n"`
	}
	numbers, err := groupBy[number](ctx, c, m{"kin.source": source, "held": m{"$exists": false}}, "$status",
		m{"n": m{"$sum": 1}})
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

// completeSet completes a finished set, and returns the queue of a waiting SubtasksDone task.
func (c *Client) completeSet(ctx context.Context, source *document) (queue string, err error) {
	// No live subtask is gated, and gates of final ones are left: there may be very many.
	wanted := source.Status == string(backend.StatusSuccess) && source.FanIn
	if wanted {
		done, err := c.ensureDoneTask(ctx, source)
		if err != nil {
			return "", err
		}
		if done != nil && slices.Contains(waitingStatuses, done.Status) {
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
	return queue, c.wrapError(ctx, err, backend.OutcomeUnknown)
}

func doneID(source string) string { return source + "/done" }

func doneIDs(sources []string) []string {
	ids := make([]string, len(sources))
	for i, source := range sources {
		ids[i] = doneID(source)
	}
	return ids
}

// ensureDoneTask creates the task that runs SubtasksDone unless it was created before. It returns nil if the task was
// created and purged.
func (c *Client) ensureDoneTask(ctx context.Context, source *document) (*document, error) {
	if source.DoneMade {
		return c.findOne(ctx, doneID(source.ID))
	}
	now := c.clock.now()
	stored, err := c.insert(ctx, []*document{newDocument(&backend.NewTask{Task: backend.Task{
		ID: doneID(source.ID), Queue: source.Queue, Status: backend.StatusWaiting, Weight: source.Weight,
		Payload: source.Payload, Fingerprint: source.Fingerprint, DoneOf: source.ID, Trace: source.Trace,
		Metadata: source.Metadata,
	}}, c.clock.timestamps(1), now)}, c.insertMany)
	if err != nil {
		return nil, err
	}
	return stored[0], nil
}
