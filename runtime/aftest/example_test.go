package aftest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/aftest"
)

// Mailer is a worker as a user writes it; //af:worker name=mail retries=3 backoff=1h would be above it, and its queue
// and registration would be generated.
type Mailer struct{ down bool }

func (m *Mailer) Run(ctx context.Context, to string) (string, error) {
	if m.down {
		m.down = false
		return "", errors.New("the mail server is down")
	}
	return "sent to " + to, nil
}

var mail = af.Worker{Name: "mail", Type: "Mailer", Max: 1, Retries: 3, Backoff: time.Hour, Weight: 1}

// An hour's pause between two attempts takes no time, and is measured all the same.
func TestMailIsSentAgainAnHourLater(t *testing.T) {
	aftest.Run(t, func(t *testing.T, app *af.App) {
		af.RegisterWorker(app, mail, &Mailer{down: true})
		if err := app.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		queue := af.NewQueue[string, string](app, mail)
		id, err := queue.Submit(t.Context(), "ada")
		if err != nil {
			t.Fatal(err)
		}
		got, err := queue.Wait(t.Context(), id)
		if got != "sent to ada" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if took := time.Since(begun); took < 48*time.Minute || took > 72*time.Minute {
			t.Errorf("sent after %v, want an hour ± 20 %%", took)
		}
	})
}
