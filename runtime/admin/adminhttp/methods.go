package adminhttp

import (
	"context"
	"encoding/json"
	"iter"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

func (c *client) Overview(ctx context.Context) (admin.Overview, error) {
	return invoke(ctx, c, overview, none{})
}

func (c *client) Health(ctx context.Context) (af.Health, error) {
	return invoke(ctx, c, health, none{})
}

func (c *client) Queues(ctx context.Context) ([]af.QueueInfo, error) {
	return invoke(ctx, c, queues, none{})
}

func (c *client) Tasks(ctx context.Context, q af.TaskQuery) (af.TaskPage, error) {
	return invoke(ctx, c, tasks, q)
}

func (c *client) Task(ctx context.Context, id string) (admin.Task, error) {
	return invoke(ctx, c, task, byID{id})
}

func (c *client) Tree(ctx context.Context, q admin.TreeQuery) (admin.TreePage, error) {
	return invoke(ctx, c, tree, q)
}

func (c *client) Why(ctx context.Context, id string) (admin.Explanation, error) {
	return invoke(ctx, c, why, byID{id})
}

func (c *client) History(ctx context.Context, q af.HistoryQuery) ([]af.HistoryPoint, error) {
	return invoke(ctx, c, history, q)
}

func (c *client) Jobs(ctx context.Context, q af.JobQuery) (af.JobPage, error) {
	return invoke(ctx, c, jobs, q)
}

func (c *client) Job(ctx context.Context, id string) (af.Job, error) {
	return invoke(ctx, c, job, byID{id})
}

func (c *client) Fires(ctx context.Context, q af.FireQuery) (af.FirePage, error) {
	return invoke(ctx, c, fires, q)
}

func (c *client) Services(ctx context.Context, q af.ServiceQuery) (af.ServicePage, error) {
	return invoke(ctx, c, services, q)
}

func (c *client) Workers(ctx context.Context, q af.WorkerQuery) (af.WorkerPage, error) {
	return invoke(ctx, c, workers, q)
}

func (c *client) Instances(ctx context.Context, q af.InstanceQuery) (af.InstancePage, error) {
	return invoke(ctx, c, instances, q)
}

func (c *client) Nodes(ctx context.Context, q af.NodeQuery) (af.NodePage, error) {
	return invoke(ctx, c, nodes, q)
}

func (c *client) Audit(ctx context.Context, q af.AuditQuery) (af.AuditPage, error) {
	return invoke(ctx, c, auditLog, q)
}

func (c *client) Logs(ctx context.Context, id string) iter.Seq2[[]string, error] {
	return follow(ctx, c, logs, byID{id})
}

func (c *client) Watch(ctx context.Context, q admin.WatchQuery) iter.Seq2[admin.Tick, error] {
	return follow(ctx, c, watch, q)
}

func (c *client) Submit(ctx context.Context, s admin.Submission, a admin.Action) (admin.Submitted, error) {
	return invoke(ctx, c, submit, with[admin.Submission]{s, a})
}

func (c *client) Call(ctx context.Context, what admin.Call, a admin.Action) (json.RawMessage, error) {
	return invoke(ctx, c, call, with[admin.Call]{what, a})
}

func (c *client) Stop(ctx context.Context, id string, a admin.Action) error {
	_, err := invoke(ctx, c, stop, with[byID]{byID{id}, a})
	return err
}

func (c *client) Delete(ctx context.Context, id string, a admin.Action) error {
	_, err := invoke(ctx, c, remove, with[byID]{byID{id}, a})
	return err
}

func (c *client) RunNow(ctx context.Context, id string, a admin.Action) error {
	_, err := invoke(ctx, c, runNow, with[byID]{byID{id}, a})
	return err
}

func (c *client) Reweigh(ctx context.Context, id string, n int, a admin.Action) error {
	_, err := invoke(ctx, c, reweigh, with[weight]{weight{id, n}, a})
	return err
}

func (c *client) StopTasks(ctx context.Context, q af.TaskQuery, a admin.Action) (admin.BulkResult, error) {
	return invoke(ctx, c, stopTasks, with[af.TaskQuery]{q, a})
}

func (c *client) RetryTasks(ctx context.Context, q af.TaskQuery, a admin.Action) (admin.BulkResult, error) {
	return invoke(ctx, c, retryTasks, with[af.TaskQuery]{q, a})
}

func (c *client) DeleteTasks(ctx context.Context, q af.TaskQuery, a admin.Action) (admin.BulkResult, error) {
	return invoke(ctx, c, deleteTasks, with[af.TaskQuery]{q, a})
}

func (c *client) Pause(ctx context.Context, name string, a admin.Action) error {
	_, err := invoke(ctx, c, pause, with[queue]{queue{Queue: name}, a})
	return err
}

func (c *client) Resume(ctx context.Context, name string, a admin.Action) error {
	_, err := invoke(ctx, c, resume, with[queue]{queue{Queue: name}, a})
	return err
}

func (c *client) SetMax(ctx context.Context, l admin.Limit, a admin.Action) error {
	_, err := invoke(ctx, c, setMax, with[admin.Limit]{l, a})
	return err
}

func (c *client) ResetMax(ctx context.Context, name, ip string, a admin.Action) error {
	_, err := invoke(ctx, c, resetMax, with[queue]{queue{name, ip}, a})
	return err
}

func (c *client) PutJob(ctx context.Context, j admin.Job, a admin.Action) error {
	_, err := invoke(ctx, c, putJob, with[admin.Job]{j, a})
	return err
}

func (c *client) RemoveJob(ctx context.Context, id string, a admin.Action) error {
	_, err := invoke(ctx, c, removeJob, with[byID]{byID{id}, a})
	return err
}

func (c *client) EnableJob(ctx context.Context, id string, a admin.Action) error {
	_, err := invoke(ctx, c, enableJob, with[byID]{byID{id}, a})
	return err
}

func (c *client) DisableJob(ctx context.Context, id string, a admin.Action) error {
	_, err := invoke(ctx, c, disableJob, with[byID]{byID{id}, a})
	return err
}

func (c *client) Retry(ctx context.Context, r admin.Retry, a admin.Action) (string, error) {
	done, err := invoke(ctx, c, retry, with[admin.Retry]{r, a})
	return done.ID, err
}

func (c *client) RunJob(ctx context.Context, id string, a admin.Action) (string, error) {
	done, err := invoke(ctx, c, runJob, with[byID]{byID{id}, a})
	return done.ID, err
}
