package apptest

import (
	"errors"
	"strings"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// changedByHand makes due, reweighs, stops, retries and deletes tasks, one by one.
func changedByHand(w *world) {
	app := w.open(works(same))
	q := af.NewQueue[int, int](app, jobWorker)
	ctx, by := w.Context(), af.By("ann")
	late := must(q.Store(ctx, 1, af.Delay(time.Hour)))(w)
	w.must(app.Reweigh(ctx, late, 7, by))
	w.must(app.RunNow(ctx, late, by))
	if t := w.ends(app, late, af.StatusSuccess); t.Weight != 7 || len(t.Attempts) != 1 ||
		t.Attempts[0].Instance != app.Instance().ID {
		w.Errorf("%+v", t)
	}
	if err := app.RunNow(ctx, late, by); !errors.Is(err, af.ErrFailedPrecondition) {
		w.Errorf("RunNow of a task that has ended: %v", err)
	}
	stopped := must(q.Store(ctx, 2, af.Delay(time.Hour)))(w)
	w.must(app.StopTask(ctx, stopped, by, af.Reason("wrong input")))
	if t := w.ends(app, stopped, af.StatusStopped); t.Error == nil || t.Error.Message != "wrong input (by ann)" {
		w.Errorf("%+v", t.Error)
	}
	retry := must(app.RetryTask(ctx, stopped, af.Replace(), af.Payload([]byte("3")), by))(w)
	if t := w.ends(app, retry, af.StatusSuccess); string(t.Result) != "3" || t.RetryOf != stopped {
		w.Errorf("%+v", t)
	}
	w.must(app.DeleteTask(ctx, late, by))
	for _, id := range []string{late, stopped} {
		if _, err := app.GetTask(ctx, id); !errors.Is(err, af.ErrNotFound) {
			w.Errorf("%s: %v", id, err)
		}
	}
	var got []string
	for cursor := ""; ; {
		page := must(app.Audit(ctx, af.AuditQuery{By: "ann", Limit: 2, Cursor: cursor}))(w)
		for _, e := range page.Entries {
			got = append(got, e.Action)
		}
		if cursor = page.Cursor; cursor == "" {
			break
		}
	}
	want := "task.delete task.retry task.stop task.run task.run task.reweigh"
	if strings.Join(got, " ") != want {
		w.Errorf("recorded %v, want %s", got, want)
	}
}

// changedInBulk stops, retries and deletes tasks page by page.
func changedInBulk(w *world) {
	app := w.open(works(same))
	q := af.NewQueue[int, int](app, jobWorker)
	ctx := w.Context()
	for range 25 {
		must(q.Store(ctx, 1, af.Delay(time.Hour)))(w)
	}
	all := func(change func(af.TaskQuery) (af.BulkResult, error), query af.TaskQuery) (changed int) {
		for query.Limit = 10; ; {
			r := must(change(query))(w)
			if changed += r.Changed; len(r.Failed) > 0 {
				w.Errorf("failed: %+v", r.Failed)
			}
			if query.Cursor = r.Cursor; query.Cursor == "" {
				return changed
			}
		}
	}
	for _, step := range []struct {
		what   string
		change func(af.TaskQuery) (af.BulkResult, error)
		query  af.TaskQuery
		want   int
	}{
		{"stop, dry run", func(q af.TaskQuery) (af.BulkResult, error) { return app.StopTasks(ctx, q, af.DryRun()) },
			af.TaskQuery{Queue: "job"}, 25},
		{"stop", func(q af.TaskQuery) (af.BulkResult, error) { return app.StopTasks(ctx, q) },
			af.TaskQuery{Queue: "job"}, 25},
		{"stop again", func(q af.TaskQuery) (af.BulkResult, error) { return app.StopTasks(ctx, q) },
			af.TaskQuery{Queue: "job"}, 0},
		{"retry", func(q af.TaskQuery) (af.BulkResult, error) { return app.RetryTasks(ctx, q) },
			af.TaskQuery{Statuses: []af.Status{af.StatusStopped}}, 25},
		{"retry again", func(q af.TaskQuery) (af.BulkResult, error) { return app.RetryTasks(ctx, q) },
			af.TaskQuery{Statuses: []af.Status{af.StatusStopped}}, 0},
		{"delete", func(q af.TaskQuery) (af.BulkResult, error) { return app.DeleteTasks(ctx, q) },
			af.TaskQuery{Statuses: []af.Status{af.StatusStopped}}, 25},
	} {
		if n := all(step.change, step.query); n != step.want {
			w.Errorf("%s changed %d, want %d", step.what, n, step.want)
		}
	}
	w.within(patience, "the retries have succeeded and are left", func() bool {
		page := must(app.Tasks(ctx, af.TaskQuery{}))(w)
		done := must(app.Tasks(ctx, af.TaskQuery{Statuses: []af.Status{af.StatusSuccess}}))(w)
		return page.Total == 25 && done.Total == 25
	})
}

// limitsTell keeps who changed limits and jobs last, and why.
func limitsTell(w *world) {
	app, other := w.open(works(same)), w.open(nil)
	ctx := w.Context()
	w.must(app.PauseQueue(ctx, "job", af.By("ann"), af.Reason("deploy")))
	if l := must(other.QueueLimits(ctx, "job"))(w); l.By != "ann" || l.Reason != "deploy" || l.Changed.IsZero() {
		w.Errorf("limits %+v", l)
	}
	w.must(app.ResumeQueue(ctx, "job"))
	if l := must(other.QueueLimits(ctx, "job"))(w); l.By != "" || l.Reason != "" || l.Changed.IsZero() {
		w.Errorf("limits %+v", l)
	}
	q := af.NewQueue[int, int](app, jobWorker)
	w.must(q.Schedule(ctx, "j", "0 0 0 1 1 *", 1, af.By("ann")))
	w.must(app.DisableJob(ctx, "j", af.By("bob"), af.Reason("noisy")))
	if j := must(other.Job(ctx, "j"))(w); j.By != "bob" || j.Reason != "noisy" || j.Changed.IsZero() || !j.Disabled {
		w.Errorf("job %+v", j)
	}
}
