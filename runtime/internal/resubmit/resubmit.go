// Package resubmit retries tasks that have ended: it submits each again, once.
//
// [Retrier.Retry] first marks the old task as retried by a new task, and then inserts the new task. The first call to
// set the mark chooses the new task's id. A call that finds a mark without a task inserts that task. So there is
// exactly one retry, even if calls are interrupted or concurrent. If the new task is refused, the mark is removed.
package resubmit

import (
	"context"
	"log/slog"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/ids"
	"github.com/afgen/afgen/runtime/internal/jobs"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/tasks"
)

// A Retrier retries tasks. Its methods are safe for concurrent use.
type Retrier struct {
	Store    backend.Store
	Requests *retry.Requester
	Client   *tasks.Client
	Jobs     *jobs.Catalog // counts the retry of a job's task as a task of the job
	Log      *slog.Logger

	PollEverywhere func(queue string) // makes the workers of a queue poll the store, on all instances
}

// CheckDeletable returns an error if a task can't be deleted once it is retried.
func (r *Retrier) CheckDeletable(ctx context.Context, old *backend.Task) error {
	if old.Source != "" || old.DoneOf != "" {
		return backend.ErrorNotDeletable(old.ID, backend.PartOfTree)
	}
	ended, err := r.Client.TreeEnded(ctx, old)
	if err == nil && !ended {
		err = backend.ErrorNotDeletable(old.ID, backend.TreeNotEnded)
	}
	return err
}

// Retry inserts t as the retry of a task that has ended, and returns its id: that of t, or a new one if that is "". If
// the task has been retried, it returns the id of that retry. If t has a Batch, created reports whether this call has
// inserted the retry. requireWorker, if not nil, returns an error if no worker of a queue is running.
func (r *Retrier) Retry(
	ctx context.Context, old *backend.Task, t backend.NewTask, requireWorker func(ctx context.Context, queue string) error,
) (id string, created bool, err error) {
	job, err := r.jobOf(ctx, old)
	if err != nil {
		return "", false, err
	}
	joined := true
	if id = t.Task.ID; id == "" {
		if id = ids.NewTask(); job != "" {
			id = jobs.RetryID(job, id)
		}
	}
	by := old.RetriedBy
	if by == "" && requireWorker != nil {
		if err := requireWorker(ctx, old.Queue); err != nil {
			return "", false, err
		}
	}
	if by == "" {
		if by, err = r.mark(ctx, old.ID, "", id); err != nil {
			return "", false, err
		}
		joined = by != id
	}
	if joined {
		found, err := r.get(ctx, by)
		if err == nil && found.RetryOf == old.ID {
			return by, false, nil
		}
		if err != nil && backend.CodeOf(err) != backend.ErrNotFound {
			return "", false, err
		}
	}
	err = r.Jobs.CountTask(ctx, job, by)
	if err == nil {
		created, err = r.insert(ctx, old, t, by)
	}
	if err != nil {
		if !retry.Unavailable(err) && backend.CodeOf(err) != backend.ErrCanceled {
			r.unmark(ctx, old.ID, by)
		}
		return "", false, err
	}
	if joined { // the call that set the mark may have removed it
		if _, err := r.mark(ctx, old.ID, "", by); err != nil && backend.CodeOf(err) != backend.ErrNotFound {
			return "", false, err
		}
	}
	r.Client.Wake(old.Queue, []string{by})
	if len(old.Allow) > 0 {
		r.PollEverywhere(old.Queue)
	}
	return by, created, nil
}

// insert inserts the task that retries a finished one. created is as for Retry.
func (r *Retrier) insert(
	ctx context.Context, old *backend.Task, t backend.NewTask, id string,
) (created bool, err error) {
	t.Task.ID, t.Task.RetryOf, t.Task.DoneOf, t.Task.Allow = id, old.ID, old.DoneOf, old.Allow
	if t.Task.Retries == nil {
		t.Task.Retries = old.Retries
	}
	var stored []backend.Task
	err = r.Requests.Do(ctx, func(ctx context.Context) (err error) {
		stored, err = r.Store.Insert(ctx, []backend.NewTask{t})
		return err
	})
	if err != nil {
		return false, err
	}
	if stored[0].RetryOf != old.ID || stored[0].ID != id {
		return false, backend.Errorf(backend.ErrAlreadyExists,
			"task %s has the same id or unique key, but is not a retry of %s", stored[0].ID, old.ID).With(backend.OutcomeNotSent)
	}
	return tasks.Created(&stored[0], &t.Task), nil
}

func (r *Retrier) mark(ctx context.Context, id, from, to string) (by string, err error) {
	err = r.Requests.Do(ctx, func(ctx context.Context) (err error) {
		by, err = r.Store.MarkRetried(ctx, id, from, to)
		return err
	})
	return by, err
}

// unmark removes the mark of a retry that was rejected, unless another call has inserted that task meanwhile.
func (r *Retrier) unmark(ctx context.Context, id, by string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), retry.Timeout)
	defer cancel()
	_, err := r.mark(ctx, id, by, "")
	if err == nil {
		if t, gerr := r.get(ctx, by); gerr == nil && t.RetryOf == id {
			_, err = r.mark(ctx, id, "", by)
		}
	}
	if err != nil {
		r.Log.Warn("task is marked as retried, but its retry does not exist", "task", id, "by", by, "error", err)
	}
}

// maxChain limits the search through retries of retries for the job that submitted the first task.
const maxChain = 100

// jobOf returns the job that submitted a task, or the task that it retries. It returns "" if no job did.
func (r *Retrier) jobOf(ctx context.Context, t *backend.Task) (string, error) {
	is := *t
	for range maxChain {
		if is.Source != "" || is.DoneOf != "" {
			return "", nil
		}
		if job, ok := jobs.JobOf(is.ID); ok {
			return job, nil
		}
		if is.RetryOf == "" {
			return "", nil
		}
		before, err := r.get(ctx, is.RetryOf)
		if backend.CodeOf(err) == backend.ErrNotFound {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		is = before
	}
	return "", nil
}

// NotRetried returns the tasks without those whose retry exists.
func (r *Retrier) NotRetried(ctx context.Context, all []backend.Task) ([]backend.Task, error) {
	var retries []string
	for i := range all {
		if by := all[i].RetriedBy; by != "" {
			retries = append(retries, by)
		}
	}
	if len(retries) == 0 {
		return all, nil
	}
	var exist map[string]backend.Status
	err := r.Requests.Do(ctx, func(ctx context.Context) (err error) {
		exist, err = r.Store.Statuses(ctx, retries)
		return err
	})
	rest := all[:0:0]
	for i := range all {
		if _, ok := exist[all[i].RetriedBy]; !ok {
			rest = append(rest, all[i])
		}
	}
	return rest, err
}

func (r *Retrier) get(ctx context.Context, id string) (t backend.Task, err error) {
	err = r.Requests.Do(ctx, func(ctx context.Context) (err error) {
		t, err = r.Store.Get(ctx, id)
		return err
	})
	return t, err
}
