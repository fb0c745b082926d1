package apptest

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/afgen/afgen/internal/recorder"
	af "github.com/afgen/afgen/runtime"
)

// linkWorker retries so late that a test decides when.
var linkWorker = af.Worker{Name: "link", Type: "Link", Max: 1, Backoff: time.Hour, BackoffMax: time.Hour, Retries: 9}

// attemptsLinked runs a task on one App after another. An attempt knows the trace of the one before, although another
// App has run that. The task has the traces of all.
func attemptsLinked(w *world) {
	client := w.open(nil, af.IP("192.0.2.2"))
	id := must(af.NewQueue[int, int](client, linkWorker).Submit(w.Context(), 1))(w)
	again, later := errors.New("again"), af.Snooze(time.Hour)
	var want []string // of all attempts
	var previous string
	for i, step := range []struct {
		observed bool
		err      error // of the handler
		released bool  // the handler runs until the App is shut down
	}{
		{true, again, false},
		{true, later, false},
		{true, nil, true},
		{false, later, false}, // not charged, so the next one links to the one before
		{true, again, false},
		{false, again, false},
		{true, nil, false},
	} {
		rec := &recorder.Recorder{}
		opts := []af.AppOption{af.IP("192.0.2.1"), af.Logger(slog.New(slog.DiscardHandler))}
		if step.observed {
			opts = append(opts, af.Instrument(rec))
		}
		began := make(chan struct{}, 1)
		app := must(af.Open(w.Context(), w.backend, opts...))(w)
		w.Cleanup(func() { _ = app.Shutdown(w.Context()) })
		af.RegisterWorker(app, linkWorker, &job{func(ctx context.Context, n int) (int, error) {
			began <- struct{}{}
			if step.released {
				<-ctx.Done()
				return 0, ctx.Err()
			}
			return n, step.err
		}})
		w.must(app.Start(w.Context()))
		<-began
		if step.released {
			now, cancel := context.WithCancel(w.Context())
			cancel()
			_ = app.Shutdown(now) // fails, since a task has run
		}
		var got []string
		w.within(patience, "the attempt is stored", func() bool {
			got = nil
			for _, a := range must(client.GetTask(w.Context(), id))(w).Attempts {
				got = append(got, a.Trace)
			}
			return len(got) > i
		})
		if !step.released {
			w.must(app.Shutdown(w.Context()))
		}
		trace := ""
		for _, s := range rec.Kinds("attempt") {
			trace = "00-" + s.Trace + "-" + s.ID + "-01"
			if s.Start.Previous != previous {
				w.Errorf("attempt %d has the previous one %q, want %q", i+1, s.Start.Previous, previous)
			}
		}
		if want = append(want, trace); !slices.Equal(got, want) || step.observed != (trace != "") {
			w.Errorf("the attempts have the traces %q, want %q", got, want)
		}
		if step.observed || step.err != later {
			previous = trace
		}
		if step.err != nil {
			w.must(client.RunNow(w.Context(), id))
		}
	}
	w.ends(client, id, af.StatusSuccess)
}
