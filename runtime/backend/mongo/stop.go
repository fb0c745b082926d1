package mongo

import (
	"context"
	"slices"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
)

// stopChunk is how many tasks one round stops. Other operations slow down with its size; the whole takes as long with
// chunk.
const stopChunk = 100

// Stop implements backend.Store (row 9, and the request for row 10). The task itself is stopped first, with which its
// source takes no more subtasks, then what is under it, a level at a time; what a subtask spawns meanwhile the sweeper
// finds. A task that was asked before is returned again.
func (s *store) Stop(ctx context.Context, st backend.Stop) ([]backend.Task, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return nil, err
	}
	if st.Reason == "" {
		st.Reason = "stopped"
	}
	top, err := s.one(ctx, st.ID)
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
				some, err := s.stop(ctx, ids, st.Reason, mark)
				if err != nil {
					return nil, err
				}
				stopped = st.Report(append(stopped, headsOf(some)...))
			}
		}
		if level, err = s.under(ctx, level); err != nil {
			return nil, err
		}
	}
	return stopped, nil
}

// under returns the subtasks of tasks.
func (c *Client) under(ctx context.Context, sources []string) ([]string, error) {
	var ids []string
	err := chunks(sources, func(part []string) error {
		found, err := c.find(ctx, m{"kin.source": m{"$in": part}}, options.Find().SetProjection(m{"_id": 1}))
		ids = append(ids, idsOf(found)...)
		return err
	})
	return ids, err
}

// stop stops those of the tasks that wait, asks those that run, and returns both. It looks again until none waits: one
// that was claimed between the two updates may have been let go after the second.
func (c *Client) stop(ctx context.Context, ids []string, reason, mark string) ([]*document, error) {
	for {
		waiting := stops(c.clock.now())
		waiting.set["reason"], waiting.set["mark"] = reason, mark
		err := c.withRoom(ctx, func() []string { return ids }, func() error {
			_, err := c.tasks.UpdateMany(ctx, m{"_id": m{"$in": ids}, "status": m{"$in": waits}}, waiting.update())
			if err == nil {
				_, err = c.tasks.UpdateMany(ctx, m{"_id": m{"$in": ids}, "status": string(backend.StatusRunning), "stopping": m{"$ne": true}},
					m{"$set": m{"stopping": true, "reason": reason}})
			}
			return err
		})
		if err != nil {
			return nil, c.failed(ctx, err, backend.OutcomeUnknown)
		}
		left, err := c.some(ctx, m{"_id": m{"$in": ids}, "status": m{"$in": waits}})
		if err != nil {
			return nil, err
		}
		if !left {
			break
		}
	}
	stopped, err := c.heads(ctx, m{"_id": m{"$in": ids}, "mark": mark})
	if err != nil {
		return nil, err
	}
	asked, err := c.heads(ctx, m{"_id": m{"$in": ids}, "status": string(backend.StatusRunning), "stopping": true})
	return append(stopped, asked...), err
}
