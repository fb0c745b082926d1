package mongo

import (
	"cmp"
	"context"
	"slices"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
)

// stopChunk is how many tasks one round stops. Larger rounds delay other operations and don't shorten the whole.
const stopChunk = 100

// Stop implements backend.Store (row 9, and the request for row 10). It stops the task first, after which its source
// accepts no more subtasks, then its subtasks level by level. Subtasks that are spawned meanwhile are found by the
// sweeper. Tasks with an earlier stop request are returned again.
func (s *store) Stop(ctx context.Context, st backend.Stop) ([]backend.Task, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return nil, err
	}
	if st.Reason == "" {
		st.Reason = "stopped"
	}
	top, err := s.findOne(ctx, st.ID)
	if err != nil {
		return nil, err
	}
	if top == nil {
		return nil, noTask(st.ID)
	}
	var stopped []backend.Task
	mark := newMark()
	level := []*document{top}
	for first := true; len(level) > 0; first = false {
		if !first || !st.Below {
			for part := range slices.Chunk(level, stopChunk) {
				some, err := s.stopTasks(ctx, part, st.Reason, mark)
				if err != nil {
					return nil, err
				}
				stopped = st.Report(append(stopped, headsOf(some)...))
			}
		}
		if level, err = s.subtasksOf(ctx, level); err != nil {
			return nil, err
		}
	}
	return stopped, nil
}

// subtasksOf returns the subtasks of tasks, each with its ID and when it was created.
func (c *Client) subtasksOf(ctx context.Context, sources []*document) (subtasks []*document, err error) {
	err = chunks(sources, func(part []*document) error {
		last := slices.MaxFunc(part, func(a, b *document) int { return cmp.Compare(a.Created, b.Created) })
		below := last.insertedFor(m{"kin.source": m{"$in": idsOf(part)}})
		found, err := c.find(ctx, below, options.Find().SetProjection(m{"created": 1}))
		subtasks = append(subtasks, found...)
		return err
	})
	return subtasks, err
}

// stopTasks stops waiting tasks, requests running ones to stop, and returns both. It repeats until none is waiting: a
// task that was claimed between the two updates may have been released after the second. Later tasks with the IDs are
// not stopped.
func (c *Client) stopTasks(ctx context.Context, tasks []*document, reason, mark string) ([]*document, error) {
	ids := idsOf(tasks)
	matching := func(guard m) m {
		guard["_id"], guard["created"] = m{"$in": ids}, m{"$in": createdOf(tasks)}
		return guard
	}
	for {
		waiting := stopChange(c.clock.now())
		waiting.unset = append(waiting.unset, "claimer") // of an older program, which does not remove it
		waiting.set["reason"], waiting.set["mark"] = reason, mark
		err := c.withinSizeLimit(ctx, func() []string { return ids }, func() error {
			_, err := c.tasks.UpdateMany(ctx, matching(m{"status": m{"$in": waitingStatuses}}), waiting.update(), hintByID)
			if err == nil {
				_, err = c.tasks.UpdateMany(ctx, matching(m{"status": string(backend.StatusRunning), "stopping": m{"$ne": true}}),
					m{"$set": m{"stopping": true, "reason": reason}}, hintByID)
			}
			return err
		})
		if err != nil {
			return nil, c.wrapError(ctx, err, backend.OutcomeUnknown)
		}
		left, err := c.exists(ctx, matching(m{"status": m{"$in": waitingStatuses}}))
		if err != nil {
			return nil, err
		}
		if !left {
			break
		}
	}
	stopped, err := c.findHeads(ctx, m{"_id": m{"$in": ids}, "mark": mark})
	if err != nil {
		return nil, err
	}
	asked, err := c.findHeads(ctx, matching(m{"status": string(backend.StatusRunning), "stopping": true}))
	return append(stopped, asked...), err
}
