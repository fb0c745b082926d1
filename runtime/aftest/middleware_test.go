package aftest_test

import (
	"context"
	"encoding/json"
	"testing"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/aftest"
)

// Middleware is an option of Run, and sees tasks as in a program.
func TestRunWithMiddleware(t *testing.T) {
	var submitted, handled int
	aftest.Run(t, func(t *testing.T, app *af.App) {
		RegisterMailer(app, &Mailer{down: true})
		if err := app.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		queue := NewMailerQueue(app)
		id, err := queue.Submit(t.Context(), "ada")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := queue.Wait(t.Context(), id); got != "sent to ada" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}, af.SubmitMiddleware(func(next af.Submitter) af.Submitter {
		return af.SubmitterFunc(func(ctx context.Context, s af.Submission) ([]string, error) {
			submitted++
			return next.SubmitTasks(ctx, s)
		})
	}), af.WorkerMiddleware(func(next af.TaskHandler) af.TaskHandler {
		return func(ctx context.Context, t *af.Running) (json.RawMessage, error) {
			handled++
			return next(ctx, t)
		}
	}))
	if submitted != 1 || handled != 2 {
		t.Errorf("middleware saw %d submissions and %d attempts", submitted, handled)
	}
}
