package admin

import (
	"context"
	"encoding/json"
	"iter"
	"slices"

	af "github.com/afgen/afgen/runtime"
)

// A Right is what a [User] may do.
type Right string

// The rights.
const (
	Read      Right = "read"      // everything except payloads
	Payloads  Right = "payloads"  // see payloads, arguments, results, progress, logs and metadata
	Operate   Right = "operate"   // stop, retry, delete, run and reweigh tasks, pause queues, run jobs
	Submit    Right = "submit"    // submit tasks and call methods
	Configure Right = "configure" // change limits and jobs
)

// ReadOnly returns the rights to read everything.
func ReadOnly() []Right { return []Right{Read, Payloads} }

// AllRights returns all rights.
func AllRights() []Right { return []Right{Read, Payloads, Operate, Submit, Configure} }

// A User is who uses an [API].
type User struct {
	Name   string  `json:"name"` // in the audit log; a user without a name can't change anything
	Rights []Right `json:"rights"`
}

// Has reports whether the user has a right.
func (u User) Has(r Right) bool { return slices.Contains(u.Rights, r) }

// needs has the right that each method of [API] needs.
var needs = map[string]Right{
	"Overview": Read, "Health": Read, "Queues": Read, "Tasks": Read, "Task": Read, "Tree": Read, "Why": Read, "History": Read,
	"Jobs": Read, "Job": Read, "Fires": Read, "Services": Read, "Workers": Read, "Instances": Read, "Nodes": Read,
	"Audit": Read, "Watch": Read, "Logs": Payloads,

	"Submit": Submit, "Call": Submit,
	"Stop": Operate, "Retry": Operate, "Delete": Operate, "RunNow": Operate, "Reweigh": Operate, "StopTasks": Operate,
	"RetryTasks": Operate, "DeleteTasks": Operate, "Pause": Operate, "Resume": Operate, "RunJob": Operate,
	"EnableJob": Operate, "DisableJob": Operate,
	"SetMax": Configure, "ResetMax": Configure, "PutJob": Configure, "RemoveJob": Configure,
}

// Check returns nil if the user may call a method of [API], by its name, and otherwise [af.ErrPermissionDenied] with a
// message that names the right and the user. Each method but reads needs a name as well. For the name of no method, a
// user needs any right to change something. [Guard] checks by it; a server that must answer before it knows the
// arguments may, too.
func (u User) Check(method string) error {
	right, known := needs[method]
	switch {
	case !known && (u.Has(Operate) || u.Has(Submit) || u.Has(Configure)):
	case !known:
		right = Operate
		return u.denied(right)
	case !u.Has(right):
		return u.denied(right)
	}
	if changes := right != Read && right != Payloads; changes && u.Name == "" {
		return refused(af.ErrPermissionDenied, "a user without a name can't change anything")
	}
	return nil
}

func (u User) denied(r Right) error {
	return refused(af.ErrPermissionDenied, "user %q does not have the right %q", u.Name, r)
}

// Guard returns an API that allows a user what their rights allow. A refused method returns [af.ErrPermissionDenied]
// and does not reach api. Changes have the user's name as By. What users without [Payloads] read has no payloads,
// results, progress, logs and metadata. They can't filter by payloads either. A retry with another payload also needs
// [Submit].
func Guard(api API, u User) API {
	u.Rights = slices.Clone(u.Rights)
	return &guard{api, u}
}

type guard struct {
	api  API
	user User
}

// read calls a method that returns a value, and redacts it if the user may not see payloads.
func read[R any](g *guard, method string, redact func(*R), call func() (R, error)) (R, error) {
	var none R
	if err := g.user.Check(method); err != nil {
		return none, err
	}
	r, err := call()
	if redact != nil && !g.user.Has(Payloads) {
		redact(&r)
	}
	return r, err
}

// write calls a method that changes something, in the user's name.
func write[R any](g *guard, method string, a Action, call func(Action) (R, error)) (R, error) {
	if err := g.user.Check(method); err != nil {
		var none R
		return none, err
	}
	a.By = g.user.Name
	return call(a)
}

// change is write for a method without a result.
func change(g *guard, method string, a Action, call func(Action) error) error {
	_, err := write(g, method, a, func(a Action) (struct{}, error) { return struct{}{}, call(a) })
	return err
}

// checkFilter returns an error if the user filters by what they may not see.
func (g *guard) checkFilter(q af.TaskQuery) error {
	if (len(q.Filter.Payload) > 0 || len(q.Filter.Metadata) > 0) && !g.user.Has(Payloads) {
		return g.user.denied(Payloads)
	}
	return nil
}

func (g *guard) Overview(ctx context.Context) (Overview, error) {
	o, err := read(g, "Overview", nil, func() (Overview, error) { return g.api.Overview(ctx) })
	if err == nil {
		o.User = &User{Name: g.user.Name, Rights: slices.Clone(g.user.Rights)}
	}
	return o, err
}

func (g *guard) Health(ctx context.Context) (af.Health, error) {
	return read(g, "Health", nil, func() (af.Health, error) { return g.api.Health(ctx) })
}

func (g *guard) Queues(ctx context.Context) ([]af.QueueInfo, error) {
	return read(g, "Queues", nil, func() ([]af.QueueInfo, error) { return g.api.Queues(ctx) })
}

func (g *guard) Tasks(ctx context.Context, q af.TaskQuery) (af.TaskPage, error) {
	return read(g, "Tasks", redactTasks, func() (af.TaskPage, error) {
		if err := g.checkFilter(q); err != nil {
			return af.TaskPage{}, err
		}
		return g.api.Tasks(ctx, q)
	})
}

func (g *guard) Task(ctx context.Context, id string) (Task, error) {
	return read(g, "Task", redactDetail, func() (Task, error) { return g.api.Task(ctx, id) })
}

func (g *guard) Tree(ctx context.Context, q TreeQuery) (TreePage, error) {
	return read(g, "Tree", nil, func() (TreePage, error) { return g.api.Tree(ctx, q) }) // heads have no payloads
}

func (g *guard) Why(ctx context.Context, id string) (Explanation, error) {
	return read(g, "Why", redactWhy, func() (Explanation, error) { return g.api.Why(ctx, id) })
}

func (g *guard) History(ctx context.Context, q af.HistoryQuery) ([]af.HistoryPoint, error) {
	return read(g, "History", nil, func() ([]af.HistoryPoint, error) { return g.api.History(ctx, q) })
}

func (g *guard) Jobs(ctx context.Context, q af.JobQuery) (af.JobPage, error) {
	return read(g, "Jobs", redactJobs, func() (af.JobPage, error) { return g.api.Jobs(ctx, q) })
}

func (g *guard) Job(ctx context.Context, id string) (af.Job, error) {
	return read(g, "Job", redactJob, func() (af.Job, error) { return g.api.Job(ctx, id) })
}

func (g *guard) Fires(ctx context.Context, q af.FireQuery) (af.FirePage, error) {
	return read(g, "Fires", nil, func() (af.FirePage, error) { return g.api.Fires(ctx, q) })
}

func (g *guard) Services(ctx context.Context, q af.ServiceQuery) (af.ServicePage, error) {
	return read(g, "Services", nil, func() (af.ServicePage, error) { return g.api.Services(ctx, q) })
}

func (g *guard) Workers(ctx context.Context, q af.WorkerQuery) (af.WorkerPage, error) {
	return read(g, "Workers", nil, func() (af.WorkerPage, error) { return g.api.Workers(ctx, q) })
}

func (g *guard) Instances(ctx context.Context, q af.InstanceQuery) (af.InstancePage, error) {
	return read(g, "Instances", nil, func() (af.InstancePage, error) { return g.api.Instances(ctx, q) })
}

func (g *guard) Nodes(ctx context.Context, q af.NodeQuery) (af.NodePage, error) {
	return read(g, "Nodes", nil, func() (af.NodePage, error) { return g.api.Nodes(ctx, q) })
}

func (g *guard) Audit(ctx context.Context, q af.AuditQuery) (af.AuditPage, error) {
	return read(g, "Audit", nil, func() (af.AuditPage, error) { return g.api.Audit(ctx, q) })
}

func (g *guard) Logs(ctx context.Context, id string) iter.Seq2[[]string, error] {
	if err := g.user.Check("Logs"); err != nil {
		return func(yield func([]string, error) bool) { yield(nil, err) }
	}
	return g.api.Logs(ctx, id)
}

func (g *guard) Watch(ctx context.Context, q WatchQuery) iter.Seq2[Tick, error] {
	if err := g.user.Check("Watch"); err != nil {
		return func(yield func(Tick, error) bool) { yield(Tick{}, err) }
	}
	return g.api.Watch(ctx, q)
}

func (g *guard) Submit(ctx context.Context, s Submission, a Action) (Submitted, error) {
	return write(g, "Submit", a, func(a Action) (Submitted, error) { return g.api.Submit(ctx, s, a) })
}

func (g *guard) Call(ctx context.Context, c Call, a Action) (json.RawMessage, error) {
	reply, err := write(g, "Call", a, func(a Action) (json.RawMessage, error) { return g.api.Call(ctx, c, a) })
	if !g.user.Has(Payloads) {
		reply, err = nil, withoutDetails(err)
	}
	return reply, err
}

func (g *guard) Stop(ctx context.Context, id string, a Action) error {
	return change(g, "Stop", a, func(a Action) error { return g.api.Stop(ctx, id, a) })
}

func (g *guard) Retry(ctx context.Context, r Retry, a Action) (string, error) {
	return write(g, "Retry", a, func(a Action) (string, error) {
		if len(r.Payload) > 0 && !g.user.Has(Submit) {
			return "", g.user.denied(Submit)
		}
		return g.api.Retry(ctx, r, a)
	})
}

func (g *guard) Delete(ctx context.Context, id string, a Action) error {
	return change(g, "Delete", a, func(a Action) error { return g.api.Delete(ctx, id, a) })
}

func (g *guard) RunNow(ctx context.Context, id string, a Action) error {
	return change(g, "RunNow", a, func(a Action) error { return g.api.RunNow(ctx, id, a) })
}

func (g *guard) Reweigh(ctx context.Context, id string, weight int, a Action) error {
	return change(g, "Reweigh", a, func(a Action) error { return g.api.Reweigh(ctx, id, weight, a) })
}

// bulk calls a bulk change.
func (g *guard) bulk(
	method string, q af.TaskQuery, a Action, call func(Action) (BulkResult, error),
) (BulkResult, error) {
	return write(g, method, a, func(a Action) (BulkResult, error) {
		if err := g.checkFilter(q); err != nil {
			return BulkResult{}, err
		}
		return call(a)
	})
}

func (g *guard) StopTasks(ctx context.Context, q af.TaskQuery, a Action) (BulkResult, error) {
	return g.bulk("StopTasks", q, a, func(a Action) (BulkResult, error) { return g.api.StopTasks(ctx, q, a) })
}

func (g *guard) RetryTasks(ctx context.Context, q af.TaskQuery, a Action) (BulkResult, error) {
	return g.bulk("RetryTasks", q, a, func(a Action) (BulkResult, error) { return g.api.RetryTasks(ctx, q, a) })
}

func (g *guard) DeleteTasks(ctx context.Context, q af.TaskQuery, a Action) (BulkResult, error) {
	return g.bulk("DeleteTasks", q, a, func(a Action) (BulkResult, error) { return g.api.DeleteTasks(ctx, q, a) })
}

func (g *guard) Pause(ctx context.Context, queue string, a Action) error {
	return change(g, "Pause", a, func(a Action) error { return g.api.Pause(ctx, queue, a) })
}

func (g *guard) Resume(ctx context.Context, queue string, a Action) error {
	return change(g, "Resume", a, func(a Action) error { return g.api.Resume(ctx, queue, a) })
}

func (g *guard) SetMax(ctx context.Context, l Limit, a Action) error {
	return change(g, "SetMax", a, func(a Action) error { return g.api.SetMax(ctx, l, a) })
}

func (g *guard) ResetMax(ctx context.Context, queue, ip string, a Action) error {
	return change(g, "ResetMax", a, func(a Action) error { return g.api.ResetMax(ctx, queue, ip, a) })
}

func (g *guard) PutJob(ctx context.Context, j Job, a Action) error {
	return change(g, "PutJob", a, func(a Action) error { return g.api.PutJob(ctx, j, a) })
}

func (g *guard) RemoveJob(ctx context.Context, id string, a Action) error {
	return change(g, "RemoveJob", a, func(a Action) error { return g.api.RemoveJob(ctx, id, a) })
}

func (g *guard) EnableJob(ctx context.Context, id string, a Action) error {
	return change(g, "EnableJob", a, func(a Action) error { return g.api.EnableJob(ctx, id, a) })
}

func (g *guard) DisableJob(ctx context.Context, id string, a Action) error {
	return change(g, "DisableJob", a, func(a Action) error { return g.api.DisableJob(ctx, id, a) })
}

func (g *guard) RunJob(ctx context.Context, id string, a Action) (string, error) {
	return write(g, "RunJob", a, func(a Action) (string, error) { return g.api.RunJob(ctx, id, a) })
}
