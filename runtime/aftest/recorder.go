package aftest

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"sync"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/exact"
	"github.com/afgen/afgen/runtime/internal/guard"
	"github.com/afgen/afgen/runtime/internal/testhook"
)

// A Recorder records tasks, jobs and calls instead of running them, for unit tests of code that submits or calls:
//
//	var rec aftest.Recorder
//	checkout := &shop.Checkout{Receipts: shop.NewReceiptQueue(&rec)}
//	err := checkout.Pay(t.Context(), order)
//	if got := aftest.Submitted[shop.Order](&rec, "receipt"); !slices.Equal(got, []shop.Order{order}) { … }
//
// It implements [af.TaskClient] and [af.Caller], so that it takes the place of the App in generated queues and clients.
// It refuses what an App refuses, such as options that exclude each other. It finds tasks by TaskID and UniqueKey
// instead of recording them twice. Tasks don't run by themselves: see [Handle]. RequireWorker has no effect, and
// subtasks need no source that was recorded.
//
// The zero Recorder is ready to use. Its methods are safe for concurrent use.
type Recorder struct {
	mu       sync.Mutex
	ids      int
	tasks    []*recorded
	jobs     []af.JobSpec
	calls    []af.Call
	failures []failure
	workers  map[string]func(context.Context, json.RawMessage) (json.RawMessage, error)
	services map[string]func(context.Context, af.Call) (any, error)
}

// A recorded is a recorded task.
type recorded struct {
	task af.Task // guarded by Recorder.mu
	run  sync.Once
}

// A failure is how a submission fails.
type failure struct {
	err    error
	stored bool
}

var (
	_ af.TaskClient = (*Recorder)(nil)
	_ af.Caller     = (*Recorder)(nil)
)

// Submitted returns the payloads of the tasks that were submitted to a queue, in order. It panics if one does not
// decode as a P.
func Submitted[P any](r *Recorder, queue string) []P {
	var payloads []json.RawMessage
	for _, t := range r.Tasks(queue) {
		payloads = append(payloads, t.Payload)
	}
	return decodeAll[P]("payload", payloads)
}

// Handle sets the function that runs the tasks of a queue, such as the method Run of a worker. A task runs once,
// without retries, when it is first waited for or read after Handle: [af.Queue.Wait], [af.VoidQueue.Get] and similar
// methods call run. Its context is that of [Context], and its error is the task's. Without Handle, tasks stay pending,
// and waiting for one fails with [af.ErrFailedPrecondition].
func Handle[P, R any](r *Recorder, queue string, run func(ctx context.Context, payload P) (R, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.workers == nil {
		r.workers = map[string]func(context.Context, json.RawMessage) (json.RawMessage, error){}
	}
	r.workers[queue] = func(ctx context.Context, raw json.RawMessage) (json.RawMessage, error) {
		var payload P
		if err := exact.Unmarshal(raw, &payload); err != nil {
			return nil, af.Errorf(af.ErrInvalidArgument, "decoding a payload of queue %q: %w", queue, err)
		}
		result, err := run(ctx, payload)
		if err != nil {
			return nil, err
		}
		return json.Marshal(result)
	}
}

// HandleCall sets the function that answers the calls of a method. Its result encodes to a JSON object with a member
// for each result of the method, such as map[string]int{"cents": 750}. Without HandleCall, a call fails with
// [af.ErrUnavailable], as if no instance of the service were running. A test of code that has a generated interface,
// such as ShopAPI, needs no Recorder: implement the interface.
func (r *Recorder) HandleCall(service, method string, answer func(ctx context.Context, call af.Call) (any, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.services == nil {
		r.services = map[string]func(context.Context, af.Call) (any, error){}
	}
	r.services[service+"."+method] = answer
}

// FailSubmit makes the next submission fail with err and records nothing for it. Several calls apply to as many
// submissions, in order. An error without an outcome has [af.OutcomeUnknown]: the code under test can't know that
// nothing is stored.
func (r *Recorder) FailSubmit(err error) { r.fail(failure{err: err}) }

// LoseReply makes the next submission fail with [af.ErrUnavailable] and [af.OutcomeUnknown], although its tasks are
// recorded. It is the other case that code with an unknown outcome must handle. It counts as a call of FailSubmit.
func (r *Recorder) LoseReply() {
	r.fail(failure{af.NewError(af.ErrUnavailable, "the reply was lost"), true})
}

func (r *Recorder) fail(f failure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, f)
}

// Tasks returns the tasks that were submitted to a queue, or to all queues if it is "", in order and in their current
// state. Subtasks have a Source and a Batch.
func (r *Recorder) Tasks(queue string) (tasks []af.Task) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.tasks {
		if queue == "" || t.task.Queue == queue {
			tasks = append(tasks, t.task)
		}
	}
	return tasks
}

// Jobs returns the jobs that were added by Schedule, in order. A job that was replaced is returned in its last version.
func (r *Recorder) Jobs() []af.JobSpec {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.jobs)
}

// Calls returns the calls that were made, in order.
func (r *Recorder) Calls() []af.Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

// SubmitTasks implements [af.TaskClient].
func (r *Recorder) SubmitTasks(ctx context.Context, s af.Submission) ([]string, error) {
	if s.Options.Created != nil {
		*s.Options.Created = false
	}
	tasks, failed, err := testhook.Prepare(ctx, s, r.newID)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, failed(af.Errorf(af.CodeOf(ctx.Err()), "not begun: %w", context.Cause(ctx)).With(af.OutcomeNotSent))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var f failure
	if len(r.failures) > 0 {
		f, r.failures = r.failures[0], r.failures[1:]
	}
	if f.err != nil && !f.stored {
		return nil, failed(f.err)
	}
	ids, before := make([]string, len(tasks)), len(r.tasks)
	for i, t := range tasks {
		ids[i] = r.store(t, s.Options.RunNow)
	}
	if s.Options.Created != nil {
		*s.Options.Created = f.err == nil && len(tasks) > 0 && len(r.tasks)-before == len(tasks)
	}
	if f.err != nil {
		return nil, failed(f.err)
	}
	return ids, nil
}

func (r *Recorder) newID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids++
	return "task-" + strconv.Itoa(r.ids)
}

// store records a task, unless it exists, and returns its id. The caller holds r.mu.
func (r *Recorder) store(n backend.NewTask, runNow bool) string {
	t := n.Task
	for _, old := range r.tasks {
		if o := old.task; o.ID == t.ID ||
			t.UniqueKey != "" && o.UniqueKey == t.UniqueKey && o.Queue == t.Queue && !o.Status.Final() {
			return o.ID
		}
	}
	t.Created = time.Now()
	if t.RunAt.IsZero() {
		t.RunAt = t.Created.Add(n.Delay)
	}
	t.Gated = n.Gated && !runNow
	r.tasks = append(r.tasks, &recorded{task: t})
	return t.ID
}

// GetTask implements [af.TaskClient].
func (r *Recorder) GetTask(ctx context.Context, id string) (af.Task, error) {
	return r.get(ctx, id, false)
}

// WaitTask implements [af.TaskClient].
func (r *Recorder) WaitTask(ctx context.Context, id string) (af.Task, error) {
	return r.get(ctx, id, true)
}

// get returns a task, after it has run if its queue has a function for that.
func (r *Recorder) get(ctx context.Context, id string, wait bool) (af.Task, error) {
	r.mu.Lock()
	i := slices.IndexFunc(r.tasks, func(t *recorded) bool { return t.task.ID == id })
	if i < 0 {
		r.mu.Unlock()
		return af.Task{}, af.Errorf(af.ErrNotFound, "no task %q", id)
	}
	t := r.tasks[i]
	queue, work := t.task.Queue, r.workers[t.task.Queue]
	r.mu.Unlock()
	if wait && ctx.Err() != nil {
		return af.Task{}, af.Errorf(af.CodeOf(ctx.Err()), "wait for task %s: %w", id, context.Cause(ctx))
	}
	if work != nil {
		t.run.Do(func() { r.runTask(ctx, t, work) })
	} else if wait {
		return af.Task{}, af.Errorf(af.ErrFailedPrecondition,
			"wait for task %s: nothing runs the tasks of queue %q; call aftest.Handle", id, queue)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return t.task, nil
}

// runTask runs a task. Like that of a worker, its context does not end with the caller's.
func (r *Recorder) runTask(
	ctx context.Context, t *recorded, work func(context.Context, json.RawMessage) (json.RawMessage, error),
) {
	r.mu.Lock()
	t.task.Attempt, t.task.Fence, t.task.Started = 1, 1, time.Now()
	t.task.Status, t.task.Gated = af.StatusRunning, false
	running := af.Running{ID: t.task.ID, Queue: t.task.Queue, Attempt: 1, Fence: 1, Source: t.task.Source}
	payload := t.task.Payload
	r.mu.Unlock()
	ctx = Context(context.WithoutCancel(ctx), running)
	result, err := work(ctx, payload)
	r.mu.Lock()
	defer r.mu.Unlock()
	t.task.Progress, t.task.Log, t.task.Ended = reportOf(ctx).last(), Log(ctx), time.Now()
	t.task.Status, t.task.Result = af.StatusSuccess, result
	if err != nil {
		t.task.Status, t.task.Error = af.StatusFailed, guard.TaskError(err)
	}
}

// PutJob implements [af.TaskClient].
func (r *Recorder) PutJob(_ context.Context, j af.JobSpec) error {
	if err := testhook.CheckJob(j); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.IndexFunc(r.jobs, func(old af.JobSpec) bool { return old.ID == j.ID }); i >= 0 {
		r.jobs[i] = j
		return nil
	}
	r.jobs = append(r.jobs, j)
	return nil
}

// Invoke implements [af.Caller].
func (r *Recorder) Invoke(ctx context.Context, call af.Call) (json.RawMessage, error) {
	if ctx.Err() != nil {
		return nil, af.Errorf(af.CodeOf(ctx.Err()), "calling %s.%s: %w", call.Service, call.Method, context.Cause(ctx)).
			With(af.OutcomeNotSent)
	}
	r.mu.Lock()
	r.calls = append(r.calls, call)
	answer := r.services[call.Service+"."+call.Method]
	r.mu.Unlock()
	if answer == nil {
		return nil, af.Errorf(af.ErrUnavailable, "calling %s.%s: nothing answers it; call Recorder.HandleCall",
			call.Service, call.Method).With(af.OutcomeNotSent)
	}
	results, err := answer(ctx, call)
	if err != nil {
		return nil, guard.ToWireError(err)
	}
	body, err := json.Marshal(results)
	if err != nil {
		return nil, af.Errorf(af.ErrInternal, "encoding the results of %s.%s: %w", call.Service, call.Method, err)
	}
	return body, nil
}
