package runtime_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// An idle observer sends no request, and is in no list. It makes calls, and submits, waits for and stops tasks.
func TestObserver(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		shared := memory.New()
		b := fault.New(shared, 1, fault.Plan{})
		observer := open(t, b, af.Observer())
		start(t, observer)
		if h := observer.Health(); !h.Ready || len(h.Degraded) > 0 {
			t.Errorf("health: %+v", h)
		}
		idle := func() {
			t.Helper()
			time.Sleep(time.Second) // what follows from requests
			before := b.Calls()
			time.Sleep(10 * time.Minute)
			if n := b.Calls() - before; n > 0 {
				t.Errorf("an idle observer sends %d requests", n)
			}
		}
		if n := b.Calls(); n > 0 {
			t.Errorf("the start of an observer sends %d requests", n)
		}
		idle()

		app := open(t, shared)
		registerCalc(app, &calc{func(_ context.Context, n int) (int, error) { return n, nil }})
		block := make(chan struct{})
		af.RegisterWorker(app, jobWorker, &job{func(ctx context.Context, n int) (int, error) {
			select {
			case <-block:
			case <-ctx.Done():
			}
			return n, ctx.Err()
		}})
		start(t, app)
		if n := must(call(t.Context(), observer, 7))(t); n != 7 {
			t.Errorf("a call returns %d", n)
		}
		q := af.NewQueue[int, int](observer, jobWorker)
		first, second := must(q.Submit(t.Context(), 1))(t), must(q.Submit(t.Context(), 2))(t)
		time.Sleep(time.Second)
		if err := observer.StopTask(t.Context(), first); err != nil {
			t.Error(err)
		}
		if got := must(observer.WaitTask(t.Context(), first))(t); got.Status != af.StatusStopped {
			t.Errorf("stopped: %v", got)
		}
		time.AfterFunc(time.Minute+33*time.Millisecond, func() { close(block) })
		begun := time.Now()
		if got := must(observer.WaitTask(t.Context(), second))(t); got.Status != af.StatusSuccess {
			t.Errorf("waited for: %v", got)
		}
		if d := time.Since(begun); d > time.Minute+200*time.Millisecond { // polls are up to 2 s apart
			t.Errorf("the end was noticed after %v", d)
		}
		must(observer.RetryTask(t.Context(), second))(t)
		if err := observer.PauseQueue(t.Context(), jobWorker.Name); err != nil {
			t.Error(err)
		}
		if err := q.Schedule(t.Context(), "nightly", "@daily", 1); err != nil {
			t.Error(err)
		}
		must(observer.RunJob(t.Context(), "nightly"))(t)

		for _, a := range []*af.App{app, observer} {
			instances := must(a.Instances(t.Context(), af.InstanceQuery{}))(t)
			workers := must(a.Workers(t.Context(), af.WorkerQuery{}))(t)
			nodes := must(a.Nodes(t.Context(), af.NodeQuery{}))(t)
			if instances.Total != 1 || instances.Instances[0].ID != app.Instance().ID || workers.Total != 1 ||
				len(nodes.Nodes) != 1 || len(nodes.Nodes[0].Instances) != 1 {
				t.Errorf("%+v, %+v, %+v", instances, workers, nodes)
			}
		}
		idle()
		begun = time.Now()
		if err := observer.Shutdown(t.Context()); err != nil || time.Since(begun) > 0 {
			t.Errorf("shut down after %v: %v", time.Since(begun), err)
		}
	})
}

// An observer refuses what it can't do.
func TestObserverRefuses(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		observer := open(t, memory.New(), af.Observer())
		registerCalc(observer, &calc{})
		af.RegisterWorker(observer, jobWorker, &job{})
		af.HandleJobFunc(observer, "daily", "@daily", func(context.Context) error { return nil })
		err := observer.Start(t.Context())
		for _, text := range []string{"RegisterCalc", "RegisterJob", `HandleJob "daily"`} {
			if af.CodeOf(err) != af.ErrInvalidArgument || !strings.Contains(err.Error(), text) {
				t.Errorf("%s of an observer: Start returns %v", text, err)
			}
		}

		observer = open(t, memory.New(), af.Observer(), af.Lease(5*time.Second), af.Retention(time.Hour, 1))
		start(t, observer)
		err = observer.Receive(t.Context(), "raw", func(context.Context, json.RawMessage) error { return nil })
		wantError(t, err, af.ErrFailedPrecondition, af.OutcomeNotSent, "Receive: the app is an Observer")
		err = observer.StartScheduler(t.Context())
		wantError(t, err, af.ErrFailedPrecondition, af.OutcomeNotSent, "StartScheduler: the app is an Observer")

		_, err = af.Open(t.Context(), memory.New(), af.Observer(), af.NoScheduler(), af.MaxCrashes(5),
			af.ConfigureWorker("job", af.Max(2)), af.WorkerMiddleware(func(h af.TaskHandler) af.TaskHandler { return h }))
		wantError(t, err, af.ErrInvalidArgument, af.OutcomeUnknown, "ConfigureWorker, MaxCrashes, NoScheduler, WorkerMiddleware")
	})
}
