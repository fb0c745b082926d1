package traces

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	afotel "github.com/afgen/afgen/otel"
	af "github.com/afgen/afgen/runtime"
)

// late retries so late that the test decides when.
var late = af.Worker{Name: "late", Type: "Late", Backoff: time.Hour, BackoffMax: time.Hour, Retries: 9}

// failing fails until its runs are used up.
type failing struct{ left atomic.Int32 }

func (w *failing) Run(context.Context, int) error {
	if w.left.Add(-1) >= 0 {
		return errors.New(otherSecret)
	}
	return nil
}

// runEach runs a task n times, each attempt on an App of its own. It returns the task.
func (f *fixture) runEach(t *testing.T, n int) af.Task {
	t.Helper()
	client := f.start(t, nil, nil)
	id, err := af.NewVoidQueue[int](client, late).Submit(t.Context(), 1)
	must(t, err)
	w := &failing{}
	w.left.Store(int32(n) - 1)
	var task af.Task
	for i := range n {
		if i > 0 {
			must(t, client.RunNow(t.Context(), id))
		}
		app := f.start(t, nil, func(app *af.App) { af.RegisterVoidWorker(app, late, w) })
		within(t, "the attempt is stored", func() bool {
			task, err = client.GetTask(t.Context(), id)
			must(t, err)
			return len(task.Attempts) > i
		})
		must(t, app.Shutdown(t.Context()))
	}
	return task
}

// An attempt has a link to the one before, which another App has run, and the task has the traces of both. With
// ChildWithin(0) they have nothing else in common.
func TestPreviousAttemptOnAnotherApp(t *testing.T) {
	onEach(t, func(t *testing.T, s system) {
		f := observe(t, s, afotel.ChildWithin(0))
		task := f.runEach(t, 3)
		attempts := f.of(task.ID)
		if len(attempts) != 3 {
			t.Fatalf("%d attempts have spans: %+v", len(attempts), attempts)
		}
		traces := map[string]bool{}
		for i, s := range attempts {
			linked := map[string]link{}
			for _, l := range s.Links {
				linked[l.Kind] = l
			}
			if previous, ok := linked["previous_attempt"]; ok != (i > 0) || ok &&
				previous != (link{"previous_attempt", attempts[i-1].Trace, attempts[i-1].ID}) {
				t.Errorf("attempt %d has the links %v", i+1, s.Links)
			}
			if traces[s.Trace] = true; len(traces) != i+1 || s.Parent != "" || linked["creation"].Trace == "" {
				t.Errorf("attempt %d is %+v", i+1, s)
			}
			if n := s.Attributes["af.task.attempt"]; n != strconv.Itoa(i+1) {
				t.Errorf("attempt %d has the number %s", i+1, n)
			}
			if got, want := task.Attempts[i].Trace, "00-"+s.Trace+"-"+s.ID+"-01"; got != want {
				t.Errorf("attempt %d is stored with the trace %q, want %q", i+1, got, want)
			}
		}
		f.endedOnce()
	})
}

// Spans that are not sampled are not stored, so that tasks cost no more.
func TestUnsampledAttemptsAreNotStored(t *testing.T) {
	onEach(t, func(t *testing.T, s system) {
		never := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))
		for i, a := range observe(t, s, afotel.TracerProvider(never)).runEach(t, 2).Attempts {
			if a.Trace != "" {
				t.Errorf("attempt %d has the trace %s", i+1, a.Trace)
			}
		}
	})
}
