package runtime

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/audit"
	"github.com/afgen/afgen/runtime/internal/child"
	"github.com/afgen/afgen/runtime/internal/finals"
	"github.com/afgen/afgen/runtime/internal/grace"
	"github.com/afgen/afgen/runtime/internal/history"
	"github.com/afgen/afgen/runtime/internal/isolate"
	"github.com/afgen/afgen/runtime/internal/jobs"
	"github.com/afgen/afgen/runtime/internal/limits"
	"github.com/afgen/afgen/runtime/internal/livelog"
	"github.com/afgen/afgen/runtime/internal/overview"
	"github.com/afgen/afgen/runtime/internal/presence"
	"github.com/afgen/afgen/runtime/internal/pubsub"
	"github.com/afgen/afgen/runtime/internal/registry"
	"github.com/afgen/afgen/runtime/internal/resubmit"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/tasks"
)

// A core runs the background parts of an App whose backend supports tasks. Package tasks runs the tasks themselves. The
// other parts are:
//
//   - the registry, which announces this App, and versions, which tracks other versions of its workers (package
//     registry);
//   - nodes, which reports its machine (package presence);
//   - the scheduler, which fires jobs (package jobs);
//   - as process 1, a reaper of orphaned processes (package child).
type core struct {
	app      *App
	log      *slog.Logger
	ports    *backend.Ports
	store    backend.Store     // counts what is inserted
	history  *history.Recorder // nil in a child process
	tasks    *tasks.Engine     // nil in a child process
	client   *tasks.Client     // of tasks; in a child process, over its pipe
	requests *retry.Requester
	bus      *pubsub.Bus
	ctx      context.Context // of the background parts

	audit    *audit.Log // nil if the backend does not support documents
	jobs     *jobs.Catalog
	sched    *jobs.Scheduler
	registry *registry.Registry
	versions *registry.Versions // nil in a child process
	nodes    *presence.Nodes
	limits   *limits.Store
	overview *overview.Source
	shared   *overview.Shared
	lines    *livelog.Sender // set by start; nil if no worker's lines can be followed
	retries  *resubmit.Retrier
	finals   finals.Cache
	children *isolate.Children // nil in a child process
}

func newCore(a *App) *core {
	e := &core{app: a, log: a.log, ports: a.ports}
	e.history = history.New(history.Config{
		Docs: a.ports.Docs, Store: a.ports.Store, Instance: a.instance.ID, Log: a.log,
	})
	e.store = e.history.Store(a.ports.Store)
	e.children = newChildren(a)
	e.tasks = tasks.New(tasks.Config{
		History: e.history, Hooks: a.hooks, JobOf: jobs.JobOf,
		Ports: a.ports, Log: a.log, Instance: a.instance, Lease: a.settings.lease, MaxCrashes: a.settings.maxCrashes,
		Retention: a.settings.retention, WrongVersionAfter: a.settings.wrongVersion, Observer: a.settings.observer,
		AwaitStart: a.life.AwaitStart, WarnOnce: a.warned.First, ReadLimits: e.limitOf,
		WaitUntold: waitUntold, WaitsLong: e.waitsLong,
		LimitApplied: func() { e.registry.AnnounceSoon() },
		Ended:        func(ids []string) { e.sched.TasksEnded(ids) },
		EndChildren:  e.children.Close,
		Purging:      func(ctx context.Context) (time.Time, error) { return e.jobs.Purgeable(ctx) }, Purged: e.pruneAudit,
	})
	e.ctx, e.client, e.bus = e.tasks.Context(), e.tasks.Client, e.tasks.Bus()
	e.finishNew()
	e.versions = registry.NewVersions(e.registry, e.tasks)
	return e
}

// newChildCore returns the core of a child process, which runs no background parts.
func newChildCore(a *App, wake func(queue string, ids []string)) *core {
	e := &core{app: a, log: a.log, ports: a.ports, store: a.ports.Store, ctx: context.Background()}
	e.client = tasks.NewClient(e.ports, e.log, retry.NewRequester(e.ctx, func() bool { return false }), wake)
	e.bus = pubsub.New(e.ctx, e.ports.Coordinator, e.log, retry.Timeout)
	e.finishNew()
	return e
}

func (c *core) finishNew() {
	c.requests = c.client.Requests()
	c.audit = newAudit(c)
	c.registry = registry.New(registry.Config{
		Ports: c.ports, App: c.app.instance, Observer: c.app.settings.observer, Lease: c.app.settings.lease,
		Log: c.log, Bus: c.bus,
		Node:   func() (id, host string) { return c.nodes.Self(c.ctx) },
		Queues: c.queues, Workers: c.announced, Conditions: c.app.conditions,
	})
	c.nodes = presence.NewNodes(presence.NodesConfig{
		Docs: c.ports.Docs, Log: c.log, Describe: c.app.settings.describeNode,
	})
	c.jobs, c.sched = jobs.New(jobsConfig(c), jobsTasks{c})
	c.limits = newLimits(c)
	c.overview = &overview.Source{
		Store: c.store, Docs: c.ports.Docs, Requests: c.requests, Limits: c.limits.All, Present: c.presentInstances,
	}
	c.shared = overview.NewShared(c.overview)
	c.retries = &resubmit.Retrier{
		Store: c.store, Requests: c.requests, Client: c.client, Jobs: c.jobs, Log: c.log, PollEverywhere: c.pollEverywhere,
	}
}

// queues returns the queues whose tasks this process runs.
func (c *core) queues() []string {
	if c.tasks == nil {
		return nil
	}
	return c.tasks.Queues()
}

// state returns the state of this process's queues, or nil in a child process.
func (c *core) state(withIDs bool) []tasks.QueueState {
	if c.tasks == nil {
		return nil
	}
	return c.tasks.State(withIDs)
}

// announced returns the workers of this process, as other instances see them.
func (c *core) announced() (workers []registry.Worker) {
	for _, q := range c.state(false) {
		workers = append(workers, registry.Worker{
			Queue: q.Queue, Payload: q.Fingerprint, Own: q.Own, Applied: q.Applied.Slots(), Revision: q.Applied.Revision,
			Running: q.Slots, Abandoned: q.Abandoned, Claims: q.Applied.Known && q.Applied.Max > 0, Refusal: q.Refusal,
			Oldest: q.Oldest,
		})
	}
	return workers
}

// unwritten returns how many results of this process's tasks are not written, and since when. In a child process it
// returns 0.
func (c *core) unwritten() (n int, since time.Time) {
	if c.tasks == nil {
		return 0, time.Time{}
	}
	return c.tasks.Unwritten()
}

// start starts all parts. ctx limits the start only. After an error, stop must be called.
func (c *core) start(ctx context.Context, workers []WorkerSpec) error {
	c.warnOfUnknownWorkers(workers)
	all, err := c.taskWorkers(workers)
	if err != nil {
		return err
	}
	if err := c.tasks.Prepare(ctx, all); err != nil {
		return err
	}
	if c.app.settings.observer {
		c.tasks.Start(ctx)
		c.tasks.Go(child.Reap)
		return nil
	}
	c.registry.Begin(ctx)
	c.versions.Begin(ctx)
	c.tasks.Start(ctx)
	if c.ports.Coordinator != nil && len(workers) > 0 {
		c.lines = livelog.NewSender(c.ports.Coordinator, c.liveLines)
		c.tasks.Go(c.lines.Run)
		c.tasks.Go(c.bus.Subscribe(livelog.TopicFollow, c.lines.Heard))
	}
	for _, part := range []func(context.Context){
		child.Reap, c.registry.Run, c.versions.Run, c.nodes.Run,
		c.bus.Subscribe(registry.TopicWorkers, func(json.RawMessage) { c.versions.RefreshSoon() }),
	} {
		c.tasks.Go(part)
	}
	return c.sched.Declare(ctx, programOf(workers))
}

// taskWorkers converts workers for package tasks.
func (c *core) taskWorkers(specs []WorkerSpec) (_ []tasks.Worker, err error) {
	workers := make([]tasks.Worker, len(specs))
	for i := range specs {
		w := specs[i]
		if w.handle, err = c.handlerOf(&w); err != nil {
			return nil, err
		}
		workers[i] = tasks.Worker{
			Queue: w.Name, Max: w.Max, Retries: w.Retries, MaxCrashes: w.MaxCrashes, Timeout: w.Timeout, Backoff: w.Backoff,
			BackoffMax: w.BackoffMax, FanIn: w.SubtasksDone != nil, Fingerprint: w.Payload, Process: c.isolates(&w),
			Begin: func(ctx context.Context, t *Task) (context.Context, tasks.Run) { return c.beginRun(ctx, &w, t) },
		}
	}
	return workers, nil
}

// quit stops taking work and announces it.
func (c *core) quit() {
	c.sched.Close()
	c.registry.Quit()
	c.tasks.Quit()
}

// stop stops all parts after the drain.
func (c *core) stop(ctx context.Context) error {
	ending, cancel := grace.Outlast(ctx, grace.End)
	defer cancel()
	err := c.tasks.Shutdown(ctx)
	grace.Await(ending, c.sched.Wait)
	return err
}
