package apptest

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/instrument/metric"
)

// sums are the sums of counters and the numbers of values of histograms, by metric and attributes.
type sums struct {
	mu  sync.Mutex
	all map[string]float64
}

func (s *sums) sink(m metric.Metric, values []string) metric.Series {
	key := strings.TrimSpace(m.Name + " " + strings.Join(values, " "))
	return func(_ context.Context, v float64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if m.Kind == metric.Histogram {
			v = 1
		}
		s.all[key] += v
	}
}

// of returns those of metrics whose names begin with prefix.
func (s *sums) of(prefix string) map[string]float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := maps.Clone(s.all)
	maps.DeleteFunc(found, func(key string, _ float64) bool { return !strings.HasPrefix(key, prefix) })
	return found
}

// measured checks the values of metrics after tasks that end in every way, on several Apps with one Recorder.
func measured(w *world) {
	s := &sums{all: map[string]float64{}}
	rec := af.Instrument(metric.NewRecorder(s.sink))
	client := w.open(nil, rec)
	var snoozed atomic.Bool
	started := make(chan struct{}, 1)
	runs := works(func(ctx context.Context, n int) (int, error) {
		switch n {
		case obsRetries:
			if af.TaskFrom(ctx).Attempt == 1 {
				return 0, af.ErrNotFound
			}
		case obsSnoozes:
			if !snoozed.Swap(true) {
				return 0, af.Snooze(0)
			}
		case obsFails:
			return 0, af.Permanent(af.ErrNotFound)
		case obsPanics:
			panic("bug")
		case obsTimesOut, obsStops:
			if n == obsStops {
				started <- struct{}{}
			}
			<-ctx.Done()
			return 0, ctx.Err()
		}
		return n, nil
	})
	w.open(runs, rec)
	w.open(runs, rec)
	q := af.NewQueue[int, int](client, jobWorker)
	for _, n := range []int{obsSucceeds, obsRetries, obsSnoozes, obsFails, obsPanics, obsTimesOut, obsStops} {
		opts := []af.SubmitOption{af.Retries(1)}
		if n == obsPanics || n == obsTimesOut {
			opts = []af.SubmitOption{af.Retries(0), af.Timeout(50 * time.Millisecond)}
		}
		id := must(q.Submit(w.Context(), n, opts...))(w)
		if n == obsStops {
			<-started
			w.must(client.StopTask(w.Context(), id))
		}
		if _, err := q.Wait(w.Context(), id); (err == nil) != (n <= obsSnoozes && n != obsCalls) {
			w.Errorf("task %d: %v", n, err)
		}
	}
	waiting := must(q.Submit(w.Context(), obsSucceeds, af.Delay(time.Hour)))(w)
	w.must(client.StopTask(w.Context(), waiting)) // before it has an attempt
	w.measures(s, "af.task.", map[string]float64{
		"af.task.submitted job":                         8,
		"af.task.wait job":                              9, // one for each attempt
		"af.task.run job success":                       3,
		"af.task.run job failed":                        4,
		"af.task.run job returned":                      1,
		"af.task.run job stopped":                       1,
		"af.task.attempts job success":                  3,
		"af.task.attempts job failed not_found":         2,
		"af.task.attempts job failed internal":          1,
		"af.task.attempts job failed deadline_exceeded": 1,
		"af.task.attempts job returned":                 1,
		"af.task.attempts job stopped":                  1,
		"af.task.total job success":                     3,
		"af.task.total job failed":                      3,
		"af.task.total job stopped":                     2,
		"af.task.ended job success":                     3,
		"af.task.ended job failed not_found":            1,
		"af.task.ended job failed internal":             1,
		"af.task.ended job failed deadline_exceeded":    1,
		"af.task.ended job stopped":                     2,
	})
	w.measureMessages(s, client)
}

// measureMessages sends a message that succeeds, one that fails once, and one that dies.
func (w *world) measureMessages(s *sums, app *af.App) {
	for n := range 3 {
		w.must(app.Send(w.Context(), "measured", n))
	}
	ctx, cancel := context.WithCancel(w.Context())
	received := make(chan error, 1)
	handled := make(chan struct{}, 10)
	go func() {
		received <- app.Receive(ctx, "measured", func(ctx context.Context, body json.RawMessage) error {
			defer func() { handled <- struct{}{} }()
			switch string(body) {
			case "1":
				if af.MessageFrom(ctx).Attempt == 1 {
					return errors.New("again")
				}
			case "2":
				return af.Permanent(af.ErrOutOfRange)
			}
			return nil
		})
	}()
	for range 4 {
		select {
		case <-handled:
		case <-time.After(patience):
			w.Fatal("the messages are not handled")
		}
	}
	want := map[string]float64{
		"af.message.attempts measured success":             2,
		"af.message.attempts measured failed unknown":      1,
		"af.message.attempts measured failed out_of_range": 1,
		"af.message.redelivered measured":                  1,
		"af.message.dead measured permanent":               1,
	}
	w.measures(s, "af.message.", want)
	w.measures(s, "messaging.", map[string]float64{
		"messaging.client.operation.duration afgen send measured":        3,
		"messaging.process.duration afgen process measured":              2,
		"messaging.process.duration afgen process measured unknown":      1,
		"messaging.process.duration afgen process measured out_of_range": 1,
	})
	cancel()
	if err := <-received; !errors.Is(err, af.ErrCanceled) {
		w.Error(err)
	}
}

// measures waits until the metrics whose names begin with prefix have these values.
func (w *world) measures(s *sums, prefix string, want map[string]float64) {
	w.Helper()
	for end := time.Now().Add(patience); !maps.Equal(s.of(prefix), want); time.Sleep(5 * time.Millisecond) {
		if time.Now().Before(end) {
			continue
		}
		got := s.of(prefix)
		keys := slices.Sorted(maps.Keys(want))
		for key := range got {
			if _, ok := want[key]; !ok {
				keys = append(keys, key)
			}
		}
		for _, key := range keys {
			if got[key] != want[key] {
				w.Errorf("%s is %v, want %v", key, got[key], want[key])
			}
		}
		return
	}
}
