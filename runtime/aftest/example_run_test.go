package aftest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/aftest"
)

// Mailer is a worker. In a program it has the directive "af:worker name=mail retries=3 backoff=1h", and afgen generates
// the code at the end of this example.
type Mailer struct{ down bool }

func (m *Mailer) Run(_ context.Context, to string) (string, error) {
	if m.down {
		m.down = false
		return "", errors.New("the mail server is down")
	}
	return "sent to " + to, nil
}

// Test that a mail is sent an hour later if the mail server is down. The test takes microseconds.
func ExampleRun() {
	var t *testing.T // passed to the test by package testing
	testMailIsSentLater(t)
}

func testMailIsSentLater(t *testing.T) {
	aftest.Run(t, func(t *testing.T, app *af.App) {
		RegisterMailer(app, &Mailer{down: true})
		if err := app.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		queue := NewMailerQueue(app)
		id, err := queue.Submit(t.Context(), "ada")
		if err != nil {
			t.Fatal(err)
		}
		got, err := queue.Wait(t.Context(), id)
		if got != "sent to ada" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if took := time.Since(start); took < 48*time.Minute || took > 72*time.Minute {
			t.Errorf("sent after %v, want an hour ± 20 %%", took)
		}
	})
}

// The rest of this file is generated code.

type MailerQueue struct{ af.Queue[string, string] }

func NewMailerQueue(t af.TaskClient) *MailerQueue {
	return &MailerQueue{af.NewQueue[string, string](t, afMailer)}
}

func RegisterMailer(r af.Registrar, w *Mailer) { af.RegisterWorker(r, afMailer, w) }

var afMailer = af.Worker{Name: "mail", Type: "Mailer", Max: 1, Retries: 3, Backoff: time.Hour, Weight: 1}
