package apptest

import (
	"context"
	"errors"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// paced is a job that chooses the delay of its retries.
type paced struct{ job }

func (*paced) Backoff(attempt int, _ error) time.Duration {
	return time.Duration(attempt) * time.Millisecond
}

// settings tests that a task is tried as often as the highest layer says, with the delays of the worker.
func settings(w *world) {
	fails := func(context.Context, int) (int, error) { return 0, errors.New("no") }
	slow := jobWorker
	slow.Backoff, slow.Retries = time.Hour, 9
	app := w.open(func(app *af.App) { af.RegisterWorker(app, slow, &paced{job{fails}}, af.Retries(8)) },
		af.ConfigureWorker("job", af.Retries(2)))
	q := af.NewQueue[int, int](app, slow)
	attempts := func(want int, opts ...af.SubmitOption) string {
		w.Helper()
		id := must(q.Submit(w.Context(), 1, opts...))(w)
		w.ended(q, id, want)
		return id
	}
	attempts(3)
	attempts(1, af.Retries(0))
	id := attempts(2, af.Retries(1))
	again := must(app.RetryTask(w.Context(), id))(w)
	w.ended(q, again, 2)
	w.ended(q, must(app.RetryTask(w.Context(), again, af.Retries(3)))(w), 4)
}

// ended waits until a task has failed, after a number of attempts.
func (w *world) ended(q af.Queue[int, int], id string, attempts int) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	if _, err := q.Wait(ctx, id); err == nil || ctx.Err() != nil {
		w.Fatalf("task %s: %v", id, err)
	}
	if t := must(q.Get(ctx, id))(w); t.Attempt != attempts || t.Status != af.StatusFailed {
		w.Errorf("task %s is %s after %d attempts, want %d", id, t.Status, t.Attempt, attempts)
	}
}

// retriedJobs tests that the task of a job is tried as often as the job's option says.
func retriedJobs(w *world) {
	calls := 0
	app := w.open(func(app *af.App) {
		af.HandleJob(app, "flaky", "@yearly", func(context.Context, int) error {
			if calls++; calls < 3 {
				return errors.New("not yet")
			}
			return nil
		}, af.Retries(2), af.Disabled())
	}, af.ConfigureWorker("job.flaky", af.Backoff(time.Millisecond, 0), af.Retries(0)))
	id := must(app.RunJob(w.Context(), "flaky"))(w)
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	t, err := app.WaitTask(ctx, id)
	if err != nil || t.Status != af.StatusSuccess || t.Attempt != 3 {
		w.Errorf("the job's task is %s after %d attempts: %v", t.Status, t.Attempt, err)
	}
	if j := must(app.Job(ctx, "flaky"))(w); j.Retries == nil || *j.Retries != 2 {
		w.Errorf("the job has %v retries, want 2", j.Retries)
	}
}
