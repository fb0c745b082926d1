// Package aftest tests programs that use afgen without servers. From small to large:
//
//   - [Context] gives a handler its task, so that a unit test can call it without an App. [Progress] and [Log] return
//     what it reported.
//   - A [Recorder] takes the place of the App in queues and clients. It records what the code under test submits and
//     calls, and fails as the test says.
//   - [Run] runs a test with an App on the memory backend in virtual time: a retry after an hour, a timeout or a
//     nightly task takes microseconds.
//   - [RunCluster] does so with several processes, which the test crashes, cuts off or restarts, and a store that it
//     makes unavailable or slow: see [Cluster] and [Process]. [Seeds] repeats a test with random faults.
//
// For example:
//
//	func TestResize(t *testing.T) {
//		aftest.Run(t, func(t *testing.T, app *af.App) {
//			shop.RegisterResize(app, &shop.Resize{})
//			if err := app.Start(t.Context()); err != nil {
//				t.Fatal(err)
//			}
//			queue := shop.NewResizeQueue(app)
//			id, err := queue.Submit(t.Context(), picture)
//			…
//			thumb, err := queue.Wait(t.Context(), id)
//		})
//	}
//
// # Virtual time
//
// Run, RunCluster and Seeds use [testing/synctest]. The clock advances only when nothing can run. Goroutines that the
// test starts must end with it. Time does not advance while one of them is blocked on something outside of the test,
// such as a socket, a file or a process. With the race detector they set GOMAXPROCS to 1 while they run: on several
// processors, Go 1.26 crashes there now and then when timers of one bubble elapse together.
package aftest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// Run calls test in a bubble of virtual time, with an App on a new memory backend. The test registers services and
// workers and starts the App. Run shuts the App down afterwards and fails the test if that takes more than a minute of
// virtual time. The App logs to the test's output, and workers with isolation=process run their tasks in goroutines
// ([af.InProcess]). opts are applied after these defaults and may override them.
func Run(t *testing.T, test func(t *testing.T, app *af.App), opts ...af.AppOption) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		log := slog.New(slog.NewTextHandler(t.Output(), nil))
		opts := append([]af.AppOption{af.Logger(log), af.InProcess()}, opts...)
		app, err := af.Open(t.Context(), memory.New(), opts...)
		if err != nil {
			t.Fatal(err)
		}
		// A deferred call also runs after t.FailNow. The bubble ends only when all of its goroutines have ended.
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
			defer cancel()
			if err := app.Shutdown(ctx); err != nil {
				t.Errorf("shutting down: %v", err)
			}
		}()
		test(t, app)
	})
}
