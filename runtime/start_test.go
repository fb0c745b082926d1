package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// A Start that is ended while it is under way.

// starting begins to start an App and returns what Start will return.
func starting(app *af.App) <-chan error {
	result := make(chan error, 1)
	go func() { result <- app.Start(context.Background()) }()
	synctest.Wait()
	return result
}

// A Shutdown cancels whatever a Start waits for, and what that has begun is closed.
func TestShutdownEndsAStart(t *testing.T) {
	for _, op := range []string{"Serve", "Beat", "Listen", "Announce", "Docs.List", "Docs.PutIf"} {
		t.Run(op, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := fault.New(fault.Around(memory.New()), 1, fault.Plan{})
				app := open(t, b)
				registerCalc(app, &calc{double})
				af.RegisterWorker(app, jobWorker, &job{same})
				af.HandleJob(app, "nightly", "@every 1h", func(context.Context, struct{}) error { return nil })
				b.Fail(op, 1000, fault.Hung)
				result := starting(app)
				if len(result) > 0 {
					t.Fatalf("Start doesn't wait for %s: %v", op, <-result)
				}
				b.Fail(op, 0, fault.Hung)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				begun := time.Now()
				if err := app.Shutdown(ctx); err != nil || time.Since(begun) > time.Second {
					t.Errorf("Shutdown: %v after %v", err, time.Since(begun))
				}
				if err := <-result; !errors.Is(err, af.ErrFailedPrecondition) || !strings.Contains(err.Error(), "shut down while it was starting") {
					t.Errorf("Start: %v", err)
				}
			})
		})
	}
}

// slowServe takes its time to serve, whatever its context says.
func slowServe(b af.Backend, d time.Duration) af.Backend {
	return serving(b, func(backend.Endpoint) { time.Sleep(d) })
}

// A Start that ignores its context holds up no Shutdown.
func TestShutdownDoesNotWaitForADeafStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		app := open(t, slowServe(memory.New(), 12*time.Second))
		registerCalc(app, &calc{double})
		af.RegisterWorker(app, jobWorker, &job{same})
		result := starting(app)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		begun := time.Now()
		err := app.Shutdown(ctx)
		if took := time.Since(begun); err == nil || !strings.Contains(err.Error(), "left behind") || took > 5*time.Second {
			t.Errorf("Shutdown: %v after %v", err, took)
		}
		if err := <-result; !errors.Is(err, af.ErrFailedPrecondition) {
			t.Errorf("Start: %v", err)
		}
	})
	bubble(t, func(t *testing.T) { // and one that returns in time is waited for
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

// What runs already when a Start is ended finishes, and what waits for its end is refused.
func TestShutdownDrainsWhatAStartHasBegun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		world := memory.New()
		client := openStarted(t, world)
		q := af.NewQueue[int, int](client, jobWorker)
		id := must(q.Submit(t.Context(), 7))(t)

		b := fault.New(fault.Around(world), 1, fault.Plan{})
		app := open(t, b)
		registerCalc(app, &calc{double})
		af.RegisterWorker(app, jobWorker, &job{func(_ context.Context, n int) (int, error) {
			time.Sleep(time.Minute)
			return n, nil
		}})
		af.HandleJob(app, "nightly", "@every 1h", func(context.Context, struct{}) error { return nil })
		b.Fail("Docs.PutIf", 1000, fault.Hung)
		result := starting(app)
		called := make(chan error, 1)
		go func() {
			_, err := call(t.Context(), client, 1, af.Timeout(time.Minute))
			called <- err
		}()
		time.Sleep(10 * time.Second) // the first announcement waits for the documents, too
		if task := must(q.Get(t.Context(), id))(t); task.Status != backend.StatusRunning || len(result) > 0 || len(called) > 0 {
			t.Fatalf("the task is %s; %d, %d", task.Status, len(result), len(called))
		}
		if err := app.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if got, err := q.Result(t.Context(), id); got != 7 || err != nil {
			t.Errorf("the task: %d, %v", got, err)
		}
		wantError(t, <-called, af.ErrUnavailable, af.OutcomeNotSent, "no instance")
		if err := <-result; !errors.Is(err, af.ErrFailedPrecondition) {
			t.Errorf("Start: %v", err)
		}
	})
}

// held is a backend whose Serve waits: begun is closed when it does, and it goes on when release is.
func held(release <-chan struct{}) (b af.Backend, begun chan struct{}) {
	begun = make(chan struct{})
	return serving(memory.New(), func(backend.Endpoint) {
		close(begun)
		<-release
	}), begun
}

// The end of its context ends a Run that has not started, and that is no error.
func TestRunThatIsEndedWhileItStarts(t *testing.T) {
	release := make(chan struct{})
	b, begun := held(release)
	app := open(t, b)
	registerCalc(app, &calc{double})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx) }()
	<-begun
	cancel()
	for app.Health().State != "stopping" { // Run has noticed
		time.Sleep(time.Millisecond)
	}
	close(release)
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// A Shutdown by another goroutine ends a Run that starts.
func TestRunThatIsShutDownWhileItStarts(t *testing.T) {
	release := make(chan struct{})
	b, begun := held(release)
	app := open(t, b)
	registerCalc(app, &calc{double})
	done, down := make(chan error, 1), make(chan error, 1)
	go func() { done <- app.Run(t.Context()) }()
	<-begun
	go func() { down <- app.Shutdown(t.Context()) }()
	for app.Health().State != "stopping" {
		time.Sleep(time.Millisecond)
	}
	close(release)
	if err := <-down; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := <-done; !errors.Is(err, af.ErrFailedPrecondition) {
		t.Errorf("Run: %v", err)
	}
}

// Ten workers whose handlers ignore their contexts take as long as one.
func TestPoolsDrainSideBySide(t *testing.T) {
	bubble(t, func(t *testing.T) {
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
