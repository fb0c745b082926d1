// Package apptest checks, on any backend, what those who operate a system rely on: limits and pauses, the registry,
// nodes, families of tasks, and what can be asked about tasks; and jobs. Each behaviour opens Apps of its own in one world:
//
//	apptest.Run(t, func(t *testing.T) af.Backend { return embedded.File(filepath.Join(t.TempDir(), "af.db")) })
//	apptest.Jobs(t, …)
//
// Time is real, and deadlines are generous: what must happen within a time is in the behaviour's name.
package apptest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// Run checks an App on the backends that open returns: each call returns a world that nobody else is in.
func Run(t *testing.T, open func(t *testing.T) af.Backend) {
	for _, b := range []struct {
		name string
		do   func(w *world)
	}{
		{"limits hold in a storm of resizes and are applied within a second", limitsInAStorm},
		{"limits survive restarts, and 0 claims nothing", limitsSurvive},
		{"limits are an ip's or everybody's, and no change is lost", limitsByIP},
		{"limits of what is unknown are refused, unless it is created", limitsOfTheUnknown},
		{"a paused queue stands still everywhere, and goes on when it is resumed", pauses},
		{"services are listed with methods and load, and gone with their instance", services},
		{"whoever dies is gone after a lease", deaths},
		{"nodes say what machine they are, once", nodes},
		{"tasks are listed by filters, sort and page, and their status is known", tasks},
		{"a finished task is retried by hand, and no other", retries},
		{"retried_once_however_often_it_is_asked_for", retriedOnce},
		{"versions_run_their_own_tasks_in_a_rolling_deploy", rollingDeploy},
		{"a_task_of_no_present_version_waits_for_it", waitsForVersion},
		{"calls_of_another_version_go_to_its_instance", versionCalls},
		{"RequireWorker knows who is there", requireWorker},
		{"what nobody works on is kept, and runs once when a worker comes", unserved},
		{"a set of subtasks is finished once, with its counts", families},
		{"a source that fails stops those of its subtasks that wait, and no others", failures},
		{"a stop reaches the whole tree, and no late success undoes it", stops},
		{"a batch of subtasks is whole, whatever is swept away while it is inserted", batches},
		{"bad hints and odd texts cost no task anything", oddities},
		{"abandoned_handlers_are_counted", abandoned},
	} {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			b.do(&world{T: t, backend: open(t)})
		})
	}
}

// A world is one backend, and the Apps that a behaviour opens on it.
type world struct {
	*testing.T
	backend af.Backend
}

const patience = 30 * time.Second

// open opens an App that registers something and is started. It is shut down at the end of the test.
func (w *world) open(register func(*af.App), opts ...af.AppOption) *af.App {
	w.Helper()
	opts = append([]af.AppOption{af.Logger(slog.New(slog.DiscardHandler)), af.IP("192.0.2.1"), af.Version("v1")}, opts...)
	app, err := af.Open(w.Context(), w.backend, opts...)
	w.must(err)
	w.Cleanup(func() { w.close(app) })
	if register != nil {
		register(app)
	}
	w.must(app.Start(w.Context()))
	return app
}

func (w *world) close(app *af.App) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := app.Shutdown(ctx); err != nil {
		w.Errorf("shutdown: %v", err)
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func must[T any](v T, err error) func(*world) T {
	return func(w *world) T {
		w.Helper()
		w.must(err)
		return v
	}
}

// within waits until a condition holds, and returns how long that took.
func (w *world) within(d time.Duration, what string, holds func() bool) time.Duration {
	w.Helper()
	begun := time.Now()
	for !holds() {
		if time.Since(begun) > d {
			w.Fatalf("not within %v: %s", d, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(begun)
}

// job is a worker by hand.
type job struct {
	run func(ctx context.Context, n int) (int, error)
}

func (j *job) Run(ctx context.Context, n int) (int, error) { return j.run(ctx, n) }

// fan has SubtasksDone, too.
type fan struct {
	job
	done func()
}

func (f *fan) SubtasksDone(context.Context, int, af.Subtasks) error {
	f.done()
	return nil
}

var jobWorker = af.Worker{Name: "job", Type: "Job", Max: 8, Weight: 1, Backoff: 10 * time.Millisecond}

func works(run func(ctx context.Context, n int) (int, error)) func(*af.App) {
	return func(app *af.App) { af.RegisterWorker(app, jobWorker, &job{run}) }
}

func same(_ context.Context, n int) (int, error) { return n, nil }
