package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// These tests cancel a running Start.

// starting calls Start in a goroutine and returns a channel for its result.
func starting(app *af.App) <-chan error {
	result := make(chan error, 1)
	go func() { result <- app.Start(context.Background()) }()
	synctest.Wait()
	return result
}

// Shutdown cancels whatever Start is waiting for, and closes what Start has begun.
func TestShutdownCancelsStart(t *testing.T) {
	for _, op := range []string{"Serve", "Beat", "Listen", "Announce", "Docs.List", "Docs.PutIf"} {
		t.Run(op, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				b := fault.New(fault.Around(memory.New()), 1, fault.Plan{})
				app := open(t, b)
				registerCalc(app, &calc{double})
				af.RegisterWorker(app, jobWorker, &job{same})
				af.HandleJob(app, "nightly", "@every 1h", func(context.Context, struct{}) error { return nil })
				b.Fail(op, 1000, fault.Hung)
				result := starting(app)
				if len(result) > 0 {
					t.Fatalf("Start does not block in %s: %v", op, <-result)
				}
				b.Fail(op, 0, fault.Hung)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				begun := time.Now()
				if err := app.Shutdown(ctx); err != nil || time.Since(begun) > time.Second {
					t.Errorf("Shutdown: %v after %v", err, time.Since(begun))
				}
				if err := <-result; !errors.Is(err, af.ErrFailedPrecondition) ||
					!strings.Contains(err.Error(), "shut down while it was starting") {
					t.Errorf("Start: %v", err)
				}
			})
		})
	}
}

// slowServe delays Serve by d and ignores its context.
func slowServe(b af.Backend, d time.Duration) af.Backend {
	return serving(b, func(backend.Endpoint) { time.Sleep(d) })
}

// A Start that ignores its context does not delay a Shutdown.
func TestShutdownAbandonsStart(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app := open(t, slowServe(memory.New(), 12*time.Second))
		registerCalc(app, &calc{double})
		af.RegisterWorker(app, jobWorker, &job{same})
		result := starting(app)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		begun := time.Now()
		err := app.Shutdown(ctx)
		if took := time.Since(begun); err == nil || !strings.Contains(err.Error(), "abandoned") || took > 5*time.Second {
			t.Errorf("Shutdown: %v after %v", err, took)
		}
		if err := <-result; !errors.Is(err, af.ErrFailedPrecondition) {
			t.Errorf("Start: %v", err)
		}
	})
	bubble.Test(t, func(t *testing.T) { // Shutdown waits for a Start that returns in time
		app := open(t, slowServe(memory.New(), 12*time.Second))
		registerCalc(app, &calc{double})
		result := starting(app)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		if err := app.Shutdown(ctx); err != nil || time.Since(begun) != 12*time.Second {
			t.Errorf("Shutdown: %v after %v", err, time.Since(begun))
		}
		if err := <-result; !errors.Is(err, af.ErrFailedPrecondition) {
			t.Errorf("Start: %v", err)
		}
	})
}

// slowDocs takes slowDoc for each write of a document, including the job that a Start declares.
type slowDocs struct{ backend.Docs }

const slowDoc = 4 * time.Second

func (d slowDocs) PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error) {
	select {
	case <-time.After(slowDoc):
		return d.Docs.PutIf(ctx, name, rev, value)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// No task runs during Start, since its handler could not use the App yet. Nor does one after Start was cancelled.
func TestNoTaskRunsDuringStart(t *testing.T) {
	for name, ends := range map[string]bool{"completed": false, "ended": true} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				world := memory.New()
				client := openStarted(t, world)
				q := af.NewQueue[int, int](client, jobWorker)
				id := must(q.Submit(t.Context(), 7))(t)

				app := open(t, altered{world, func(p *backend.Ports) { p.Docs = slowDocs{p.Docs} }})
				registerCalc(app, &calc{double})
				af.RegisterWorker(app, jobWorker, &job{func(ctx context.Context, n int) (int, error) {
					_, err := call(ctx, app, n)
					return n, err
				}})
				af.HandleJob(app, "nightly", "@every 1h", func(context.Context, struct{}) error { return nil })
				result := starting(app)
				called := make(chan error, 1)
				go func() {
					_, err := call(t.Context(), client, 1, af.Timeout(time.Minute))
					called <- err
				}()
				time.Sleep(slowDoc) // Start gives up the document with the queues after 2 s, and then declares the job
				if task := must(q.Get(t.Context(), id))(t); task.Status.Final() || task.Fence > 0 || len(result) > 0 ||
					len(called) > 0 {
					t.Fatalf("the task is %s; %d, %d", task.Status, len(result), len(called))
				}
				if !ends {
					if err := errors.Join(<-result, <-called); err != nil {
						t.Fatal(err)
					}
					if got, err := q.Wait(t.Context(), id); got != 7 || err != nil {
						t.Errorf("the task: %d, %v", got, err)
					}
					if task := must(q.Get(t.Context(), id))(t); task.Attempt != 1 {
						t.Errorf("attempt %d", task.Attempt)
					}
					return
				}
				if err := app.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				if task := must(q.Get(t.Context(), id))(t); task.Status.Final() || task.Fence > 0 {
					t.Errorf("the task is %s", task.Status)
				}
				wantError(t, <-called, af.ErrUnavailable, af.OutcomeNotSent, "no instance")
				if err := <-result; !errors.Is(err, af.ErrFailedPrecondition) {
					t.Errorf("Start: %v", err)
				}
			})
		})
	}
}

// held is a backend whose Serve blocks. It closes begun and waits until release is closed.
func held(release <-chan struct{}) (b af.Backend, begun chan struct{}) {
	begun = make(chan struct{})
	return serving(memory.New(), func(backend.Endpoint) {
		close(begun)
		<-release
	}), begun
}

// If the context of Run ends during the start, Run returns nil.
func TestContextEndsDuringRunsStart(t *testing.T) {
	release := make(chan struct{})
	b, begun := held(release)
	app := open(t, b)
	registerCalc(app, &calc{double})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx) }()
	<-begun
	cancel()
	testkit.Eventually(t, "Run has noticed", func() bool { return app.Health().State == "stopping" })
	close(release)
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// A Shutdown by another goroutine ends a Run during the start.
func TestShutdownDuringRunsStart(t *testing.T) {
	release := make(chan struct{})
	b, begun := held(release)
	app := open(t, b)
	registerCalc(app, &calc{double})
	done, down := make(chan error, 1), make(chan error, 1)
	go func() { done <- app.Run(t.Context()) }()
	<-begun
	go func() { down <- app.Shutdown(t.Context()) }()
	testkit.Eventually(t, "Shutdown has begun", func() bool { return app.Health().State == "stopping" })
	close(release)
	if err := <-down; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := <-done; !errors.Is(err, af.ErrFailedPrecondition) {
		t.Errorf("Run: %v", err)
	}
}

// The drain of ten workers whose handlers ignore their contexts takes as long as that of one.
func TestPoolsDrainConcurrently(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		until := make(chan struct{})
		defer close(until)
		app := open(t, memory.New())
		const workers = 10
		for i := range workers {
			w := jobWorker
			w.Name = fmt.Sprint("job", i)
			af.RegisterWorker(app, w, &job{func(context.Context, int) (int, error) { <-until; return 0, nil }})
		}
		start(t, app)
		for i := range workers {
			w := jobWorker
			w.Name = fmt.Sprint("job", i)
			must(af.NewQueue[int, int](app, w).Submit(t.Context(), 1))(t)
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		begun := time.Now()
		err := app.Shutdown(ctx)
		if took := time.Since(begun); err == nil || took > 3500*time.Millisecond {
			t.Errorf("%v after %v", err, took)
		}
	})
}
