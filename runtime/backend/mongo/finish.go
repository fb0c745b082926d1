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
		if err := c.makeLive(ctx, source, batch); err != nil {
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
	unchanged := source.same()
	unchanged["spawn_rev"], unchanged["subtasks"] = source.SpawnRev, m{"$exists": false}
	var r *driver.UpdateResult
	err = c.withinSizeLimit(ctx, func() []string { return []string{source.ID} }, func() (err error) {
		r, err = c.tasks.UpdateOne(ctx, unchanged, m{"$set": m{"subtasks": sum}})
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

// completeSet completes a finished set, and returns the queue of a waiting SubtasksDone task. Other processes may do so
// at the same time, after which the tree may be deleted, and the ID of the source used again.
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
	_, err = c.tasks.UpdateOne(ctx, source.same(), u)
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

// doneBatch is the batch of a SubtasksDone task while it is held. No batch of subtasks has this name.
const doneBatch = ""

// ensureDoneTask creates the task that runs SubtasksDone unless it was created before. It returns nil if the task was
// created and purged. The task is held until the set was still incomplete after the insert: a process that comes late
// could create a second one otherwise.
func (c *Client) ensureDoneTask(ctx context.Context, source *document) (*document, error) {
	if source.DoneMade {
		return c.findOne(ctx, doneID(source.ID))
	}
	for {
		fresh := newDocument(&backend.NewTask{Task: backend.Task{
			ID: doneID(source.ID), Queue: source.Queue, Status: backend.StatusWaiting, Weight: source.Weight,
			Payload: source.Payload, Fingerprint: source.Fingerprint, DoneOf: source.ID, Trace: source.Trace,
			Metadata: source.Metadata,
		}}, max(c.clock.timestamps(1), source.Created+1), c.clock.now())
		fresh.Held, fresh.LineState = heldKey(source.ID, doneBatch), 0
		stored, err := c.insert(ctx, []*document{fresh}, c.insertMany)
		if err != nil {
			return nil, err
		}
		switch done := stored[0]; {
		case done.Held == "":
			return done, nil
		case done.doneFor(source):
			return c.releaseDoneTask(ctx, source, done)
		default:
			if err := c.dropDoneTask(ctx, done); err != nil {
				return nil, err
			}
		}
	}
}

// doneFor reports whether a held SubtasksDone task is for this source, and not for an earlier task with its ID.
func (x *document) doneFor(source *document) bool { return x.Created > source.Created }

// releaseDoneTask releases a held SubtasksDone task, so that it waits in its queue. If the set was completed meanwhile,
// the task that it got is not held: then it deletes the held one and returns nil.
func (c *Client) releaseDoneTask(ctx context.Context, source, done *document) (*document, error) {
	incomplete := source.same()
	incomplete["open_set"], incomplete["purging"] = true, m{"$ne": true}
	there, err := c.exists(ctx, incomplete)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, c.dropDoneTask(ctx, done)
	}
	waiting := done.held()
	waiting["status"] = m{"$in": waitingStatuses}
	_, err = c.tasks.BulkWrite(ctx, []driver.WriteModel{
		driver.NewUpdateOneModel().SetFilter(waiting).SetUpdate(m{"$set": m{"place": ready}, "$unset": m{"held": ""}}),
		driver.NewUpdateOneModel().SetFilter(done.held()).SetUpdate(m{"$unset": m{"held": ""}}), // stopped
	})
	if err != nil {
		return nil, c.wrapError(ctx, err, backend.OutcomeUnknown)
	}
	return done, nil
}

// dropDoneTask deletes a SubtasksDone task if it is still held.
func (c *Client) dropDoneTask(ctx context.Context, done *document) error {
	_, err := c.remove(ctx, done.held())
	return err
}

// held matches a held task as it was read.
func (x *document) held() m {
	filter := x.same()
	filter["held"] = x.Held
	return filter
}

// discardDoneTask deletes a held SubtasksDone task whose source is gone: the process that inserted it came late, and
// ended. If the source exists, Finish releases the task.
func (c *Client) discardDoneTask(ctx context.Context, source string) error {
	done, err := c.findOne(ctx, doneID(source))
	if err != nil || done == nil || done.Held == "" {
		return err
	}
	x, err := c.findOne(ctx, source)
	if err != nil || x != nil && x.OpenSet && done.doneFor(x) {
		return err
	}
	return c.dropDoneTask(ctx, done)
}
