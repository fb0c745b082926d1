package dashboard

import (
	"context"
	"encoding/json"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

const maxReading = 10 * time.Second // of one read

// A cache is an API whose answers are kept for a second, so that the system is read as often for many viewers as for one.
// What it returns is shared and must not be modified.
type cache struct {
	admin.API
	*answers
	pace *pace // of its reads; nil if they are not for pages
}

// cached returns what read returns, or has returned within the last second.
func cached[Q, R any](
	ctx context.Context, c *cache, method string, q Q, read func(context.Context, Q) (R, error),
) (R, error) {
	var none R
	key, err := json.Marshal(q)
	if err != nil { // a query that can't be sent either
		return none, af.Errorf(af.ErrInvalidArgument, "%s: %w", method, err)
	}
	value, err := c.get(ctx, method+" "+string(key), readGap, c.pace, func(ctx context.Context) (any, error) {
		ctx, cancel := context.WithTimeout(ctx, maxReading)
		defer cancel()
		return read(ctx, q)
	})
	if err != nil {
		return none, err
	}
	return value.(R), nil
}

func (c *cache) Overview(ctx context.Context) (admin.Overview, error) {
	return cached(ctx, c, "Overview", "", func(ctx context.Context, _ string) (admin.Overview, error) {
		return c.API.Overview(ctx)
	})
}

func (c *cache) Health(ctx context.Context) (af.Health, error) {
	return cached(ctx, c, "Health", "", func(ctx context.Context, _ string) (af.Health, error) {
		return c.API.Health(ctx)
	})
}

func (c *cache) Queues(ctx context.Context) ([]af.QueueInfo, error) {
	return cached(ctx, c, "Queues", "", func(ctx context.Context, _ string) ([]af.QueueInfo, error) {
		return c.API.Queues(ctx)
	})
}

func (c *cache) Tasks(ctx context.Context, q af.TaskQuery) (af.TaskPage, error) {
	return cached(ctx, c, "Tasks", q, c.API.Tasks)
}

func (c *cache) Task(ctx context.Context, id string) (admin.Task, error) {
	return cached(ctx, c, "Task", id, c.API.Task)
}

func (c *cache) Tree(ctx context.Context, q admin.TreeQuery) (admin.TreePage, error) {
	return cached(ctx, c, "Tree", q, c.API.Tree)
}

func (c *cache) Why(ctx context.Context, id string) (admin.Explanation, error) {
	return cached(ctx, c, "Why", id, c.API.Why)
}

func (c *cache) History(ctx context.Context, q af.HistoryQuery) ([]af.HistoryPoint, error) {
	return cached(ctx, c, "History", q, c.API.History)
}

func (c *cache) Workers(ctx context.Context, q af.WorkerQuery) (af.WorkerPage, error) {
	return cached(ctx, c, "Workers", q, c.API.Workers)
}

func (c *cache) Instances(ctx context.Context, q af.InstanceQuery) (af.InstancePage, error) {
	return cached(ctx, c, "Instances", q, c.API.Instances)
}

func (c *cache) Jobs(ctx context.Context, q af.JobQuery) (af.JobPage, error) {
	return cached(ctx, c, "Jobs", q, c.API.Jobs)
}

func (c *cache) Job(ctx context.Context, id string) (af.Job, error) {
	return cached(ctx, c, "Job", id, c.API.Job)
}

func (c *cache) Fires(ctx context.Context, q af.FireQuery) (af.FirePage, error) {
	return cached(ctx, c, "Fires", q, c.API.Fires)
}

func (c *cache) Services(ctx context.Context, q af.ServiceQuery) (af.ServicePage, error) {
	return cached(ctx, c, "Services", q, c.API.Services)
}

func (c *cache) Nodes(ctx context.Context, q af.NodeQuery) (af.NodePage, error) {
	return cached(ctx, c, "Nodes", q, c.API.Nodes)
}

func (c *cache) Audit(ctx context.Context, q af.AuditQuery) (af.AuditPage, error) {
	return cached(ctx, c, "Audit", q, c.API.Audit)
}
