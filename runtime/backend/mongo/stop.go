package mongo

import (
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
	level := []string{st.ID}
	for first := true; len(level) > 0; first = false {
		if !first || !st.Below {
			for ids := range slices.Chunk(level, stopChunk) {
				some, err := s.stopTasks(ctx, ids, st.Reason, mark)
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

// subtasksOf returns the IDs of the subtasks of tasks.
func (c *Client) subtasksOf(ctx context.Context, sources []string) ([]string, error) {
	var ids []string
	err := chunks(sources, func(part []string) error {
		found, err := c.find(ctx, m{"kin.source": m{"$in": part}}, options.Find().SetProjection(m{"_id": 1}))
		ids = append(ids, idsOf(found)...)
		return err
	})
	return ids, err
}

// stopTasks stops waiting tasks, requests running ones to stop, and returns both. It repeats until none is waiting: a
// task that was claimed between the two updates may have been released after the second.
func (c *Client) stopTasks(ctx context.Context, ids []string, reason, mark string) ([]*document, error) {
	for {
		waiting := stopChange(c.clock.now())
		waiting.unset = append(waiting.unset, "claimer") // of an older program, which does not remove it
		waiting.set["reason"], waiting.set["mark"] = reason, mark
		err := c.withinSizeLimit(ctx, func() []string { return ids }, func() error {
			_, err := c.tasks.UpdateMany(ctx, m{"_id": m{"$in": ids}, "status": m{"$in": waitingStatuses}}, waiting.update())
			if err == nil {
				_, err = c.tasks.UpdateMany(ctx, m{"_id": m{"$in": ids}, "status": string(backend.StatusRunning),
					"stopping": m{"$ne": true}},
					m{"$set": m{"stopping": true, "reason": reason}})
			}
			return err
		})
		if err != nil {
			return nil, c.wrapError(ctx, err, backend.OutcomeUnknown)
		}
		left, err := c.exists(ctx, m{"_id": m{"$in": ids}, "status": m{"$in": waitingStatuses}})
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
	asked, err := c.findHeads(ctx, m{"_id": m{"$in": ids}, "status": string(backend.StatusRunning), "stopping": true})
	return append(stopped, asked...), err
}
