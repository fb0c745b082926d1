// Package apptest has suites that test Apps on every backend. [Run] covers limits and pauses, the lists of services,
// instances, nodes and tasks, subtasks, and versions. [Jobs] covers cron jobs. Both open several Apps on one backend:
//
//	apptest.Run(t, func(t *testing.T) af.Backend { return embedded.File(filepath.Join(t.TempDir(), "af.db")) })
//
// The others need real processes, which a function of the caller starts: [Deploys], [Poison] and [KilledSchedulers].
// [Soak] and [ManySubtasks] take long. The tests use real time with generous deadlines.
package apptest

import (
	"context"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// Run tests Apps on the backends that open returns. Each call of open returns an isolated backend.
func Run(t *testing.T, open func(t *testing.T) af.Backend) {
	for _, b := range []struct {
		name string
		do   func(w *world)
	}{
		{"limits_hold_in_resize_storm", resizeStorm},           // applied within a second
		{"limits_survive_restarts", limitsSurvive},             // a limit of 0 claims nothing
		{"limits_by_ip", limitsByIP},                           // a limit is for one ip or for all, and no change is lost
		{"limits_of_unknown_queue", limitsOfUnknownQueue},      // refused, unless the queue is created
		{"pause", pauses},                                      // a paused queue stops on all instances until it is resumed
		{"services", services},                                 // listed with methods and load until their instance ends
		{"dead_instance_disappears", deadInstance},             // within one lease
		{"nodes", nodes},                                       // each machine is described once
		{"tasks", tasks},                                       // listed by filter, order and page, with a status
		{"settings", settings},                                 // the highest layer counts, then the task
		{"retried_jobs", retriedJobs},                          // a job's option counts
		{"delay", delays},                                      // by the store's clock
		{"retry", retries},                                     // only finished tasks can be retried
		{"retried_once", retriedOnce},                          // concurrent retries make one task
		{"rolling_deploy", rollingDeploy},                      // versions run their own tasks
		{"waits_for_version", waitsForVersion},                 // a task waits until its version is present
		{"fails_without_version", failsWithoutVersion},         // but not before the configured time
		{"other_version_runs", otherVersionRuns},               // workers that can decode its tasks run them
		{"calls_by_version", versionCalls},                     // a call goes to an instance of its version
		{"require_worker", requireWorker},                      // RequireWorker fails unless a worker is present
		{"no_worker", noWorker},                                // a task waits for a worker, and runs once
		{"subtasks_finish_once", subtasksFinish},               // a finished set has its counts
		{"failed_source_stops_waiting_subtasks", failedSource}, // it stops no others
		{"stop_reaches_tree", stopTree},                        // a late success doesn't undo it
		{"wait_tree", waitTree},                                // it waits for all levels and SubtasksDone
		{"error_details", errorDetails},                        // a waiter and SubtasksDone get them
		{"created_once", createdOnce},                          // of concurrent submissions, one has created the task
		{"batch_survives_sweeps", sweptBatch},                  // sweeps run while it is inserted
		{"bad_hints_and_odd_texts", badHints},                  // they cost no task an attempt
		{"abandoned_handlers", abandoned},                      // they are counted
		{"middleware", middleware},                             // it sees all handlers and submissions
		{"observed", observed},                                 // each operation that begins ends once, in one trace
		{"measured", measured},                                 // each attempt, end and message counts once
		{"system_shared", systemShared},                        // one App reads it for the gauges of all
		{"attempts_linked", attemptsLinked},                    // to the one before, wherever that ran
		{"changes_by_hand", changedByHand},                     // they are made, and recorded in order
		{"changes_in_bulk", changedInBulk},                     // page by page, and once
		{"changes_tell_who_and_why", limitsTell},               // limits and jobs keep the last change
		{"metadata_and_trace", metadata},                       // subtasks, SubtasksDone and retries inherit them
		{"follow_log", followLog},                              // an observer sees the lines of a running task
		{"explanations", explanations},                         // of why tasks do not run
	} {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			b.do(&world{T: t, backend: open(t)})
		})
	}
}

// A world is one backend with the Apps that a test opens on it.
type world struct {
	*testing.T
	backend af.Backend
}

const patience = 30 * time.Second

// open opens and starts an App with the registrations of register. It is shut down at the end of the test.
func (w *world) open(register func(*af.App), opts ...af.AppOption) *af.App {
	w.Helper()
	return Start(w, w.backend, register, append([]af.AppOption{af.IP("192.0.2.1"), af.Version("v1")}, opts...)...)
}

func (w *world) close(app *af.App) { shutDown(w, app) }

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

// within waits until holds returns true, and returns how long that took.
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

// job is a hand-written worker.
type job struct {
	run func(ctx context.Context, n int) (int, error)
}

func (j *job) Run(ctx context.Context, n int) (int, error) { return j.run(ctx, n) }

// fan is a job with SubtasksDone.
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
