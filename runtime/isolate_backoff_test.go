package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// isolatedPaced is a worker with isolation=process that fails as its payload says and chooses the delays of its retries.
type isolatedPaced struct{}

var isoPaced = af.Worker{Name: "iso_paced", Type: "IsolatedPaced", Max: 4, Retries: 1, Backoff: time.Hour,
	Isolation: "process"}

func (*isolatedPaced) Run(_ context.Context, how string) error {
	switch how {
	case "typed":
		return fmt.Errorf("server: %w", errBusy)
	case "panic":
		panic("in Run")
	case "exit":
		os.Exit(9)
	}
	return errors.New(how)
}

func (*isolatedPaced) Backoff(attempt int, err error) time.Duration {
	switch {
	case errors.Is(err, errBusy):
		return time.Duration(attempt) * 2 * time.Hour
	case strings.Contains(err.Error(), "no idea"):
		panic("in Backoff")
	case strings.Contains(err.Error(), "default"):
		return 0
	}
	return time.Duration(attempt) * 3 * time.Hour
}

// Backoff gets the error that Run has returned, with its types, so it is called in the child process. It is called in
// the parent if the child can't return an error. If it panics, the worker's backoff applies.
func TestBackoffInChild(t *testing.T) {
	var lines log
	app, _ := isolate(t, nil, lines.option())
	q := af.NewVoidQueue[string](app, isoPaced)
	for how, want := range map[string]time.Duration{
		"typed": 2 * time.Hour, "another": 3 * time.Hour, "panic": 3 * time.Hour, "exit": 3 * time.Hour,
		"no idea": time.Hour, "default": time.Hour,
	} {
		id := must(q.Submit(t.Context(), how))(t)
		task := await(t, app, id, "it waits for a retry", func(task af.Task) bool { return task.Status == af.StatusRetrying })
		if d := time.Until(task.RunAt); d < want*3/4 || d > want*5/4 {
			t.Errorf("%s: retried in %v, want about %v", how, d, want)
		}
	}
	if r := lines.record(t, "method Backoff failed, using the backoff of the worker"); r["panic"] != "in Backoff" {
		t.Errorf("logged %v", r)
	}
}

// The last attempt is not followed by another, so Backoff is not called in the child process.
func TestBackoffIsNotCalledForLastAttemptInChild(t *testing.T) {
	var lines log
	app, _ := isolate(t, nil, lines.option())
	q := af.NewVoidQueue[string](app, isoPaced)
	id := must(q.Submit(t.Context(), "no idea", af.Retries(0)))(t)
	if err := q.Wait(t.Context(), id); err == nil || strings.Contains(lines.String(), "method Backoff failed") {
		t.Errorf("%v; logged:\n%s", err, &lines)
	}
}
