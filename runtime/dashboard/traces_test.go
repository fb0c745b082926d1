package dashboard_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/recorder"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/dashboard"
)

type traced struct{}

func (*traced) Run(context.Context, int) error { return errors.New("it fails") }

// The page of a task has a link to the trace of the submission and to that of each attempt.
func TestTracesOfAttempts(t *testing.T) {
	app, err := af.Open(t.Context(), memory.New(), af.Instrument(&recorder.Recorder{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = app.Shutdown(context.Background()) })
	worker := af.Worker{Name: "traced", Type: "Traced"}
	af.RegisterVoidWorker(app, worker, &traced{})
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	id, err := af.NewVoidQueue[int](app, worker).Submit(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	task, err := app.WaitTask(t.Context(), id)
	if err != nil || len(task.Attempts) != 1 || len(task.Attempts[0].Trace) != 55 {
		t.Fatalf("%v, %+v", err, task.Attempts)
	}
	const link = "https://traces.example.com/{trace}"
	want := `href="` + strings.ReplaceAll(link, "{trace}", task.Attempts[0].Trace[3:35])
	_, page, _ := get(t, dashboard.Handler(app, everything, dashboard.TraceLink(link)), "/tasks/"+id)
	if n := strings.Count(page, want); n != 2 {
		t.Errorf("%d links to the trace, want 2", n)
	}
	_, page, _ = get(t, dashboard.Handler(app, everything), "/tasks/"+id)
	if strings.Contains(page, "traces.example.com") || strings.Contains(page, ">trace ") {
		t.Error("without TraceLink there is a link")
	}
}
