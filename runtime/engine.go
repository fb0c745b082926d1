package runtime

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/child"
	"github.com/afgen/afgen/runtime/internal/grace"
	"github.com/afgen/afgen/runtime/internal/jobs"
	"github.com/afgen/afgen/runtime/internal/pipe"
	"github.com/afgen/afgen/runtime/internal/presence"
	"github.com/afgen/afgen/runtime/internal/pubsub"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/tasks"
)

// An engine is what an App has if its backend keeps tasks. Package tasks runs them. The other parts are:
//
//   - the registry, which announces this App (registry.go), and nodes, which reports its machine (package presence);
//   - versions, which knows which other versions of its workers there are (versions.go);
//   - the scheduler, which fires jobs (package jobs);
//   - as process 1, a reaper of what others have left behind (package child).
type engine struct {
	app      *App
	log      *slog.Logger
	ports    *backend.Ports
	store    backend.Store
	tasks    *tasks.Engine // nil in a child process
	client   *tasks.Client // of tasks; in a child process, over its pipe
	requests *retry.Requester
	bus      *pubsub.Bus
	ctx      context.Context // of the background parts

	jobs     *jobs.Catalog
	sched    *jobs.Scheduler
	registry *registry
	versions *versions
	nodes    *presence.Nodes
	finals   finals
	children pipe.Children

	badLimits sync.Once // it is logged once that some don't decode
}

func newEngine(a *App) *engine {
	e := &engine{app: a, log: a.log, ports: a.ports, store: a.ports.Store}
	e.tasks = tasks.New(tasks.Config{
		Ports: a.ports, Log: a.log, Instance: a.instance, Lease: a.settings.lease, MaxCrashes: a.settings.maxCrashes,
		Retention: a.settings.retention, WrongVersionAfter: a.settings.wrongVersion,
		AwaitStart: a.awaitStart, WarnOnce: a.strange.first, ReadLimits: e.limitOf,
		LimitApplied: func() { e.registry.announceNow() },
		Ended:        func(ids []string) { e.sched.TasksEnded(ids) },
		EndChildren:  e.children.Close,
	})
	e.ctx, e.client, e.bus = e.tasks.Context(), e.tasks.Client, e.tasks.Bus()
	e.finishNew()
	return e
}

// newChildEngine returns the engine of a child process, which runs no background parts.
func newChildEngine(a *App, wake func(queue string, ids []string)) *engine {
	e := &engine{app: a, log: a.log, ports: a.ports, store: a.ports.Store, ctx: context.Background()}
	e.client = tasks.NewClient(e.ports, e.log, retry.NewRequester(e.ctx, func() bool { return false }), wake)
	e.bus = pubsub.New(e.ctx, e.ports.Coordinator, e.log, retry.Timeout)
	e.finishNew()
	return e
}

func (e *engine) finishNew() {
	e.requests = e.client.Requests()
	e.registry = newRegistry(e)
	e.versions = newVersions(e)
	e.nodes = presence.NewNodes(presence.NodesConfig{Docs: e.ports.Docs, Log: e.log, Describe: e.app.settings.describeNode})
	e.jobs, e.sched = jobs.New(jobsConfig(e), jobsTasks{e})
}

// queues returns the queues whose tasks this process runs.
func (e *engine) queues() []string {
	if e.tasks == nil {
		return nil
	}
	return e.tasks.Queues()
}

// state returns what this process does for its queues: nothing in a child process.
func (e *engine) state(withIDs bool) []tasks.QueueState {
	if e.tasks == nil {
		return nil
	}
	return e.tasks.State(withIDs)
}

// unwritten returns how many results of this process's tasks are not written, and since when: none in a child process.
func (e *engine) unwritten() (n int, since time.Time) {
	if e.tasks == nil {
		return 0, time.Time{}
	}
	return e.tasks.Unwritten()
}

// start begins to run tasks. ctx bounds the starting only. After an error stop undoes what has begun.
func (e *engine) start(ctx context.Context, workers []WorkerSpec) error {
	if err := e.tasks.Prepare(ctx, e.taskWorkers(workers)); err != nil {
		return err
	}
	e.registry.begin(ctx)
	e.versions.begin(ctx)
	e.tasks.Start(ctx)
	for _, part := range []func(context.Context){
		child.Reap, e.registry.run, e.versions.run, e.bus.Subscribe(topicWorkers, func(json.RawMessage) { e.versions.lookNow() }), e.nodes.Run,
	} {
		e.tasks.Go(part)
	}
	return e.sched.Declare(ctx, programOf(workers))
}

// taskWorkers returns workers as package tasks runs them.
func (e *engine) taskWorkers(specs []WorkerSpec) []tasks.Worker {
	workers := make([]tasks.Worker, len(specs))
	for i := range specs {
		w := e.isolated(specs[i])
		workers[i] = tasks.Worker{
			Queue: w.Name, Max: w.Max, Retries: w.Retries, MaxCrashes: w.MaxCrashes, Timeout: w.Timeout, Backoff: w.Backoff,
			FanIn: w.SubtasksDone != nil, Fingerprint: w.Payload,
			Begin: func(ctx context.Context, t *Task) (context.Context, tasks.Run) { return e.beginRun(ctx, &w, t) },
		}
	}
	return workers
}

// quit takes nothing more, and says so.
func (e *engine) quit() {
	e.sched.Close()
	e.registry.quit()
	e.tasks.Quit()
}

// stop ends what has been drained.
func (e *engine) stop(ctx context.Context) error {
	ending, cancel := grace.Outlast(ctx, grace.End)
	defer cancel()
	err := e.tasks.Shutdown(ctx)
	grace.Await(ending, e.sched.Wait)
	return err
}
