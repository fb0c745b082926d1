package tasks

import (
	"context"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// A followUp is the work after the end of a source or of one of its subtasks. Finishing the source is always
// included.
type followUp struct {
	stop string   // reason to stop its subtasks, if not empty
	open bool     // open the gate of its subtasks
	also []string // other sources that may be finished
}

// followUpOf returns the work after the end of a source.
func followUpOf(id string, status backend.Status) followUp {
	if status != backend.StatusSuccess {
		return followUp{stop: "its source " + id + " has " + string(status)}
	}
	return followUp{open: true}
}

// followUpOn handles the end of a source immediately.
func (c *Client) followUpOn(ctx context.Context, t backend.Task) {
	c.follow(ctx, t.ID, followUpOf(t.ID, t.Status))
}

// openGate opens the gate of the subtasks of a source that succeeded.
func (c *Client) openGate(ctx context.Context, source string) {
	var queues []string
	err := retry.Do(ctx, retry.Timeout, func(ctx context.Context) (err error) {
		queues, err = c.store.Open(ctx, source)
		return err
	})
	c.DeferToSweeper("open subtasks", source, err)
	for _, q := range queues {
		c.Wake(q, nil)
	}
}

// finish finishes the set of a source if no subtask is live.
func (c *Client) finish(ctx context.Context, source string) {
	err := retry.Do(ctx, retry.Timeout, func(ctx context.Context) error {
		_, err := c.finishSet(ctx, source)
		return err
	})
	c.DeferToSweeper("finish subtasks", source, err)
}

// finishSet is one try of finish. It returns whether the set is finished. Then the task that runs SubtasksDone exists,
// if the source's worker has it.
func (c *Client) finishSet(ctx context.Context, source string) (finished bool, err error) {
	finished, queue, err := c.store.Finish(ctx, source)
	if err != nil {
		return false, err
	}
	if queue != "" {
		c.Wake(queue, []string{source + DoneSuffix})
	}
	if finished {
		c.finished(source)
	}
	return finished, nil
}

// stopDescendants stops all descendants of a source. It returns those whose own subtasks may all be finished.
func (c *Client) stopDescendants(ctx context.Context, source, reason string) []string {
	var sources []string
	stop := backend.Stop{ID: source, Reason: reason, Below: true, Each: func(tasks []backend.Task) {
		sources = append(sources, c.stopped(tasks)...)
	}}
	err := retry.Do(ctx, stopTimeout, func(ctx context.Context) error { return c.stopTasks(ctx, stop) })
	c.DeferToSweeper("stop subtasks", source, err)
	return sources
}

// stopTasks stops tasks in the store and passes them to s.Each, which must not be nil, even if the store returns
// them.
func (c *Client) stopTasks(ctx context.Context, s backend.Stop) error {
	rest, err := c.store.Stop(ctx, s)
	s.Report(rest)
	return err
}

// follow carries out f for a source.
func (c *Client) follow(ctx context.Context, source string, f followUp) {
	sources := append([]string{source}, f.also...)
	if f.stop != "" {
		sources = append(sources, c.stopDescendants(ctx, source, f.stop)...)
	} else if f.open {
		c.openGate(ctx, source)
	}
	slices.Sort(sources)
	for _, id := range slices.Compact(sources) {
		if ctx.Err() != nil {
			return
		}
		c.finish(ctx, id)
	}
}

// DeferToSweeper logs an error of work that the sweeper will repeat.
func (c *Client) DeferToSweeper(what, id string, err error) {
	if err != nil {
		c.log.Debug("deferred to the sweeper: "+what, "task", id, "error", err)
	}
}

// stopTimeout bounds one Stop, which may stop very many tasks.
const stopTimeout = time.Minute
