package runtime

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A TaskClient keeps tasks for queues. The App is one.
type TaskClient interface {
	// SubmitTasks persists tasks and returns their ids in order; with an error those of the first that are kept for certain.
	SubmitTasks(ctx context.Context, s Submission) ([]string, error)
	// GetTask returns a task as it is now; not_found where there is none.
	GetTask(ctx context.Context, id string) (Task, error)
	// WaitTask returns a task once its own run has ended. A handler that waits for what can't begin before it returns, such as its own
	// gated subtask, gets ErrFailedPrecondition.
	WaitTask(ctx context.Context, id string) (Task, error)
	// PutJob adds or replaces a job.
	PutJob(ctx context.Context, j JobSpec) error
}

// A Submission is tasks of one queue as plain data.
type Submission struct {
	Worker   Worker
	Payloads []json.RawMessage
	// Stored leaves the dispatching to the dispatcher; else a hint is sent at once.
	Stored bool
	// Source is the task whose subtasks these are; IsSubtasks says so where the list is empty too.
	Source     string
	IsSubtasks bool
	Options    TaskOptions

	trace string // of whoever submits
}

// TaskOptions is how tasks are to be run. Nil and zero fields leave it to the worker.
type TaskOptions struct {
	ID            string
	UniqueKey     string
	Weight        *int
	RunAt         time.Time
	Deadline      time.Time
	Timeout       time.Duration
	RequireWorker bool

	Batch     string
	RunNow    bool
	OnFailure FailurePolicy
}

// A FailurePolicy determines what the failure of a subtask does to its siblings: see [OnFailure]. Its values are [IgnoreFailures],
// [FailFast] and [CollectFailures].
type FailurePolicy = backend.FailurePolicy

// The failure policies.
const (
	IgnoreFailures  FailurePolicy = backend.IgnoreFailures  // failures are counted; the default
	FailFast        FailurePolicy = backend.FailFast        // the first failure stops the siblings
	CollectFailures FailurePolicy = backend.CollectFailures // SubtasksDone reads every result and error
)

// A SubtaskOption changes how one call to Subtasks submits.
type SubtaskOption interface{ applySubtasks(*TaskOptions) }

// A SubmitOption changes how tasks are submitted, subtasks included.
type SubmitOption interface {
	SubtaskOption
	applySubmit(*TaskOptions)
}

type submitOption func(*TaskOptions)

func (f submitOption) applySubmit(o *TaskOptions)   { f(o) }
func (f submitOption) applySubtasks(o *TaskOptions) { f(o) }

type subtaskOption func(*TaskOptions)

func (f subtaskOption) applySubtasks(o *TaskOptions) { f(o) }

func (t TimeoutOption) applySubmit(o *TaskOptions)   { o.Timeout = time.Duration(t) }
func (t TimeoutOption) applySubtasks(o *TaskOptions) { o.Timeout = time.Duration(t) }

// TaskID gives a task its id, so that submitting it again is harmless: the task that is there is returned.
func TaskID(id string) SubmitOption { return submitOption(func(o *TaskOptions) { o.ID = id }) }

// Weight overrides the worker's weight: heavier tasks of a queue run first. It is from -1000 to 1000.
func Weight(n int) SubmitOption { return submitOption(func(o *TaskOptions) { o.Weight = &n }) }

// RunAt lets a task run no earlier than t.
func RunAt(t time.Time) SubmitOption { return submitOption(func(o *TaskOptions) { o.RunAt = t }) }

// UniqueKey makes submitting return the live task of that key, where there is one.
func UniqueKey(key string) SubmitOption {
	return submitOption(func(o *TaskOptions) { o.UniqueKey = key })
}

// Deadline fails a task that has not begun by t.
func Deadline(t time.Time) SubmitOption { return submitOption(func(o *TaskOptions) { o.Deadline = t }) }

// RequireWorker refuses a task whose queue has no worker now.
func RequireWorker() SubmitOption {
	return submitOption(func(o *TaskOptions) { o.RequireWorker = true })
}

// Batch names a call to Subtasks, so that repeating it creates nothing twice. Several goroutines of one handler need it.
func Batch(key string) SubtaskOption { return subtaskOption(func(o *TaskOptions) { o.Batch = key }) }

// RunNow lets subtasks run before their source's own run has succeeded.
func RunNow() SubtaskOption { return subtaskOption(func(o *TaskOptions) { o.RunNow = true }) }

// OnFailure sets what the failure of a subtask means for the others.
func OnFailure(p FailurePolicy) SubtaskOption {
	return subtaskOption(func(o *TaskOptions) { o.OnFailure = p })
}

// VoidQueue is a queue of tasks with payload P and no result. A generated queue embeds one. Its methods are safe for
// concurrent use; they need an App that has been started.
type VoidQueue[P any] struct {
	tasks  TaskClient
	worker Worker
}

// NewVoidQueue returns the queue of a worker. Generated code calls it.
func NewVoidQueue[P any](t TaskClient, w Worker) VoidQueue[P] { return VoidQueue[P]{t, w} }

// Submit persists a task and sends a hint at once. A nil error means that the task will run, whatever fails from now on.
func (q VoidQueue[P]) Submit(ctx context.Context, p P, opts ...SubmitOption) (string, error) {
	return first(q.submit(ctx, []P{p}, Submission{Options: submitOptions(opts)}))
}

// Store persists a task; the dispatcher sends it on, by weight.
func (q VoidQueue[P]) Store(ctx context.Context, p P, opts ...SubmitOption) (string, error) {
	return first(q.submit(ctx, []P{p}, Submission{Stored: true, Options: submitOptions(opts)}))
}

// SubmitMany persists tasks, up to 1000 in one write, and returns their ids in order. An error is that of all where no id is
// returned with it; where some are, those of the first tasks, these are kept, and what became of the next 1000 is unknown.
func (q VoidQueue[P]) SubmitMany(ctx context.Context, ps []P, opts ...SubmitOption) ([]string, error) {
	return q.submit(ctx, ps, Submission{Options: submitOptions(opts)})
}

// Subtasks persists subtasks of the task source in one batch and returns their ids in order. They run after the
// source's own run has succeeded, unless RunNow is given. A batch is whole or not at all: a nil error means that all of it is
// stored. An attempt of the source that has lost its claim adds none and gets ErrAborted; a source that has 10,000 batches
// takes no more, which is ErrResourceExhausted.
func (q VoidQueue[P]) Subtasks(ctx context.Context, source string, ps []P, opts ...SubtaskOption) ([]string, error) {
	var o TaskOptions
	for _, opt := range opts {
		if opt != nil {
			opt.applySubtasks(&o)
		}
	}
	return q.submit(ctx, ps, Submission{Source: source, IsSubtasks: true, Options: o})
}

// Get returns a task as it is now; not_found where there is none.
func (q VoidQueue[P]) Get(ctx context.Context, id string) (Task, error) {
	if q.tasks == nil {
		return Task{}, q.unmade()
	}
	return q.tasks.GetTask(ctx, id)
}

// Result returns nil if the task has succeeded, its error if it has failed or was stopped, failed_precondition while it has
// not ended, and invalid_argument if it is in another queue.
func (q VoidQueue[P]) Result(ctx context.Context, id string) error {
	_, err := q.result(ctx, id)
	return err
}

func (q VoidQueue[P]) result(ctx context.Context, id string) (Task, error) {
	t, err := q.Get(ctx, id)
	if err == nil {
		err = q.owns(t)
	}
	if err == nil {
		err = outcome(t)
	}
	return t, err
}

// owns returns an error if a task is in another queue: its result is of another type.
func (q VoidQueue[P]) owns(t Task) error {
	if t.Queue == q.worker.Name {
		return nil
	}
	return Errorf(ErrInvalidArgument, "task %s is in queue %q, not in %q", t.ID, t.Queue, q.worker.Name)
}

// Wait blocks until the task's own run has ended and returns as [VoidQueue.Result] does. When ctx ends first the error
// says so, with OutcomeUnknown; the task goes on.
func (q VoidQueue[P]) Wait(ctx context.Context, id string) error {
	_, err := q.wait(ctx, id)
	return err
}

func (q VoidQueue[P]) wait(ctx context.Context, id string) (Task, error) {
	if q.tasks == nil {
		return Task{}, q.unmade()
	}
	t, err := q.tasks.WaitTask(ctx, id)
	if err == nil {
		err = q.owns(t)
	}
	if err == nil {
		err = outcome(t)
	}
	return t, err
}

// Schedule adds or replaces the job id, which submits p at each due time of cron from now on: five fields, six with seconds
// first, @every and a duration, or a descriptor such as @hourly, as package cron reads them. Each due time makes one task in
// the whole cluster, job/<id>/<unix time>. Scheduling again what is there changes nothing. [Arguments] and [ChildProcess] are
// options of [HandleJob] and refused here: what a task gets is p, and what it runs in is the worker's isolation.
func (q VoidQueue[P]) Schedule(ctx context.Context, id, cron string, p P, opts ...JobOption) error {
	if q.tasks == nil {
		return q.unmade()
	}
	payload, err := q.encode(p)
	if err != nil {
		return err
	}
	j := JobSpec{ID: id, Cron: cron, Worker: q.worker, Payload: payload}
	for _, o := range opts {
		if o != nil {
			o.applyJob(&j.Options)
		}
	}
	if err := j.checkPut(); err != nil {
		return err
	}
	return q.tasks.PutJob(ctx, j)
}

func (q VoidQueue[P]) submit(ctx context.Context, ps []P, s Submission) ([]string, error) {
	if q.tasks == nil {
		return nil, q.unmade()
	}
	if len(ps) > 1 && (s.Options.ID != "" || s.Options.UniqueKey != "") {
		return nil, Errorf(ErrInvalidArgument, "TaskID and UniqueKey name one task; there are %d payloads", len(ps)).
			With(OutcomeNotSent)
	}
	s.Worker = q.worker
	s.Payloads = slices.Grow(s.Payloads, len(ps))
	for _, p := range ps {
		payload, err := q.encode(p)
		if err != nil {
			return nil, err
		}
		s.Payloads = append(s.Payloads, payload)
	}
	return q.tasks.SubmitTasks(ctx, s)
}

func (q VoidQueue[P]) encode(p P) (json.RawMessage, error) {
	payload, err := encode(&p)
	if err != nil {
		return nil, Errorf(ErrInvalidArgument, "the payload for queue %s does not encode: %w", q.worker.Name, err).
			With(OutcomeNotSent)
	}
	return payload, nil
}

func (q VoidQueue[P]) unmade() *Error {
	return NewError(ErrFailedPrecondition, "the queue has no TaskClient; make it with its New function").With(OutcomeNotSent)
}

// Queue is a queue of tasks with payload P and result R. A generated queue embeds one. Its methods are safe for
// concurrent use; they need an App that has been started.
type Queue[P, R any] struct{ VoidQueue[P] }

// NewQueue returns the queue of a worker. Generated code calls it.
func NewQueue[P, R any](t TaskClient, w Worker) Queue[P, R] {
	return Queue[P, R]{NewVoidQueue[P](t, w)}
}

// Result returns the result of a task that has succeeded, its error if it has failed or was stopped, failed_precondition
// while it has not ended, and invalid_argument if it is in another queue.
func (q Queue[P, R]) Result(ctx context.Context, id string) (R, error) {
	t, err := q.result(ctx, id)
	return resultOf[R](t, err)
}

// Wait blocks until the task's own run has ended and returns as [Queue.Result] does. When ctx ends first the error says
// so, with OutcomeUnknown; the task goes on.
func (q Queue[P, R]) Wait(ctx context.Context, id string) (R, error) {
	t, err := q.wait(ctx, id)
	return resultOf[R](t, err)
}

func resultOf[R any](t Task, err error) (R, error) {
	if err != nil {
		var zero R
		return zero, err
	}
	return ResultOf[R](t)
}

// outcome turns how a task stands into what Result and Wait return for it.
func outcome(t Task) error {
	switch {
	case !t.Status.Final():
		return Errorf(ErrFailedPrecondition, "task %s is %s", t.ID, t.Status)
	case t.Status == backend.StatusSuccess: // one that an older version has stored may have the error of an earlier attempt
		return nil
	case t.Error == nil:
		return Errorf(ErrUnknown, "task %s is %s", t.ID, t.Status).With(OutcomeAnswered)
	}
	return NewError(t.Error.Code, t.Error.Message).With(OutcomeAnswered)
}

// first unpacks the ids of a single submission.
func first(ids []string, err error) (string, error) {
	if err != nil {
		return "", err
	}
	if len(ids) != 1 {
		return "", Errorf(ErrInternal, "%d ids for one task", len(ids))
	}
	return ids[0], nil
}

func submitOptions(opts []SubmitOption) TaskOptions {
	var o TaskOptions
	for _, opt := range opts {
		if opt != nil {
			opt.applySubmit(&o)
		}
	}
	return o
}
