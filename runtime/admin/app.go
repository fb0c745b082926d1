package admin

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync"

	af "github.com/afgen/afgen/runtime"
)

// New returns an API on a started App, without any restriction. Use [Guard] for users.
func New(app *af.App) API { return &direct{app: app, looks: newLooks(app)} }

// direct is an API on an App.
type direct struct {
	app   *af.App
	looks *looks
}

func (d *direct) Overview(ctx context.Context) (Overview, error) {
	o := Overview{Health: d.app.Health(), Counts: map[af.Status]af.Count{}, Queues: []af.QueueInfo{},
		Hour: []af.HistoryPoint{}}
	if o.Health.State != "running" {
		_, err := d.app.Tasks(ctx, af.TaskQuery{Limit: 1}) // the error of an App that is not running
		if err != nil {
			return Overview{}, err
		}
	}
	var parts sync.WaitGroup // read at the same time
	var mu sync.Mutex
	missing := func(part string, err error) {
		if err == nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if o.Missing == nil {
			o.Missing = map[string]*MissingPart{}
		}
		code, message := described(err)
		o.Missing[part] = &MissingPart{Code: code, Message: message}
	}
	var queues []af.QueueInfo
	parts.Go(func() {
		var err error
		queues, err = d.app.Queues(ctx)
		missing("queues", err)
	})
	parts.Go(func() {
		hour, err := d.app.History(ctx, af.HistoryQuery{})
		missing("hour", err)
		o.Hour = append(o.Hour, hour...)
	})
	parts.Go(func() {
		instances, err := d.app.Instances(ctx, af.InstanceQuery{Limit: 1})
		missing("instances", err)
		o.Instances = instances.Total
	})
	parts.Go(func() {
		nodes, err := d.app.Nodes(ctx, af.NodeQuery{Limit: 1})
		missing("nodes", err)
		o.Nodes = nodes.Total
	})
	parts.Go(func() {
		jobs, err := d.app.Jobs(ctx, af.JobQuery{Limit: 1})
		missing("jobs", err)
		o.Jobs = jobs.Total
	})
	parts.Wait()
	for _, q := range queues {
		o.Queues = append(o.Queues, q)
		for s, n := range q.Counts {
			all := o.Counts[s]
			o.Counts[s] = af.Count{N: all.N + n.N, AtLeast: all.AtLeast || n.AtLeast}
		}
		if !q.Oldest.IsZero() && (o.Oldest.IsZero() || q.Oldest.Before(o.Oldest)) {
			o.Oldest = q.Oldest
		}
	}
	if ctx.Err() != nil {
		return Overview{}, ended(ctx)
	}
	return o, nil
}

func (d *direct) Health(context.Context) (af.Health, error) { return d.app.Health(), nil }

func (d *direct) Queues(ctx context.Context) ([]af.QueueInfo, error) { return d.app.Queues(ctx) }

func (d *direct) Tasks(ctx context.Context, q af.TaskQuery) (af.TaskPage, error) {
	return d.app.Tasks(ctx, q)
}

func (d *direct) Task(ctx context.Context, id string) (Task, error) {
	doc, err := d.app.GetTask(ctx, id)
	if err != nil {
		return Task{}, err
	}
	t := Task{Task: doc}
	if doc.Spawned || doc.Subtasks != nil {
		if t.Children, err = children(ctx, d.app, id); err != nil {
			return Task{}, err
		}
	}
	// The document is worth showing although its explanation can't be found out.
	if e, err := why(ctx, d.app, id); err == nil {
		t.Why = &e
		for i := range e.Rules {
			if n := e.Rules[i].Evidence.Ahead; n != nil {
				t.Ahead = n
				break
			}
		}
	} else if ctx.Err() != nil {
		return Task{}, ended(ctx)
	}
	return t, nil
}

// statuses are all statuses of tasks.
var statuses = []af.Status{af.StatusWaiting, af.StatusPending, af.StatusRunning, af.StatusRetrying, af.StatusSuccess,
	af.StatusFailed, af.StatusStopped}

// children counts the subtasks of a task by status.
func children(ctx context.Context, app *af.App, id string) (map[af.Status]af.Count, error) {
	counts := map[af.Status]af.Count{}
	for _, s := range statuses {
		page, err := app.Tasks(ctx, af.TaskQuery{Source: id, Statuses: []af.Status{s}, Limit: 1, Bytes: 1})
		if err != nil {
			return nil, err
		}
		if page.Total > 0 {
			counts[s] = af.Count{N: page.Total, AtLeast: page.AtLeast}
		}
	}
	return counts, nil
}

func (d *direct) Why(ctx context.Context, id string) (Explanation, error) { return why(ctx, d.app, id) }

func (d *direct) History(ctx context.Context, q af.HistoryQuery) ([]af.HistoryPoint, error) {
	return d.app.History(ctx, q)
}

func (d *direct) Jobs(ctx context.Context, q af.JobQuery) (af.JobPage, error) {
	return d.app.Jobs(ctx, q)
}

func (d *direct) Job(ctx context.Context, id string) (af.Job, error) { return d.app.Job(ctx, id) }

func (d *direct) Fires(ctx context.Context, q af.FireQuery) (af.FirePage, error) {
	return d.app.Fires(ctx, q)
}

func (d *direct) Services(ctx context.Context, q af.ServiceQuery) (af.ServicePage, error) {
	return d.app.Services(ctx, q)
}

func (d *direct) Workers(ctx context.Context, q af.WorkerQuery) (af.WorkerPage, error) {
	return d.app.Workers(ctx, q)
}

func (d *direct) Instances(ctx context.Context, q af.InstanceQuery) (af.InstancePage, error) {
	return d.app.Instances(ctx, q)
}

func (d *direct) Nodes(ctx context.Context, q af.NodeQuery) (af.NodePage, error) {
	return d.app.Nodes(ctx, q)
}

func (d *direct) Audit(ctx context.Context, q af.AuditQuery) (af.AuditPage, error) {
	return d.app.Audit(ctx, q)
}

func (d *direct) Logs(ctx context.Context, id string) iter.Seq2[[]string, error] {
	return d.app.FollowLog(ctx, id)
}

// described returns the code and the message of an error.
func described(err error) (af.Code, string) {
	e, ok := asError(err)
	if !ok {
		return af.CodeOf(err), err.Error()
	}
	return e.Code, e.Message
}

// withMetadata returns a context with metadata for what is submitted or called with it.
func withMetadata(ctx context.Context, m af.Metadata) context.Context {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		ctx = af.WithMetadata(ctx, name, m[name])
	}
	return ctx
}
