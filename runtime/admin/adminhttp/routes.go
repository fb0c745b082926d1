package adminhttp

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// Prefix is the path below which the routes are.
const Prefix = "/api/v1/"

// A Route is how a method of [admin.API] is called over HTTP.
type Route struct {
	Name   string // of the method
	Method string // GET or POST
	Path   string // below Prefix
	Stream bool   // the answer is a stream of server-sent events
}

// Routes returns all routes, in the order of [admin.API].
func Routes() []Route {
	all := make([]Route, len(routes))
	for i, r := range routes {
		all[i] = r.info()
	}
	return all
}

// A handled is a route of either kind.
type handled interface {
	info() Route
	serve(h *handler, api admin.API, w http.ResponseWriter, r *http.Request)
}

// A route calls a method with the arguments A.
type route[A, R any] struct {
	Route
	call func(ctx context.Context, api admin.API, args A) (R, error)
}

func (r *route[A, R]) info() Route { return r.Route }

// A stream calls a method that yields values.
type stream[A, V any] struct {
	Route
	call func(ctx context.Context, api admin.API, args A) iter.Seq2[V, error]
}

func (s *stream[A, V]) info() Route { return s.Route }

// get returns the route of a read.
func get[A, R any](name, path string, call func(context.Context, admin.API, A) (R, error)) *route[A, R] {
	return &route[A, R]{Route{Name: name, Method: http.MethodGet, Path: path}, call}
}

// post returns the route of a change.
func post[A, R any](name, path string, call func(context.Context, admin.API, A) (R, error)) *route[A, R] {
	return &route[A, R]{Route{Name: name, Method: http.MethodPost, Path: path}, call}
}

// do is post for a method without a result.
func do[A any](name, path string, call func(context.Context, admin.API, A) error) *route[A, none] {
	return post(name, path, func(ctx context.Context, api admin.API, args A) (none, error) {
		return none{}, call(ctx, api, args)
	})
}

// Arguments and results that are not types of package admin.
type (
	none struct{}

	byID struct {
		ID string `json:"id"`
	}
	// with is the arguments of a change: those of T and the action.
	with[T any] struct {
		Args   T            `json:"args"`
		Action admin.Action `json:"action,omitzero"`
	}
	weight struct {
		ID     string `json:"id"`
		Weight int    `json:"weight"`
	}
	queue struct {
		Queue string `json:"queue"`
		IP    string `json:"ip,omitempty"`
	}
)

var (
	overview = get("Overview", "overview", func(ctx context.Context, api admin.API, _ none) (admin.Overview, error) {
		return api.Overview(ctx)
	})
	health = get("Health", "health", func(ctx context.Context, api admin.API, _ none) (af.Health, error) {
		return api.Health(ctx)
	})
	queues = get("Queues", "queues", func(ctx context.Context, api admin.API, _ none) ([]af.QueueInfo, error) {
		return api.Queues(ctx)
	})
	tasks = get("Tasks", "tasks", func(ctx context.Context, api admin.API, q af.TaskQuery) (af.TaskPage, error) {
		return api.Tasks(ctx, q)
	})
	task = get("Task", "task", func(ctx context.Context, api admin.API, a byID) (admin.Task, error) {
		return api.Task(ctx, a.ID)
	})
	tree = get("Tree", "task/tree", func(ctx context.Context, api admin.API, q admin.TreeQuery) (admin.TreePage, error) {
		return api.Tree(ctx, q)
	})
	why = get("Why", "task/why", func(ctx context.Context, api admin.API, a byID) (admin.Explanation, error) {
		return api.Why(ctx, a.ID)
	})
	history = get("History", "history",
		func(ctx context.Context, api admin.API, q af.HistoryQuery) ([]af.HistoryPoint, error) {
			return api.History(ctx, q)
		})
	jobs = get("Jobs", "jobs", func(ctx context.Context, api admin.API, q af.JobQuery) (af.JobPage, error) {
		return api.Jobs(ctx, q)
	})
	job = get("Job", "job", func(ctx context.Context, api admin.API, a byID) (af.Job, error) {
		return api.Job(ctx, a.ID)
	})
	fires = get("Fires", "fires", func(ctx context.Context, api admin.API, q af.FireQuery) (af.FirePage, error) {
		return api.Fires(ctx, q)
	})
	services = get("Services", "services",
		func(ctx context.Context, api admin.API, q af.ServiceQuery) (af.ServicePage, error) {
			return api.Services(ctx, q)
		})
	workers = get("Workers", "workers",
		func(ctx context.Context, api admin.API, q af.WorkerQuery) (af.WorkerPage, error) {
			return api.Workers(ctx, q)
		})
	instances = get("Instances", "instances",
		func(ctx context.Context, api admin.API, q af.InstanceQuery) (af.InstancePage, error) {
			return api.Instances(ctx, q)
		})
	nodes = get("Nodes", "nodes", func(ctx context.Context, api admin.API, q af.NodeQuery) (af.NodePage, error) {
		return api.Nodes(ctx, q)
	})
	auditLog = get("Audit", "audit", func(ctx context.Context, api admin.API, q af.AuditQuery) (af.AuditPage, error) {
		return api.Audit(ctx, q)
	})
	logs = &stream[byID, []string]{
		Route{Name: "Logs", Method: http.MethodGet, Path: "task/log", Stream: true},
		func(ctx context.Context, api admin.API, a byID) iter.Seq2[[]string, error] {
			return api.Logs(ctx, a.ID)
		},
	}
	watch = &stream[admin.WatchQuery, admin.Tick]{
		Route{Name: "Watch", Method: http.MethodGet, Path: "watch", Stream: true},
		func(ctx context.Context, api admin.API, q admin.WatchQuery) iter.Seq2[admin.Tick, error] {
			return api.Watch(ctx, q)
		},
	}

	submit = post("Submit", "tasks/submit",
		func(ctx context.Context, api admin.API, a with[admin.Submission]) (admin.Submitted, error) {
			return api.Submit(ctx, a.Args, a.Action)
		})
	call = post("Call", "services/call",
		func(ctx context.Context, api admin.API, a with[admin.Call]) (json.RawMessage, error) {
			return api.Call(ctx, a.Args, a.Action)
		})
	stop = do("Stop", "task/stop", func(ctx context.Context, api admin.API, a with[byID]) error {
		return api.Stop(ctx, a.Args.ID, a.Action)
	})
	retry = post("Retry", "task/retry", func(ctx context.Context, api admin.API, a with[admin.Retry]) (byID, error) {
		id, err := api.Retry(ctx, a.Args, a.Action)
		return byID{id}, err
	})
	remove = do("Delete", "task/delete", func(ctx context.Context, api admin.API, a with[byID]) error {
		return api.Delete(ctx, a.Args.ID, a.Action)
	})
	runNow = do("RunNow", "task/run", func(ctx context.Context, api admin.API, a with[byID]) error {
		return api.RunNow(ctx, a.Args.ID, a.Action)
	})
	reweigh = do("Reweigh", "task/reweigh", func(ctx context.Context, api admin.API, a with[weight]) error {
		return api.Reweigh(ctx, a.Args.ID, a.Args.Weight, a.Action)
	})
	stopTasks   = bulk("StopTasks", "tasks/stop", admin.API.StopTasks)
	retryTasks  = bulk("RetryTasks", "tasks/retry", admin.API.RetryTasks)
	deleteTasks = bulk("DeleteTasks", "tasks/delete", admin.API.DeleteTasks)

	pause = do("Pause", "queue/pause", func(ctx context.Context, api admin.API, a with[queue]) error {
		return api.Pause(ctx, a.Args.Queue, a.Action)
	})
	resume = do("Resume", "queue/resume", func(ctx context.Context, api admin.API, a with[queue]) error {
		return api.Resume(ctx, a.Args.Queue, a.Action)
	})
	setMax = do("SetMax", "queue/max", func(ctx context.Context, api admin.API, a with[admin.Limit]) error {
		return api.SetMax(ctx, a.Args, a.Action)
	})
	resetMax = do("ResetMax", "queue/max/reset", func(ctx context.Context, api admin.API, a with[queue]) error {
		return api.ResetMax(ctx, a.Args.Queue, a.Args.IP, a.Action)
	})
	putJob = do("PutJob", "job/put", func(ctx context.Context, api admin.API, a with[admin.Job]) error {
		return api.PutJob(ctx, a.Args, a.Action)
	})
	removeJob = do("RemoveJob", "job/remove", func(ctx context.Context, api admin.API, a with[byID]) error {
		return api.RemoveJob(ctx, a.Args.ID, a.Action)
	})
	enableJob = do("EnableJob", "job/enable", func(ctx context.Context, api admin.API, a with[byID]) error {
		return api.EnableJob(ctx, a.Args.ID, a.Action)
	})
	disableJob = do("DisableJob", "job/disable", func(ctx context.Context, api admin.API, a with[byID]) error {
		return api.DisableJob(ctx, a.Args.ID, a.Action)
	})
	runJob = post("RunJob", "job/run", func(ctx context.Context, api admin.API, a with[byID]) (byID, error) {
		id, err := api.RunJob(ctx, a.Args.ID, a.Action)
		return byID{id}, err
	})
)

// bulk returns the route of a bulk change.
func bulk(name, path string,
	change func(admin.API, context.Context, af.TaskQuery, admin.Action) (admin.BulkResult, error),
) *route[with[af.TaskQuery], admin.BulkResult] {
	return post(name, path, func(ctx context.Context, api admin.API, a with[af.TaskQuery]) (admin.BulkResult, error) {
		return change(api, ctx, a.Args, a.Action)
	})
}

// routes is the table of all routes, which server, client and documentation share.
var routes = []handled{
	overview, health, queues, tasks, task, tree, why, history, jobs, job, fires, services, workers, instances, nodes, auditLog,
	logs, watch, submit, call, stop, retry, remove, runNow, reweigh, stopTasks, retryTasks, deleteTasks, pause, resume,
	setMax, resetMax, putJob, removeJob, enableJob, disableJob, runJob,
}
