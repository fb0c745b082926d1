package pages

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/aftest"
)

// The tests of docs/testing.md run.
func TestTestingIsThisFile(t *testing.T) {
	compare(t, "testing.md", "testing_test.go", "type Welcome", "type outbox", "func signUp", "func TestWelcomeSendsMail",
		"func TestSignUpSubmitsWelcome", "func TestWelcomeIsRetried", "func TestWelcomeIsSentOnce",
		"func TestWelcomesInStorms")
}

// Welcome sends a mail to a new user.
//
//af:worker retries=5 backoff=1m
type Welcome struct{ Mails Mails }

// Mails sends mails, at most one for each key.
type Mails interface {
	Send(ctx context.Context, key, to string) error
}

// Run sends the mail.
func (w *Welcome) Run(ctx context.Context, user string) error {
	task := af.TaskFrom(ctx)
	if err := w.Mails.Send(ctx, "welcome-"+task.ID, user); err != nil {
		return err
	}
	return task.Progress(ctx, "sent")
}

// An outbox is Mails for tests. It calls before and after for each mail, if they are set.
type outbox struct {
	before, after func(ctx context.Context) error

	mu   sync.Mutex
	keys map[string]bool
	sent []string
}

func (o *outbox) Send(ctx context.Context, key, to string) error {
	if o.before != nil {
		if err := o.before(ctx); err != nil {
			return err
		}
	}
	o.mu.Lock()
	if o.keys == nil {
		o.keys = map[string]bool{}
	}
	if !o.keys[key] {
		o.keys[key] = true
		o.sent = append(o.sent, to)
	}
	o.mu.Unlock()
	if o.after != nil {
		return o.after(ctx)
	}
	return nil
}

func TestWelcomeSendsMail(t *testing.T) {
	mails := &outbox{}
	ctx := aftest.Context(t.Context(), af.Running{ID: "7", Attempt: 2})
	if err := (&Welcome{Mails: mails}).Run(ctx, "ada"); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(mails.sent, []string{"ada"}) {
		t.Errorf("sent %q", mails.sent)
	}
	if got := aftest.Progress[string](ctx); !slices.Equal(got, []string{"sent"}) {
		t.Errorf("progress %q", got)
	}
}

func signUp(ctx context.Context, welcomes *WelcomeQueue, user string) error {
	_, err := welcomes.Submit(ctx, user, af.TaskID("welcome-"+user))
	if err != nil {
		return fmt.Errorf("user %q: %w", user, err)
	}
	return nil
}

func TestSignUpSubmitsWelcome(t *testing.T) {
	var rec aftest.Recorder
	welcomes := NewWelcomeQueue(&rec)
	if err := signUp(t.Context(), welcomes, "ada"); err != nil {
		t.Fatal(err)
	}
	rec.FailSubmit(af.NewError(af.ErrUnavailable, "no store"))
	if err := signUp(t.Context(), welcomes, "grace"); !errors.Is(err, af.ErrUnavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
	if got := aftest.Submitted[string](&rec, "welcome"); !slices.Equal(got, []string{"ada"}) {
		t.Errorf("submitted %q", got)
	}
}

func TestWelcomeIsRetried(t *testing.T) {
	aftest.Run(t, func(t *testing.T, app *af.App) {
		failures := 2
		mails := &outbox{before: func(context.Context) error {
			if failures--; failures >= 0 {
				return errors.New("mail server down")
			}
			return nil
		}}
		RegisterWelcome(app, &Welcome{Mails: mails})
		if err := app.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		welcomes := NewWelcomeQueue(app)
		id, err := welcomes.Submit(t.Context(), "ada")
		if err != nil {
			t.Fatal(err)
		}
		if err := welcomes.Wait(t.Context(), id); err != nil { // minutes later, in no time
			t.Fatal(err)
		}
		if task, err := app.GetTask(t.Context(), id); task.Attempt != 3 || err != nil {
			t.Errorf("attempt %d, %v", task.Attempt, err)
		}
	})
}

func TestWelcomeIsSentOnce(t *testing.T) {
	aftest.RunCluster(t, func(t *testing.T, c *aftest.Cluster) {
		runs := 0
		mails := &outbox{}
		mails.before = func(ctx context.Context) error {
			if runs++; runs == 1 {
				c.Crash(ctx) // before the mail is sent; the task runs again
			}
			return nil
		}
		mails.after = func(ctx context.Context) error {
			if runs == 2 {
				c.Process(ctx).LoseResult() // after it is sent; the task runs again
			}
			return nil
		}
		c.Start(func(app *af.App) { RegisterWelcome(app, &Welcome{Mails: mails}) })

		welcomes := NewWelcomeQueue(c.Client())
		id, err := welcomes.Submit(t.Context(), "ada")
		if err != nil {
			t.Fatal(err)
		}
		if err := welcomes.Wait(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if runs != 3 || len(mails.sent) != 1 {
			t.Errorf("%d runs, sent %q", runs, mails.sent)
		}
	})
}

func TestWelcomesInStorms(t *testing.T) {
	aftest.Seeds(t, 20, func(t *testing.T, c *aftest.Cluster) {
		mails := &outbox{}
		for range 3 {
			c.Start(func(app *af.App) { RegisterWelcome(app, &Welcome{Mails: mails}) })
		}
		welcomes := NewWelcomeQueue(c.Client())
		later := af.RunAt(time.Now().Add(5 * time.Second)) // during the storm
		ids, err := welcomes.SubmitMany(t.Context(), []string{"ada", "grace", "joan"}, later)
		if err != nil {
			t.Fatal(err)
		}
		c.Storm(30 * time.Second)
		for _, id := range ids {
			if err := welcomes.Wait(t.Context(), id); err != nil {
				t.Error(err)
			}
		}
		if len(mails.sent) != len(ids) {
			t.Errorf("sent %q", mails.sent)
		}
	})
}

// The rest is what afgen generates for Welcome.

type WelcomeQueue struct{ af.VoidQueue[string] }

func NewWelcomeQueue(t af.TaskClient) *WelcomeQueue {
	return &WelcomeQueue{af.NewVoidQueue[string](t, afWelcome)}
}

func RegisterWelcome(r af.Registrar, w *Welcome) { af.RegisterVoidWorker(r, afWelcome, w) }

var afWelcome = af.Worker{Name: "welcome", Type: "Welcome", Max: 10, Retries: 5, Backoff: time.Minute, Weight: 1}
