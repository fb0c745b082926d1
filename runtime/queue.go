package runtime

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/exact"
	"github.com/afgen/afgen/runtime/internal/tasks"
)

// A TaskClient stores the tasks and jobs of queues. [App] implements it.
type TaskClient interface {
	Submitter
	// GetTask returns the current state of a task, or [ErrNotFound].
	GetTask(ctx context.Context, id string) (Task, error)
	// WaitTask blocks until a task has ended and returns it. The task's subtasks may still be running. If a handler
	// waits for a task that can't start before the handler returns, such as its own subtask, it gets
	// [ErrFailedPrecondition].
	WaitTask(ctx context.Context, id string) (Task, error)
	// PutJob adds a job or replaces the one with the same id.
	PutJob(ctx context.Context, j JobSpec) error
}

// A Submission describes the tasks of one queue that a [TaskClient] stores. Submit middleware sees it.
type Submission struct {
	Worker Worker
	// Payloads are JSON, one for each task. They must not be modified, but middleware may replace the slice.
	Payloads []json.RawMessage
	// Stored is set for tasks that wait for the dispatcher. Otherwise a worker is woken at once.
	Stored bool
	// Source is the id of the task that the subtasks belong to. IsSubtasks is set for subtasks, even if there are none.
	Source     string
	IsSubtasks bool
	Options    TaskOptions

	trace    string // the submitter's traceparent
	metadata Metadata
}

// TaskOptions are the options of tasks. Nil and zero fields mean the worker's defaults.
type TaskOptions struct {
	ID            string
	UniqueKey     string
	Weight        *int
	RunAt         time.Time
	Delay         time.Duration
	Deadline      time.Time
	Timeout       time.Duration
	Retries       *int
	RequireWorker bool
	Created       *bool // see the option Created

	Batch     string
	RunNow    bool
	OnFailure FailurePolicy

	// For RetryTask only.
	action  action
	replace bool
	payload []byte
}

// A FailurePolicy determines how the failure of a subtask affects its siblings: see [OnFailure]. Its values are
// [IgnoreFailures], [FailFast] and [CollectFailures].
type FailurePolicy = backend.FailurePolicy

// The failure policies.
const (
	IgnoreFailures  FailurePolicy = backend.IgnoreFailures  // failures are counted; the default
	FailFast        FailurePolicy = backend.FailFast        // the first failure stops the siblings
	CollectFailures FailurePolicy = backend.CollectFailures // SubtasksDone reads every result and error
)

// A SubtaskOption changes how [VoidQueue.Subtasks] submits.
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

// TaskID sets the id of a task. If a task with this id exists already, submitting returns its id and stores nothing, so
// that a submission can be repeated safely.
func TaskID(id string) SubmitOption { return submitOption(func(o *TaskOptions) { o.ID = id }) }

// Weight overrides the worker's weight. Heavier tasks of a queue run first. n is from -1000 to 1000.
func Weight(n int) SubmitOption { return submitOption(func(o *TaskOptions) { o.Weight = &n }) }

// RunAt delays a task: it starts no earlier than t. The store compares t with its own clock. To delay a task by a
// duration, use [Delay], which does not depend on the clock of this machine.
func RunAt(t time.Time) SubmitOption { return submitOption(func(o *TaskOptions) { o.RunAt = t }) }

// Delay delays a task: it starts no earlier than d after it is stored, by the store's clock. 0 is no delay. If d is
// negative, or [RunAt] is set as well, submitting returns [ErrInvalidArgument]. The delay of subtasks begins when they
// are submitted, not when their source succeeds.
func Delay(d time.Duration) SubmitOption { return submitOption(func(o *TaskOptions) { o.Delay = d }) }

// UniqueKey submits a task only if the queue has no unfinished task with this key. If it has one, submitting returns
// that task's id.
func UniqueKey(key string) SubmitOption {
	return submitOption(func(o *TaskOptions) { o.UniqueKey = key })
}

// Deadline fails a task that has not started by t.
func Deadline(t time.Time) SubmitOption { return submitOption(func(o *TaskOptions) { o.Deadline = t }) }

// RequireWorker makes submitting fail with [ErrFailedPrecondition] if no worker of the queue is running.
func RequireWorker() SubmitOption {
	return submitOption(func(o *TaskOptions) { o.RequireWorker = true })
}

// Created sets *created to whether the submission has stored its task: true, or false if [TaskID] or [UniqueKey] has
// found an existing one. With [VoidQueue.SubmitMany] it is true if all tasks are new. If the submission fails, *created
// is false, although the task may be stored if the error has [OutcomeUnknown]. In a transaction it is true only if the
// transaction commits. Use a variable of its own for each submission.
func Created(created *bool) SubmitOption {
	return submitOption(func(o *TaskOptions) { o.Created = created })
}

// report sets the variable of the option Created, if it was given.
func (o *TaskOptions) report(created bool) {
	if o.Created != nil {
		*o.Created = created
	}
}

// Batch names a call to Subtasks, so that repeating the call submits nothing twice. Without it, calls are numbered in
// the order in which a handler makes them. Handlers that call Subtasks from several goroutines must set it.
func Batch(key string) SubtaskOption { return subtaskOption(func(o *TaskOptions) { o.Batch = key }) }

// RunNow lets subtasks start at once. By default they wait until their source has succeeded.
func RunNow() SubtaskOption { return subtaskOption(func(o *TaskOptions) { o.RunNow = true }) }

// OnFailure sets how the failure of a subtask affects the other subtasks of its source. The default is
// [IgnoreFailures].
func OnFailure(p FailurePolicy) SubtaskOption {
	return subtaskOption(func(o *TaskOptions) { o.OnFailure = p })
}

// A VoidQueue submits tasks with payload P and no result. Generated queues embed one. Its methods are safe for
// concurrent use and need a started App.
type VoidQueue[P any] struct {
	tasks  TaskClient
	worker Worker
}

// NewVoidQueue returns the queue of a worker. Generated code calls it.
func NewVoidQueue[P any](t TaskClient, w Worker) VoidQueue[P] { return VoidQueue[P]{t, w} }

// Submit stores a task, wakes a worker and returns the task's id. Once Submit has returned a nil error, the task will
// run, even if processes or servers fail. If the error has [OutcomeUnknown], the task may have been stored: see
// [SubmittedID]. [Created] tells a new task from an existing one.
func (q VoidQueue[P]) Submit(ctx context.Context, p P, opts ...SubmitOption) (string, error) {
	return first(q.submit(ctx, []P{p}, Submission{Options: submitOptions(opts)}))
}

// Store stores a task as Submit does, but wakes no worker for it: the task waits for the dispatcher, which takes the
// heaviest tasks first.
func (q VoidQueue[P]) Store(ctx context.Context, p P, opts ...SubmitOption) (string, error) {
	return first(q.submit(ctx, []P{p}, Submission{Stored: true, Options: submitOptions(opts)}))
}

// SubmitMany stores tasks, up to 1000 with each write, and returns their ids in order. If a write fails, it returns the
// ids of the tasks stored by earlier writes. If there are none, the error's Outcome applies to all tasks. Otherwise it
// is unknown whether the next 1000 tasks are stored.
func (q VoidQueue[P]) SubmitMany(ctx context.Context, ps []P, opts ...SubmitOption) ([]string, error) {
	return q.submit(ctx, ps, Submission{Options: submitOptions(opts)})
}

// Subtasks stores subtasks of the task source and returns their ids in order. They start after the source has
// succeeded, or at once with [RunNow]. If the source fails or is stopped, they are stopped. They are stored as one
// batch: all or none. When the source and all of its subtasks have ended, SubtasksDone of the source's worker is called
// once, if it has that method.
//
// If the caller is an attempt of the source that has lost its claim, Subtasks stores nothing and returns [ErrAborted].
// A source can have 10,000 batches. After that, Subtasks returns [ErrResourceExhausted].
func (q VoidQueue[P]) Subtasks(ctx context.Context, source string, ps []P, opts ...SubtaskOption) ([]string, error) {
	var o TaskOptions
	for _, opt := range opts {
		if opt != nil {
			opt.applySubtasks(&o)
		}
	}
	return q.submit(ctx, ps, Submission{Source: source, IsSubtasks: true, Options: o})
}

// Get returns the current state of a task, or [ErrNotFound].
func (q VoidQueue[P]) Get(ctx context.Context, id string) (Task, error) {
	if q.tasks == nil {
		return Task{}, q.unmade()
	}
	return q.tasks.GetTask(ctx, id)
}

// Result returns nil if the task has succeeded, and the task's error if it has failed or was stopped. If the task has
// not ended it returns [ErrFailedPrecondition], and if the task is in another queue, [ErrInvalidArgument].
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
		err = tasks.Outcome(&t)
	}
	return t, err
}

// owns returns an error if a task is in another queue, whose result may have another type.
func (q VoidQueue[P]) owns(t Task) error {
	if t.Queue == q.worker.Name {
		return nil
	}
	return Errorf(ErrInvalidArgument, "task %s is in queue %q, not in %q", t.ID, t.Queue, q.worker.Name)
}

// Wait blocks until the task has ended and returns the same as [VoidQueue.Result]. The task's subtasks may still be
// running. If ctx ends first, Wait returns an error with the code of ctx's and [OutcomeUnknown], and the task keeps
// running.
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
		err = tasks.Outcome(&t)
	}
	return t, err
}

// Schedule adds or replaces the job id, which submits a task with payload p at each due time of cron. cron has five
// fields, or six with seconds first. It may also be @every and a duration, or a descriptor such as @hourly. See package
// cron. All instances together submit one task for each due time. Its id is job/<id>/<unix time>. The tasks have the
// metadata of ctx ([WithMetadata]). Scheduling the same job again changes nothing.
//
// With [Arguments] or [ChildProcess], which are options of [HandleJob], Schedule returns [ErrInvalidArgument].
func (q VoidQueue[P]) Schedule(ctx context.Context, id, cron string, p P, opts ...JobOption) error {
	if q.tasks == nil {
		return q.unmade()
	}
	payload, err := q.encode(p)
	if err != nil {
		return err
	}
	j := JobSpec{ID: id, Cron: cron, Worker: q.worker, Payload: payload, Metadata: outgoing(ctx)}
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
	s.Options.report(false)
	if len(ps) > 1 && (s.Options.ID != "" || s.Options.UniqueKey != "") {
		return nil, Errorf(ErrInvalidArgument, "TaskID and UniqueKey need exactly one payload, not %d", len(ps)).
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
	ids, err := q.tasks.SubmitTasks(ctx, s)
	if err != nil {
		return ids, backend.AsError(err)
	}
	return ids, nil
}

func (q VoidQueue[P]) encode(p P) (json.RawMessage, error) {
	payload, err := exact.Marshal(&p)
	if err != nil {
		return nil, Errorf(ErrInvalidArgument, "encoding a payload for queue %q: %w", q.worker.Name, err).
			With(OutcomeNotSent)
	}
	return payload, nil
}

// unmade returns the error of a zero queue.
func (q VoidQueue[P]) unmade() *Error {
	return NewError(ErrFailedPrecondition, "the queue has no TaskClient; create it with its New function").
		With(OutcomeNotSent)
}

// A Queue submits tasks with payload P and result R. Generated queues embed one. Its methods are safe for concurrent
// use and need a started App. Those that do not concern the result are methods of [VoidQueue].
type Queue[P, R any] struct{ VoidQueue[P] }

// NewQueue returns the queue of a worker. Generated code calls it.
func NewQueue[P, R any](t TaskClient, w Worker) Queue[P, R] {
	return Queue[P, R]{NewVoidQueue[P](t, w)}
}

// Result returns the result of a task that has succeeded, and the task's error if it has failed or was stopped. If the
// task has not ended it returns [ErrFailedPrecondition], and if the task is in another queue, [ErrInvalidArgument].
func (q Queue[P, R]) Result(ctx context.Context, id string) (R, error) {
	t, err := q.result(ctx, id)
	return resultOf[R](t, err)
}

// Wait blocks until the task has ended and returns the same as [Queue.Result]. The task's subtasks may still be
// running. If ctx ends first, Wait returns an error with the code of ctx's and [OutcomeUnknown], and the task keeps
// running.
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

// first returns the id of a submission of one task.
func first(ids []string, err error) (string, error) {
	if err != nil {
		return "", err
	}
	if len(ids) != 1 {
		return "", Errorf(ErrInternal, "got %d ids for one task", len(ids))
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
