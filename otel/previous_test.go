package afotel_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	afotel "github.com/afgen/afgen/otel"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
)

// late retries so late that the test decides when.
var late = af.Worker{Name: "late", Type: "Late", Backoff: time.Hour, BackoffMax: time.Hour, Retries: 9}

// failing fails until its runs are used up.
type failing struct{ left atomic.Int32 }

func (w *failing) Run(context.Context, int) error {
	if w.left.Add(-1) >= 0 {
		return errors.New("it fails")
	}
	return nil
}

// runEach runs a task n times, each attempt on an App of its own. It returns the task.
func (f *fixture) runEach(open func() backend.Backend, n int) af.Task {
	f.Helper()
	client := f.start(open(), nil)
	id, err := af.NewVoidQueue[int](client, late).Submit(f.Context(), 1)
	f.must(err)
	w := &failing{}
	w.left.Store(int32(n) - 1)
	var task af.Task
	for i := range n {
		if i > 0 {
			f.must(client.RunNow(f.Context(), id))
		}
		app := f.start(open(), func(app *af.App) { af.RegisterVoidWorker(app, late, w) })
		f.within("the attempt is stored", func() bool {
			task, err = client.GetTask(f.Context(), id)
			f.must(err)
			return len(task.Attempts) > i
		})
		shutdown(app)
	}
	return task
}

// An attempt has a link to the one before, which another App has run, and the task has the traces of both. With
// ChildWithin(0) they have nothing else in common.
func TestPreviousAttemptOnAnotherApp(t *testing.T) {
	onEach(t, func(t *testing.T, open func() backend.Backend) {
		f := observe(t, afotel.ChildWithin(0))
		task := f.runEach(open, 3)
		attempts := f.of("process late", task.ID, 3)
		for i, s := range attempts {
			linked, ok := links(s)["previous_attempt"]
			if i == 0 && ok || i > 0 && linked != attempts[i-1].SpanContext().SpanID() {
				t.Errorf("attempt %d has the links %v", i+1, links(s))
			}
			if i > 0 && s.SpanContext().TraceID() == attempts[i-1].SpanContext().TraceID() {
				t.Errorf("attempt %d is in the trace of the one before", i+1)
			}
			want := f.Trace(trace.ContextWithSpanContext(t.Context(), s.SpanContext()))
			if got := task.Attempts[i].Trace; got != want {
				t.Errorf("attempt %d is stored with the trace %q, want %q", i+1, got, want)
			}
		}
		f.endedOnce()
	})
}

// Spans that are not sampled are not stored, so that tasks cost no more.
func TestUnsampledAttemptsAreNotStored(t *testing.T) {
	onEach(t, func(t *testing.T, open func() backend.Backend) {
		f := observe(t, afotel.TracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))))
		for i, a := range f.runEach(open, 2).Attempts {
			if a.Trace != "" {
				t.Errorf("attempt %d has the trace %s", i+1, a.Trace)
			}
		}
	})
}
