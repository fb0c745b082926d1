package apptest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	af "github.com/afgen/afgen/runtime"
)

func tasks(w *world) {
	goOn, started := make(chan struct{}), make(chan struct{}, 1)
	app := w.open(works(func(_ context.Context, n int) (int, error) {
		switch {
		case n < 0:
			return 0, af.Permanent(errors.New("no"))
		case n == 0:
			started <- struct{}{}
			<-goOn
		}
		return n, nil
	}))
	q := af.NewQueue[int, int](app, jobWorker)
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	var ids []string
	for _, n := range []int{1, -1, 2, 3, -2} {
		id := must(q.Submit(ctx, n))(w)
		ids = append(ids, id)
		if _, err := q.Wait(ctx, id); (err != nil) != (n < 0) {
			w.Fatal(err)
		}
	}
	blocked := must(q.Submit(ctx, 0))(w)
	<-started
	var got []string
	for query := (af.TaskQuery{Queue: "job", Statuses: []af.Status{af.StatusSuccess, af.StatusFailed},
		Sort: af.TasksByOldest, Limit: 2}); ; {
		page := must(app.Tasks(ctx, query))(w)
		if page.Total != len(ids) {
			w.Errorf("total %d", page.Total)
		}
		for _, t := range page.Tasks {
			got = append(got, t.ID)
		}
		if query.Cursor = page.Cursor; query.Cursor == "" {
			break
		}
	}
	if !slices.Equal(got, ids) {
		w.Errorf("got %v, want %v", got, ids)
	}
	if _, err := app.Tasks(ctx, af.TaskQuery{Limit: 1001}); !errors.Is(err, af.ErrInvalidArgument) {
		w.Errorf("a page of 1001: %v", err)
	}
	status := func(id string, want af.Status) {
		w.Helper()
		if s := must(app.TaskStatus(ctx, id))(w); s != want {
			w.Errorf("%s is %s, want %s", id, s, want)
		}
	}
	status(blocked, af.StatusRunning)
	for range 2 {
		status(ids[0], af.StatusSuccess)
		status(ids[1], af.StatusFailed)
	}
	close(goOn)
	must(q.Wait(ctx, blocked))(w)
	status(blocked, af.StatusSuccess)
	if _, err := app.TaskStatus(ctx, "nosuch"); !errors.Is(err, af.ErrNotFound) {
		w.Errorf("status of a missing task: %v", err)
	}
}

func delays(w *world) {
	var ran sync.Map // when the task with a payload began
	app := w.open(works(func(_ context.Context, n int) (int, error) {
		ran.Store(n, time.Now())
		return n, nil
	}))
	q := af.NewQueue[int, int](app, jobWorker)
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	const short = 300 * time.Millisecond
	begun := time.Now()
	soon := must(q.Submit(ctx, 1, af.Delay(short)))(w)
	ids := append(must(q.SubmitMany(ctx, []int{2, 3}, af.Delay(time.Hour)))(w), must(q.Store(ctx, 4, af.Delay(time.Hour)))(w))
	ids = append(ids, must(q.Subtasks(ctx, soon, []int{5}, af.Delay(time.Hour)))(w)...)
	for _, id := range ids {
		if t := must(q.Get(ctx, id))(w); t.Status != af.StatusWaiting || t.RunAt.Sub(t.Created).Round(time.Minute) != time.Hour {
			w.Errorf("%s is %s, created at %v, due at %v", id, t.Status, t.Created, t.RunAt)
		}
	}
	must(q.Wait(ctx, soon))(w)
	at, _ := ran.Load(1)
	if d := at.(time.Time).Sub(begun); d < short-50*time.Millisecond { // the clocks may run differently
		w.Errorf("it ran after %v", d)
	}
	for n := 2; n <= 5; n++ {
		if _, ok := ran.Load(n); ok {
			w.Errorf("%d has run", n)
		}
	}
}

func retries(w *world) {
	var fail atomic.Bool
	fail.Store(true)
	const lives = 1 // payload of a task that runs until release
	release := make(chan struct{})
	app := w.open(func(app *af.App) {
		af.RegisterWorker(app, jobWorker, &fan{job{func(ctx context.Context, n int) (int, error) {
			if fail.Load() {
				return 0, af.Permanent(errors.New("not now"))
			}
			if n == lives {
				select {
				case <-release:
				case <-ctx.Done():
				}
			}
			return 2 * n, nil
		}}, func() {}})
	})
	q := af.NewQueue[int, int](app, jobWorker)
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	old := must(q.Submit(ctx, 21, af.Weight(7), af.UniqueKey("k")))(w)
	if _, err := q.Wait(ctx, old); err == nil {
		w.Error("it did not fail")
	}
	fail.Store(false)
	again := must(app.RetryTask(ctx, old, af.TaskID("again")))(w)
	if n := must(q.Wait(ctx, again))(w); n != 42 || again != "again" {
		w.Errorf("%s: %d", again, n)
	}
	if id := must(app.RetryTask(ctx, old, af.TaskID("again")))(w); id != again {
		w.Errorf("repeated, it is %s", id)
	}
	if t := must(q.Get(ctx, again))(w); t.RetryOf != old || t.Weight != 7 || t.UniqueKey != "k" || t.Attempt != 1 {
		w.Errorf("%+v", t)
	}
	if t := must(q.Get(ctx, old))(w); t.Status != af.StatusFailed || t.RetriedBy != again {
		w.Errorf("the old one is %s, and retried by %q", t.Status, t.RetriedBy)
	}
	if _, err := app.RetryTask(ctx, again, af.TaskID(old)); !errors.Is(err, af.ErrAlreadyExists) {
		w.Errorf("as a task that is another: %v", err)
	}
	if _, err := app.RetryTask(ctx, "nosuch"); !errors.Is(err, af.ErrNotFound) {
		w.Errorf("a missing task: %v", err)
	}
	live := must(q.Submit(ctx, lives, af.UniqueKey("k")))(w)
	if _, err := app.RetryTask(ctx, live); !errors.Is(err, af.ErrFailedPrecondition) {
		w.Errorf("a task that has not ended: %v", err)
	}
	if _, err := app.RetryTask(ctx, again); !errors.Is(err, af.ErrAlreadyExists) {
		w.Errorf("with a key that is taken: %v", err)
	}
	if t := must(q.Get(ctx, again))(w); t.RetriedBy != "" {
		w.Errorf("it was refused, and is retried by %q", t.RetriedBy)
	}
	close(release)
	must(q.Wait(ctx, live))(w)

	// SubtasksDone is retried as such, not as a run.
	source := must(q.Submit(ctx, 4))(w)
	must(q.Subtasks(ctx, source, nil))(w)
	w.within(patience, "SubtasksDone has run", func() bool {
		s, err := app.TaskStatus(ctx, source+"/done")
		return err == nil && s.Final()
	})
	done := must(app.RetryTask(ctx, source+"/done"))(w)
	w.within(patience, "it has run again", func() bool { return must(app.TaskStatus(ctx, done))(w).Final() })
	if t := must(q.Get(ctx, done))(w); t.Status != af.StatusSuccess || t.Result != nil || t.DoneOf != source {
		w.Errorf("%+v", t)
	}
}
