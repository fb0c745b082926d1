package apptest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	af "github.com/afgen/afgen/runtime"
)

// middleware submits tasks from one App and runs them on another. Both have middleware, which sees all handlers.
func middleware(w *world) {
	var mu sync.Mutex
	var seen []string
	see := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprintf(format, args...))
	}
	client := w.open(nil, af.IP("192.0.2.2"), af.SubmitMiddleware(func(next af.Submitter) af.Submitter {
		return af.SubmitterFunc(func(ctx context.Context, s af.Submission) ([]string, error) {
			s.Payloads = slices.Clone(s.Payloads)
			for i, p := range s.Payloads {
				s.Payloads[i] = json.RawMessage(fmt.Sprintf(`{"sealed":%s}`, p))
			}
			return next.SubmitTasks(ctx, s)
		})
	}))
	app := w.open(func(app *af.App) {
		af.RegisterWorker(app, jobWorker, &fan{job{func(_ context.Context, n int) (int, error) {
			if n == 3 {
				return 0, errors.New("three")
			}
			return 10 * n, nil
		}}, func() { see("SubtasksDone") }})
		af.HandleJob(app, "m", "@yearly", func(context.Context, string) error { return nil }, af.Arguments("x"))
	}, af.WorkerMiddleware(func(next af.TaskHandler) af.TaskHandler {
		return func(ctx context.Context, t *af.Running) (json.RawMessage, error) {
			if inner, ok := strings.CutPrefix(string(t.Payload), `{"sealed":`); ok {
				t.Payload = json.RawMessage(strings.TrimSuffix(inner, "}"))
			}
			result, err := next(ctx, t)
			see("%s %s = %s %v", t.Queue, t.Payload, result, err)
			if err != nil {
				return json.RawMessage("-1"), nil
			}
			return result, err
		}
	}))
	q := af.NewQueue[int, int](client, jobWorker)
	ids := must(q.SubmitMany(w.Context(), []int{2, 3}))(w)
	for i, want := range []int{20, -1} {
		if got := must(q.Wait(w.Context(), ids[i]))(w); got != want {
			w.Errorf("result %d, want %d", got, want)
		}
	}
	subs := must(q.Subtasks(w.Context(), ids[0], []int{4}))(w)
	w.ends(client, subs[0], af.StatusSuccess)
	w.ends(client, must(app.RunJob(w.Context(), "m"))(w), af.StatusSuccess)
	want := []string{"SubtasksDone", "job 2 =  <nil>", "job 2 = 20 <nil>", "job 3 =  three", "job 4 = 40 <nil>",
		`job.m "x" =  <nil>`}
	w.within(patience, "each handler, once", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(seen) >= len(want)
	})
	mu.Lock()
	defer mu.Unlock()
	if slices.Sort(seen); !slices.Equal(seen, want) {
		w.Errorf("seen %q, want %q", seen, want)
	}
}
