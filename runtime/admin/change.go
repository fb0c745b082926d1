package admin

import (
	"context"
	"encoding/json"

	af "github.com/afgen/afgen/runtime"
)

// options returns the options of an action.
func (a Action) options() []af.ActionOption {
	var opts []af.ActionOption
	if a.By != "" {
		opts = append(opts, af.By(a.By))
	}
	if a.Reason != "" {
		opts = append(opts, af.Reason(a.Reason))
	}
	return opts
}

// with returns options of another kind together with those of the action.
func with[O any](a Action, opts ...O) []O {
	for _, o := range a.options() {
		opts = append(opts, any(o).(O))
	}
	return opts
}

func (d *direct) Submit(ctx context.Context, s Submission, a Action) (Submitted, error) {
	if s.Queue == "" {
		return Submitted{}, refused(af.ErrInvalidArgument, "the submission has no queue")
	}
	if err := checkJSON("the payload", s.Payload); err != nil {
		return Submitted{}, err
	}
	if a.DryRun {
		return Submitted{ID: s.ID}, nil
	}
	record, err := d.app.Recorder(a.options()...)
	if err != nil {
		return Submitted{}, err
	}
	var done Submitted
	opts := []af.SubmitOption{af.Created(&done.Created), af.Timeout(s.Timeout)}
	if s.ID != "" {
		opts = append(opts, af.TaskID(s.ID))
	}
	if s.UniqueKey != "" {
		opts = append(opts, af.UniqueKey(s.UniqueKey))
	}
	if s.Weight != nil {
		opts = append(opts, af.Weight(*s.Weight))
	}
	if !s.RunAt.IsZero() {
		opts = append(opts, af.RunAt(s.RunAt))
	}
	if s.Delay != 0 {
		opts = append(opts, af.Delay(s.Delay))
	}
	if !s.Deadline.IsZero() {
		opts = append(opts, af.Deadline(s.Deadline))
	}
	if s.Retries != nil {
		opts = append(opts, af.Retries(*s.Retries))
	}
	if s.RequireWorker {
		opts = append(opts, af.RequireWorker())
	}
	queue := af.NewVoidQueue[json.RawMessage](d.app, af.Worker{Name: s.Queue, Weight: 1})
	id, err := queue.Submit(withMetadata(ctx, s.Metadata), s.Payload, opts...)
	if err != nil {
		record(ctx, actionSubmit, s.ID, s.Queue, err)
		return Submitted{}, err
	}
	if done.ID = id; done.Created {
		record(ctx, actionSubmit, id, s.Queue, nil)
	}
	return done, nil
}

func (d *direct) Call(ctx context.Context, c Call, a Action) (json.RawMessage, error) {
	if c.Service == "" || c.Method == "" {
		return nil, refused(af.ErrInvalidArgument, "the call has no service or no method")
	}
	args := c.Args
	if len(args) == 0 {
		args = json.RawMessage("{}")
	}
	if err := checkJSON("the arguments", args); err != nil {
		return nil, err
	}
	if a.DryRun {
		return nil, d.checkMethod(ctx, c)
	}
	record, err := d.app.Recorder(a.options()...)
	if err != nil {
		return nil, err
	}
	if c.Timeout != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	result, err := d.app.Call(withMetadata(ctx, c.Metadata), c.Service, c.Method, args)
	record(ctx, actionCall, c.Service+"."+c.Method, "", withoutMessage(err))
	return result, err
}

// The actions in the audit log that this package records. Package runtime records the others.
const (
	actionSubmit = "task.submit" // its detail is the queue
	actionCall   = "service.call"
)

// withoutMessage returns an error with the code and the outcome of err only: the message of a service may repeat
// arguments, which are not recorded.
func withoutMessage(err error) error {
	if err == nil {
		return nil
	}
	outcome := af.OutcomeUnknown
	if e, ok := asError(err); ok {
		outcome = e.Outcome
	}
	return af.NewError(af.CodeOf(err), "the call failed").With(outcome)
}

// checkMethod returns an error if no instance serves a method.
func (d *direct) checkMethod(ctx context.Context, c Call) error {
	page, err := d.app.Services(ctx, af.ServiceQuery{Name: c.Service, Limit: 1})
	if err != nil {
		return err
	}
	if len(page.Services) == 0 {
		return refused(af.ErrUnavailable, "no instance of service %q is running", c.Service)
	}
	for _, m := range page.Services[0].Methods {
		if m.Name == c.Method {
			return nil
		}
	}
	return refused(af.ErrUnimplemented, "service %q has no method %q", c.Service, c.Method)
}

func (d *direct) Stop(ctx context.Context, id string, a Action) error {
	if a.DryRun {
		return d.checkTask(ctx, id, nil)
	}
	return d.app.StopTask(ctx, id, a.options()...)
}

func (d *direct) Retry(ctx context.Context, r Retry, a Action) (string, error) {
	if len(r.Payload) > 0 {
		if err := checkJSON("the payload", r.Payload); err != nil {
			return "", err
		}
	}
	if a.DryRun {
		return "", d.checkTask(ctx, r.ID, final)
	}
	var opts []af.SubmitOption
	if len(r.Payload) > 0 {
		opts = append(opts, af.Payload(r.Payload))
	}
	if r.Replace {
		opts = append(opts, af.Replace())
	}
	return d.app.RetryTask(ctx, r.ID, with(a, opts...)...)
}

func (d *direct) Delete(ctx context.Context, id string, a Action) error {
	if a.DryRun {
		if err := d.checkTask(ctx, id, final); af.CodeOf(err) != af.ErrNotFound {
			return err
		}
		return nil // as of the change
	}
	return d.app.DeleteTask(ctx, id, a.options()...)
}

func (d *direct) RunNow(ctx context.Context, id string, a Action) error {
	if a.DryRun {
		return d.checkTask(ctx, id, func(t *af.Task) bool { return live(t) && t.Status != af.StatusRunning && !t.Gated })
	}
	return d.app.RunNow(ctx, id, a.options()...)
}

func (d *direct) Reweigh(ctx context.Context, id string, weight int, a Action) error {
	if a.DryRun {
		return d.checkTask(ctx, id, live)
	}
	return d.app.Reweigh(ctx, id, weight, a.options()...)
}

func final(t *af.Task) bool { return t.Status.Final() }
func live(t *af.Task) bool  { return !t.Status.Final() }

// checkTask returns the error of a change of a task that is missing, or whose state does not allow the change.
func (d *direct) checkTask(ctx context.Context, id string, allowed func(*af.Task) bool) error {
	t, err := d.app.GetTask(ctx, id)
	if err != nil {
		return err
	}
	if allowed != nil && !allowed(&t) {
		what := ""
		if t.Gated {
			what = " and waits for its source to succeed"
		}
		return refused(af.ErrFailedPrecondition, "task %q is %s%s", id, t.Status, what)
	}
	return nil
}

func (d *direct) StopTasks(ctx context.Context, q af.TaskQuery, a Action) (BulkResult, error) {
	return bulk(ctx, q, a, d.app.StopTasks)
}

func (d *direct) RetryTasks(ctx context.Context, q af.TaskQuery, a Action) (BulkResult, error) {
	return bulk(ctx, q, a, d.app.RetryTasks)
}

func (d *direct) DeleteTasks(ctx context.Context, q af.TaskQuery, a Action) (BulkResult, error) {
	return bulk(ctx, q, a, d.app.DeleteTasks)
}

func bulk(ctx context.Context, q af.TaskQuery, a Action,
	change func(context.Context, af.TaskQuery, ...af.BulkOption) (af.BulkResult, error),
) (BulkResult, error) {
	opts := with[af.BulkOption](a)
	if a.DryRun {
		opts = append(opts, af.DryRun())
	}
	r, err := change(ctx, q, opts...)
	done := BulkResult{Matched: r.Matched, Changed: r.Changed, Cursor: r.Cursor}
	for _, f := range r.Failed {
		code, message := described(f.Err)
		done.Failed = append(done.Failed, BulkFailure{ID: f.ID, Code: code, Message: message})
	}
	return done, err
}

func (d *direct) Pause(ctx context.Context, queue string, a Action) error {
	var opts []af.LimitOption
	switch {
	case a.DryRun && a.Create:
		return d.checkLimits(ctx, queue)
	case a.DryRun:
		return d.checkQueue(ctx, queue)
	case a.Create:
		opts = append(opts, af.Create())
	}
	return d.app.PauseQueue(ctx, queue, with(a, opts...)...)
}

func (d *direct) Resume(ctx context.Context, queue string, a Action) error {
	if a.DryRun {
		return d.checkLimits(ctx, queue)
	}
	return d.app.ResumeQueue(ctx, queue, a.options()...)
}

func (d *direct) SetMax(ctx context.Context, l Limit, a Action) error {
	switch {
	case a.DryRun && l.Create:
		return d.checkLimits(ctx, l.Queue)
	case a.DryRun:
		return d.checkQueue(ctx, l.Queue)
	}
	var opts []af.LimitOption
	if l.Create {
		opts = append(opts, af.Create())
	}
	return d.app.UpdateMaxWorkers(ctx, l.Queue, l.IP, l.Max, with(a, opts...)...)
}

func (d *direct) ResetMax(ctx context.Context, queue, ip string, a Action) error {
	if a.DryRun {
		return d.checkLimits(ctx, queue)
	}
	return d.app.ResetMaxWorkers(ctx, queue, ip, a.options()...)
}

// checkQueue returns an error if a queue is unknown.
func (d *direct) checkQueue(ctx context.Context, queue string) error {
	queues, err := d.app.Queues(ctx)
	if err != nil {
		return err
	}
	for i := range queues {
		if queues[i].Name == queue {
			return nil
		}
	}
	return refused(af.ErrNotFound, "unknown queue %q", queue)
}

// checkLimits returns an error if the limits of a queue can't be read.
func (d *direct) checkLimits(ctx context.Context, queue string) error {
	_, err := d.app.QueueLimits(ctx, queue)
	return err
}

func (d *direct) PutJob(ctx context.Context, j Job, a Action) error {
	if err := checkJSON("the payload", j.Payload); err != nil {
		return err
	}
	if j.ID == "" || j.Queue == "" || j.Cron == "" {
		return refused(af.ErrInvalidArgument, "the job has no id, no queue or no cron expression")
	}
	var client af.TaskClient = d.app
	if a.DryRun {
		client = dryClient{d.app}
	}
	weight := 1
	if j.Weight != nil {
		weight = *j.Weight
	}
	opts := []af.JobOption{af.Zone(j.Zone), af.AllowIPs(j.Allow...), af.Overlap(j.Overlap), af.Timeout(j.Timeout)}
	if j.Window != 0 {
		opts = append(opts, af.MissedWindow(j.Window))
	}
	if j.Missed != "" {
		opts = append(opts, af.Missed(j.Missed))
	}
	if j.Retries != nil {
		opts = append(opts, af.Retries(*j.Retries))
	}
	if j.Disabled {
		opts = append(opts, af.Disabled())
	}
	queue := af.NewVoidQueue[json.RawMessage](client, af.Worker{Name: j.Queue, Weight: weight})
	return queue.Schedule(withMetadata(ctx, j.Metadata), j.ID, j.Cron, j.Payload, with(a, opts...)...)
}

// A dryClient checks jobs instead of putting them.
type dryClient struct{ af.TaskClient }

func (c dryClient) PutJob(_ context.Context, j af.JobSpec) error { return j.Check() }

func (d *direct) RemoveJob(ctx context.Context, id string, a Action) error {
	if a.DryRun {
		if err := d.checkJob(ctx, id); af.CodeOf(err) != af.ErrNotFound {
			return err
		}
		return nil // as of the change
	}
	return d.app.RemoveJob(ctx, id, a.options()...)
}

func (d *direct) EnableJob(ctx context.Context, id string, a Action) error {
	if a.DryRun {
		return d.checkJob(ctx, id)
	}
	return d.app.EnableJob(ctx, id, a.options()...)
}

func (d *direct) DisableJob(ctx context.Context, id string, a Action) error {
	if a.DryRun {
		return d.checkJob(ctx, id)
	}
	return d.app.DisableJob(ctx, id, a.options()...)
}

func (d *direct) RunJob(ctx context.Context, id string, a Action) (string, error) {
	if a.DryRun {
		return "", d.checkJob(ctx, id)
	}
	return d.app.RunJob(ctx, id, a.options()...)
}

// checkJob returns an error if there is no such job.
func (d *direct) checkJob(ctx context.Context, id string) error {
	_, err := d.app.Job(ctx, id)
	return err
}
