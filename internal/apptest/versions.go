package apptest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// Two versions of a program with different payload types: a number in the old one, a text in the new one.
var oldWorker, newWorker = func() (af.Worker, af.Worker) {
	o, n := jobWorker, jobWorker
	o.Payload, n.Payload = "0ld000000000", "new000000000"
	return o, n
}()

type textJob struct {
	run func(ctx context.Context, s string) (int, error)
}

func (j *textJob) Run(ctx context.Context, s string) (int, error) { return j.run(ctx, s) }

func worksOld(run func(ctx context.Context, n int) (int, error)) func(*af.App) {
	return func(app *af.App) { af.RegisterWorker(app, oldWorker, &job{run}) }
}

func worksNew(run func(ctx context.Context, s string) (int, error)) func(*af.App) {
	return func(app *af.App) { af.RegisterWorker(app, newWorker, &textJob{run}) }
}

// rollingDeploy replaces the instances of one version by those of another, one by one, and back, while tasks of both
// versions are submitted.
func rollingDeploy(w *world) {
	var runs atomic.Int64
	one := worksOld(func(context.Context, int) (int, error) {
		runs.Add(1)
		time.Sleep(2 * time.Millisecond)
		return 0,
			nil
	})
	two := worksNew(func(context.Context, string) (int, error) {
		runs.Add(1)
		time.Sleep(2 * time.Millisecond)
		return 0, nil
	})
	client := w.open(nil, af.IP("192.0.2.9"))
	oldQ, newQ := af.NewQueue[int, int](client, oldWorker), af.NewQueue[string, int](client, newWorker)
	ctx, cancel := context.WithTimeout(w.Context(), 2*patience)
	defer cancel()
	var ids []string
	submit := func(n int) {
		w.Helper()
		for i := range n {
			ids = append(ids, must(oldQ.Submit(ctx, i))(w), must(newQ.Submit(ctx, fmt.Sprint("text", i)))(w))
		}
	}
	open := func(register func(*af.App), n int) *af.App {
		w.Helper()
		return w.open(register, af.IP(fmt.Sprintf("192.0.2.%d", n)))
	}
	a, b := open(one, 1), open(one, 2)
	c := open(two, 3)
	submit(50)
	w.close(a)
	d := open(two, 1)
	submit(50)

	// Both versions are present and idle: each task reaches its version well within a second.
	for _, id := range ids {
		must(oldQ.Wait(ctx, id))(w)
	}
	var slowest time.Duration
	for i := range 20 {
		begun := time.Now()
		must(newQ.Wait(ctx, must(newQ.Submit(ctx, "text"))(w)))(w)
		must(oldQ.Wait(ctx, must(oldQ.Submit(ctx, i))(w)))(w)
		slowest = max(slowest, time.Since(begun))
	}
	w.Logf("one task of each version takes at most %v", slowest)
	if slowest > 2*time.Second {
		w.Errorf("one task of each version took %v", slowest)
	}

	submit(25)
	w.close(b)
	open(one, 2) // rolled back
	submit(25)
	w.close(c)
	w.close(d)
	open(one, 1)
	open(two, 3)
	for _, id := range ids {
		if _, err := oldQ.Wait(ctx, id); err != nil {
			w.Fatalf("task %s: %v", id, err)
		}
		if t := must(oldQ.Get(ctx, id))(w); t.Attempt != 1 || t.Crashes != 0 {
			w.Errorf("task %s: attempt %d, crashes %d, error %v", id, t.Attempt, t.Crashes, t.Error)
		}
	}
	if n := runs.Load(); n != int64(len(ids)+40) {
		w.Errorf("%d runs of %d tasks", n, len(ids)+40)
	}
}

// waitsForVersion has a task whose version isn't present. It is tried, waits uncharged, and runs once its version
// appears.
func waitsForVersion(w *world) {
	text := func(context.Context, string) (int, error) { return 1, nil }
	app := w.open(worksNew(text))
	oldQ, newQ := af.NewQueue[int, int](app, oldWorker), af.NewQueue[string, int](app, newWorker)
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	id := must(oldQ.Submit(ctx, 7))(w)
	w.within(patience, "it was tried three times", func() bool {
		t := must(oldQ.Get(ctx, id))(w)
		return t.Fence >= 3 && t.Status != af.StatusRunning
	})
	t := must(oldQ.Get(ctx, id))(w)
	if t.Status.Final() || t.Attempt != 0 || t.WrongVersionSince.IsZero() || t.Error == nil ||
		t.Error.Code != af.ErrFailedPrecondition ||
		!strings.Contains(t.Error.Message, oldWorker.Payload) || !strings.Contains(t.Error.Message, newWorker.Payload) {
		w.Errorf("it waits as %+v, error %+v", t, t.Error)
	}
	must(newQ.Wait(ctx, must(newQ.Submit(ctx, "text"))(w)))(w) // it blocks no other task
	w.open(worksOld(func(_ context.Context, n int) (int, error) { return n, nil }), af.IP("192.0.2.2"))
	if n := must(oldQ.Wait(ctx, id))(w); n != 7 {
		w.Errorf("its result is %d", n)
	}
	if t := must(oldQ.Get(ctx, id))(w); t.Attempt != 1 || !t.WrongVersionSince.IsZero() {
		w.Errorf("it has run as %+v", t)
	}

	// With the same fingerprint, or none, it fails at once.
	for _, print := range []string{newWorker.Payload, ""} {
		worker := oldWorker
		worker.Payload = print
		q := af.NewQueue[int, int](app, worker)
		if print == "" { // only one version is present that can claim it and fails to decode it
			w.must(app.UpdateMaxWorkers(ctx, "job", "192.0.2.2", 0))
			w.awaitApplied(app, "192.0.2.2", 0)
		}
		if _, err := q.Wait(ctx, must(q.Submit(ctx, 7))(w)); !errors.Is(err, af.ErrInvalidArgument) {
			w.Errorf("with the fingerprint %q: %v", print, err)
		}
	}
}

// failsWithoutVersion has a task that no worker can decode until it fails. Nothing is charged to it until then.
func failsWithoutVersion(w *world) {
	const after = 3 * time.Second
	app := w.open(worksNew(func(context.Context, string) (int, error) { return 1, nil }), af.WrongVersionAfter(after))
	q := af.NewQueue[int, int](app, oldWorker)
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	begun := time.Now()
	id := must(q.Submit(ctx, 7))(w)
	_, err := q.Wait(ctx, id)
	if took := time.Since(begun); !errors.Is(err, af.ErrFailedPrecondition) || took < after {
		w.Errorf("after %v: %v", took, err)
	}
	if t := must(q.Get(ctx, id))(w); t.Fence < 2 || t.Crashes != 0 || t.Error == nil ||
		!strings.Contains(t.Error.Message, "no worker of that version") {
		w.Errorf("it has failed as %+v, error %+v", t, t.Error)
	}
}

// otherVersionRuns has tasks of two versions whose payloads a worker of one can decode. It runs each of them
// once.
func otherVersionRuns(w *world) {
	client := w.open(nil, af.IP("192.0.2.9"))
	other := oldWorker
	other.Payload = "0ther00000000"
	queues := []af.Queue[int, int]{af.NewQueue[int, int](client, oldWorker), af.NewQueue[int, int](client, other)}
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	var ids []string
	for n := range 10 {
		ids = append(ids, must(queues[n%2].Submit(ctx, n))(w))
	}
	var runs atomic.Int64
	w.open(worksOld(func(_ context.Context, n int) (int, error) {
		runs.Add(1)
		return n, nil
	}))
	for i, id := range ids {
		if n := must(queues[0].Wait(ctx, id))(w); n != i {
			w.Errorf("task %d has the result %d", i, n)
		}
		if t := must(queues[0].Get(ctx, id))(w); t.Attempt != 1 {
			w.Errorf("task %s has run as %+v", id, t)
		}
	}
	if n := runs.Load(); n != int64(len(ids)) {
		w.Errorf("%d runs of %d tasks", n, len(ids))
	}
}

// retriedOnce retries a failed task from several Apps at once, and all failed tasks twice.
func retriedOnce(w *world) {
	run := works(func(context.Context, int) (int, error) { return 0, af.Permanent(errors.New("no")) })
	apps := []*af.App{w.open(run), w.open(run, af.IP("192.0.2.2"))}
	q := af.NewQueue[int, int](apps[0], jobWorker)
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	var failed []string
	for i := range 5 {
		id := must(q.Submit(ctx, i))(w)
		if _, err := q.Wait(ctx, id); err == nil {
			w.Error("it did not fail")
		}
		failed = append(failed, id)
	}
	got := make([][]string, 8)
	var all sync.WaitGroup
	for i := range got {
		all.Go(func() {
			for n, id := range failed {
				var opts []af.SubmitOption
				if n == 0 {
					opts = append(opts, af.TaskID(fmt.Sprint("mine", i)))
				}
				by, err := apps[i%2].RetryTask(ctx, id, opts...)
				if err != nil {
					w.Error(err)
				}
				got[i] = append(got[i], by)
			}
		})
	}
	all.Wait()
	for _, list := range got {
		for n, by := range list {
			if by != got[0][n] {
				w.Errorf("task %s was retried as %s and as %s", failed[n], got[0][n], by)
			}
		}
	}
	for n, by := range got[0] {
		if _, err := q.Wait(ctx, by); err == nil {
			w.Error("the retry did not fail")
		}
		if t := must(q.Get(ctx, failed[n]))(w); t.RetriedBy != by || t.Status != af.StatusFailed {
			w.Errorf("%+v", t)
		}
	}
	if page := must(apps[1].Tasks(ctx, af.TaskQuery{Queue: "job"}))(w); page.Total != 2*len(failed) {
		w.Errorf("there are %d tasks, want %d", page.Total, 2*len(failed))
	}
}

type textArgs struct{ X, Y string }

// newAdd is addMethod in a version that takes texts.
var newAdd = af.Method[textArgs, sum]{
	Service: "adder", Name: "Add", Signature: "(x string, y string) (sum int, err error)", Fingerprint: "f2",
	Timeout: patience,
}

// versionCalls has an instance of each version of a service. A call that the other version can't decode is retried on
// another instance, and fails as not sent if there is none.
func versionCalls(w *world) {
	var begun atomic.Int64
	one := w.open(adds(func(a args) (sum, error) { begun.Add(1); return sum{a.X + a.Y}, nil }))
	client := af.NewClient(w.open(nil, af.IP("192.0.2.3")))
	call := func(err error, code af.Code, outcome af.Outcome) {
		w.Helper()
		e, ok := errors.AsType[*af.Error](err)
		if !ok || e.Code != code || e.Outcome != outcome {
			w.Errorf("error %v (%+v), want %s, %s", err, e, code, outcome)
		}
	}
	must(addMethod.Call(w.Context(), client, args{1, 2}))(w)
	_, err := newAdd.Call(w.Context(), client, textArgs{"a", "b"})
	call(err, af.ErrFailedPrecondition, af.OutcomeNotSent)
	if err != nil && (!strings.Contains(err.Error(), "f1") || !strings.Contains(err.Error(), "f2")) {
		w.Errorf("the error doesn't name both versions: %v", err)
	}
	for _, print := range []string{"f1", ""} { // the same version or an unknown one
		same := newAdd
		same.Fingerprint = print
		_, err := same.Call(w.Context(), client, textArgs{"a", "b"})
		call(err, af.ErrInvalidArgument, af.OutcomeAnswered)
	}
	if n := begun.Load(); n != 1 {
		w.Errorf("%d calls were begun", n)
	}

	w.open(func(app *af.App) {
		af.RegisterService(app, af.Service{Name: "adder", Type: "Adder", Concurrency: 4}, &adder{},
			af.Bind(&newAdd, func(_ context.Context, _ *adder, a textArgs) (sum, error) { return sum{len(a.X + a.Y)}, nil }))
	}, af.IP("192.0.2.2"))
	w.within(patience, "both are registered", func() bool {
		page := must(one.Instances(w.Context(), af.InstanceQuery{Service: "adder"}))(w)
		return page.Total == 2
	})
	for i := range 50 {
		if got := must(newAdd.Call(w.Context(), client, textArgs{"abc", "de"}))(w); got.Sum != 5 {
			w.Errorf("call %d: %+v", i, got)
		}
		if got := must(addMethod.Call(w.Context(), client, args{i, 2}))(w); got.Sum != i+2 {
			w.Errorf("call %d: %+v", i, got)
		}
	}
}
