// Package aftest runs tests of services and workers on the memory backend in virtual time: a retry after an hour, a
// timeout, a nightly task take microseconds, and the clock stands still while anything can run.
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
// It stands on testing/synctest, whose rules hold: everything that the test starts must end with it, and what blocks on
// the outside world (sockets, files that wait, processes) doesn't let time pass.
package aftest

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// Run calls test in a bubble of virtual time with an App on a memory backend of its own. The test registers what it
// needs and starts the App; Run shuts it down afterwards, for a minute of virtual time at most, and fails the test if
// something still runs then. The App logs to the test's output; opts come after that, so they may log elsewhere. Workers
// with isolation=process run their tasks in goroutines ([af.InProcess]).
func Run(t *testing.T, test func(t *testing.T, app *af.App), opts ...af.AppOption) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.NewTextHandler(t.Output(), nil))
		app, err := af.Open(t.Context(), memory.New(), append([]af.AppOption{af.Logger(log), af.InProcess()}, opts...)...)
		if err != nil {
			t.Fatal(err)
		}
		// Also after t.FailNow, which ends the goroutine: a bubble with something running in it never ends.
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
