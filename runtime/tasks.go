package runtime

import (
	"cmp"
	"container/list"
	"context"
	"encoding/json"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/jobs"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/tasks"
)

// active returns the App's core, or an error if the App is not started or the backend doesn't support tasks.
func (a *App) active() (*core, error) {
	if err := a.admit(); err != nil {
		return nil, err
	}
	if a.core == nil {
		return nil, Errorf(ErrUnimplemented, "backend %q does not support tasks", a.ports.Name).With(OutcomeNotSent)
	}
	return a.core, nil
}

// StopTask stops a task and all of its subtasks. Tasks that are waiting never run. The contexts of running handlers are
// cancelled with the cause [ErrTaskStopped], and their results are discarded. StopTask returns once the stop is stored,
// which may be before handlers return. Stopping a task that has ended has no effect. If there is no such task, it
// returns [ErrNotFound].
func (a *App) StopTask(ctx context.Context, id string) error {
	c, err := a.active()
	if err != nil {
		return err
	}
	return c.requests.Do(ctx, func(ctx context.Context) error {
		return c.stopTask(ctx, backend.Stop{ID: id, Reason: "stopped on request"})
	})
}

// stopTask stops tasks in the store, cancels their handlers and finishes their subtasks.
func (c *core) stopTask(ctx context.Context, s backend.Stop) error {
	return c.app.process.StopTasks(ctx, s)
}

// GetTask returns the current state of a task, or [ErrNotFound]. It implements [TaskClient].
func (a *App) GetTask(ctx context.Context, id string) (Task, error) {
	c, err := a.active()
	if err != nil {
		return Task{}, err
	}
	t, err := c.store.Get(ctx, id)
	if err != nil {
		return Task{}, backend.AsError(err)
	}
	return t, nil
}

// WaitTask blocks until a task has ended and returns it. It implements [TaskClient]. It is notified when the task ends,
// and also polls the store in case the notification is lost. In the handler of a task it returns
// [ErrFailedPrecondition] for tasks that can't end before the handler returns: the task itself, and its subtasks that
// wait for it to succeed.
func (a *App) WaitTask(ctx context.Context, id string) (Task, error) {
	by, err := a.waiter(ctx, id)
	if err != nil {
		return Task{}, err
	}
	return a.process.WaitTask(ctx, id, by)
}

// pollEverywhere makes the workers of a queue poll the store, on all instances.
func (c *core) pollEverywhere(queue string) { c.bus.Publish(tasks.TopicPoll, []string{queue}) }

// A TaskQuery selects tasks for [App.Tasks]. A zero field does not restrict. Its fields:
//
//	Queue    string    // of this queue
//	Source   string    // subtasks of this task
//	Statuses []Status  // with one of these statuses
//	After    time.Time // created at this time or later
//	Before   time.Time // created before this time
//	Sort     TaskSort  // the order
//	Limit    int       // tasks on a page: 1 to 1000; 0 means 100
//	Bytes    int       // size of a page: 1 to 16 MiB; 0 means 16 MiB
//	Cursor   string    // the Cursor of the previous page; "" for the first page
type TaskQuery = backend.TaskQuery

// A TaskPage is one page of the tasks that [App.Tasks] lists. Its fields:
//
//	Tasks   []Task // the tasks of this page
//	Total   int    // number of tasks on all pages, or 10,000 if AtLeast is set
//	AtLeast bool   // there are more than Total: counting stopped there
//	Cursor  string // for TaskQuery.Cursor, to get the next page; "" on the last page
type TaskPage = backend.TaskPage

// A TaskSort is an order of tasks; ids break ties. Its values are [TasksByNewest], [TasksByOldest] and [TasksByEnd].
type TaskSort = backend.TaskSort

// The orders of tasks.
const (
	TasksByNewest TaskSort = backend.SortNewest // by creation, newest first
	TasksByOldest TaskSort = backend.SortOldest // by creation, oldest first
	TasksByEnd    TaskSort = backend.SortEnded  // by end, latest first; tasks that have not ended come last
)

// Tasks returns a page of the tasks that match q, in the order of q.Sort. To read the next page, set q.Cursor to the
// Cursor of this one, which is "" on the last page. A page has at most q.Limit tasks and q.Bytes bytes, but at least
// one task if any are left. So a page with fewer tasks than q.Limit may not be the last.
//
// A task that exists during the whole iteration is returned once. One that is submitted or deleted meanwhile may be
// missed. If q is invalid, Tasks returns [ErrInvalidArgument].
func (a *App) Tasks(ctx context.Context, q TaskQuery) (TaskPage, error) {
	c, err := a.active()
	if err != nil {
		return TaskPage{}, err
	}
	var page TaskPage
	err = c.requests.Do(ctx, func(ctx context.Context) (err error) {
		page, err = c.store.List(ctx, q)
		return err
	})
	return page, err
}

// TaskStatus returns the status of a task, or [ErrNotFound] if there is no such task, also after [Retention] has
// deleted it. It reads the store. If the store is unavailable and this process has read a final status of the task
// before, TaskStatus returns that after at most 10 s. The last 10,000 final statuses are remembered.
func (a *App) TaskStatus(ctx context.Context, id string) (Status, error) {
	c, err := a.active()
	if err != nil {
		return "", err
	}
	remembered, ok := c.finals.get(id)
	if ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, retry.Timeout)
		defer cancel()
	}
	var t Task
	err = c.requests.Do(ctx, func(ctx context.Context) (err error) {
		t, err = c.store.Get(ctx, id)
		return err
	})
	switch {
	case ok && err != nil && retry.Unavailable(err):
		return remembered, nil
	case err == nil && t.Status.Final():
		c.finals.put(id, t.Status)
	case err == nil, CodeOf(err) == ErrNotFound:
		c.finals.drop(id) // the task was deleted, and its id may have been reused
	}
	return t.Status, err
}

// finals is an LRU cache of the final statuses of tasks, for times when the store is unavailable.
type finals struct {
	mu   sync.Mutex
	byID map[string]*list.Element // of used
	used list.List                // of final, last used first
}

type final struct {
	id     string
	status Status
}

const maxFinals = 10_000

func (f *finals) get(id string) (Status, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, ok := f.byID[id]
	if !ok {
		return "", false
	}
	f.used.MoveToFront(at)
	return at.Value.(final).status, true
}

func (f *finals) put(id string, s Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at, ok := f.byID[id]; ok {
		at.Value = final{id, s}
		return
	}
	if f.byID == nil {
		f.byID = map[string]*list.Element{}
	}
	f.byID[id] = f.used.PushFront(final{id, s})
	if len(f.byID) > maxFinals {
		last := f.used.Back()
		delete(f.byID, f.used.Remove(last).(final).id)
	}
}

func (f *finals) drop(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at, ok := f.byID[id]; ok {
		delete(f.byID, id)
		f.used.Remove(at)
	}
}

// RetryTask submits a task that has ended again, as a new task, and returns the new task's id. The new task has the
// same queue, payload, weight, timeout, retries, unique key and allowed addresses, unless the options override them. Its
// attempts are counted from zero. It is not a subtask, even if the old task is one. Its RetryOf is the id of the old
// task.
//
// The old task does not change, except that its RetriedBy is set to the id of the new task. A task is retried once:
// another call, even a concurrent one with other options, returns the id in RetriedBy, so repeating a call is safe. To
// run the task once more, retry the new task. If [Retention] has deleted the new task, another call submits it again
// with the same id.
//
// The retry of a job's task counts as a task of the job: with [OverlapSkip] and [OverlapQueue], later due times are
// skipped or wait until it has ended. If another task of the job has not ended, RetryTask returns
// [ErrFailedPrecondition].
//
// If the task has not ended, RetryTask returns [ErrFailedPrecondition]. If another task with its unique key has not
// ended, it returns [ErrAlreadyExists].
func (a *App) RetryTask(ctx context.Context, id string, opts ...SubmitOption) (string, error) {
	options := submitOptions(opts)
	options.report(false)
	c, err := a.active()
	if err != nil {
		return "", err
	}
	if err := outsideTx(ctx, "retrying a task"); err != nil {
		return "", err
	}
	old, err := c.getTask(ctx, id)
	if err != nil {
		return "", err
	}
	if !old.Status.Final() {
		return "", Errorf(ErrFailedPrecondition, "task %s is %s; only finished tasks can be retried", id, old.Status).
			With(OutcomeNotSent)
	}
	s := Submission{
		Worker:   Worker{Name: old.Queue, Weight: old.Weight, Payload: old.Fingerprint},
		Payloads: []json.RawMessage{old.Payload},
		Options:  options,
		trace:    cmp.Or(TraceFrom(ctx), old.Trace),
		metadata: Metadata(old.Metadata).with(ctx),
	}
	if s.Options.UniqueKey == "" {
		s.Options.UniqueKey = old.UniqueKey
	}
	if s.Options.Timeout == 0 {
		s.Options.Timeout = old.Timeout
	}
	if s.Options.Retries == nil {
		s.Options.Retries = old.Retries
	}
	if err := checkSubmission(s); err != nil {
		return "", err.With(OutcomeNotSent)
	}
	id, created, err := c.retryTask(ctx, &old, s)
	options.report(created)
	return id, err
}

// retryTask marks a task as retried by a new task, and then inserts the new task. The first call to set the mark
// chooses the new task's id. A call that finds a mark without a task inserts that task. So there is exactly one retry,
// even if calls are interrupted or concurrent. If s has the option Created, created reports whether this call inserted
// it.
func (c *core) retryTask(ctx context.Context, old *Task, s Submission) (id string, created bool, err error) {
	job, err := c.jobOf(ctx, old)
	if err != nil {
		return "", false, err
	}
	joined := true
	id = s.Options.ID
	if id == "" {
		if id = newTaskID(); job != "" {
			id = jobs.RetryID(job, id)
		}
	}
	by := old.RetriedBy
	if by == "" && s.Options.RequireWorker {
		if err := c.requireWorker(ctx, old.Queue); err != nil {
			return "", false, err
		}
	}
	if by == "" {
		if by, err = c.markRetried(ctx, old.ID, "", id); err != nil {
			return "", false, err
		}
		joined = by != id
	}
	if joined {
		t, err := c.getTask(ctx, by)
		if err == nil && t.RetryOf == old.ID {
			return by, false, nil
		}
		if err != nil && CodeOf(err) != ErrNotFound {
			return "", false, err
		}
	}
	err = c.jobs.CountTask(ctx, job, by)
	if err == nil {
		created, err = c.insertRetry(ctx, old, s, by)
	}
	if err != nil {
		if code := CodeOf(err); code != ErrUnavailable && code != ErrDeadlineExceeded && code != ErrCanceled {
			c.unmarkRetried(ctx, old.ID, by)
		}
		return "", false, err
	}
	if joined { // the call that set the mark may have removed it
		if _, err := c.markRetried(ctx, old.ID, "", by); err != nil && CodeOf(err) != ErrNotFound {
			return "", false, err
		}
	}
	c.client.Wake(old.Queue, []string{by})
	if len(old.Allow) > 0 {
		c.pollEverywhere(old.Queue)
	}
	return by, created, nil
}

// insertRetry inserts the task that retries a finished one. created is as for retryTask.
func (c *core) insertRetry(ctx context.Context, old *Task, s Submission, id string) (created bool, err error) {
	t := newTask(s, 0, id)
	t.Task.ID, t.Task.RetryOf, t.Task.DoneOf, t.Task.Allow = id, old.ID, old.DoneOf, old.Allow
	if t.Task.Retries == nil {
		t.Task.Retries = old.Retries
	}
	var stored []Task
	err = c.requests.Do(ctx, func(ctx context.Context) (err error) {
		stored, err = c.store.Insert(ctx, []backend.NewTask{t})
		return err
	})
	if err != nil {
		return false, err
	}
	if stored[0].RetryOf != old.ID || stored[0].ID != id {
		return false, Errorf(ErrAlreadyExists, "task %s has the same id or unique key, but is not a retry of %s",
			stored[0].ID, old.ID).With(OutcomeNotSent)
	}
	return tasks.Created(&stored[0], &t.Task), nil
}

func (c *core) getTask(ctx context.Context, id string) (t Task, err error) {
	err = c.requests.Do(ctx, func(ctx context.Context) (err error) {
		t, err = c.store.Get(ctx, id)
		return err
	})
	return t, err
}

func (c *core) markRetried(ctx context.Context, id, from, to string) (by string, err error) {
	err = c.requests.Do(ctx, func(ctx context.Context) (err error) {
		by, err = c.store.MarkRetried(ctx, id, from, to)
		return err
	})
	return by, err
}

// unmarkRetried removes the mark of a retry that was rejected, unless another call has inserted that task meanwhile.
func (c *core) unmarkRetried(ctx context.Context, id, by string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), retry.Timeout)
	defer cancel()
	_, err := c.markRetried(ctx, id, by, "")
	if err == nil {
		if t, gerr := c.getTask(ctx, by); gerr == nil && t.RetryOf == id {
			_, err = c.markRetried(ctx, id, "", by)
		}
	}
	if err != nil {
		c.log.Warn("task is marked as retried, but its retry does not exist", "task", id, "by", by, "error", err)
	}
}

// maxRetryChain limits the search through retries of retries for the job that submitted the first task.
const maxRetryChain = 100

// jobOf returns the job that submitted a task, or the task that it retries. It returns "" if no job did.
func (c *core) jobOf(ctx context.Context, t *Task) (string, error) {
	is := *t
	for range maxRetryChain {
		if is.Source != "" || is.DoneOf != "" {
			return "", nil
		}
		if job, ok := jobs.JobOf(is.ID); ok {
			return job, nil
		}
		if is.RetryOf == "" {
			return "", nil
		}
		before, err := c.getTask(ctx, is.RetryOf)
		if CodeOf(err) == ErrNotFound {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		is = before
	}
	return "", nil
}
