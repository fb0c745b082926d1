package runtime_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// stuckUntil blocks until release is closed. Tests look for its name in stacks.
func stuckUntil(release <-chan struct{}) { <-release }

// wantStuck checks that the log has the stack of a handler that hangs in stuckUntil, without the runtime's frames.
func wantStuck(t *testing.T, lines *log, task string) {
	t.Helper()
	r := lines.record(t, "handler did not return after its context ended, settling its attempt")
	if r["task"] != task {
		t.Errorf("the log names task %v", r["task"])
	}
	wantStuckIn(t, r["stack"])
}

// wantStuckIn checks that logged is the stack of a handler in stuckUntil, without the runtime's frames.
func wantStuckIn(t *testing.T, logged any) {
	t.Helper()
	stack, _ := logged.(string)
	header, frames, _ := strings.Cut(stack, "\n")
	if !strings.HasPrefix(header, "goroutine ") || !strings.Contains(header, "[chan receive") ||
		!strings.HasPrefix(frames, "github.com/afgen/afgen/runtime_test.stuckUntil(") ||
		strings.Contains(stack, "afgen/runtime.") {
		t.Errorf("a handler is stuck at\n%s", stack)
	}
}

// A receiver that ignores its context during a shutdown is logged with its stack.
func TestReceiverThatIgnoresShutdown(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var lines log
		app := open(t, memory.New(), lines.option())
		start(t, app)
		if err := app.Send(t.Context(), "q", 1); err != nil {
			t.Fatal(err)
		}
		release := make(chan struct{})
		ended := make(chan error)
		go func() {
			ended <- app.Receive(t.Context(), "q", func(context.Context, json.RawMessage) error {
				stuckUntil(release)
				return nil
			})
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := app.Shutdown(ctx); err == nil || !strings.Contains(err.Error(), "1 raw messages") {
			t.Errorf("Shutdown: %v", err)
		}
		r := lines.record(t, "receiver did not return after its context ended, message will be redelivered")
		wantStuckIn(t, r["stack"])
		close(release)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Handlers that ignore their contexts are counted in Health and Workers until they return.
func TestAbandonedHandlersAreCounted(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		w := jobWorker
		w.Max, w.Timeout = 2, time.Second
		var lines log
		release := []chan struct{}{make(chan struct{}), make(chan struct{})}
		app, q := work(t, world, w, func(_ context.Context, n int) (int, error) {
			stuckUntil(release[n])
			return n, nil
		}, lines.option())
		operator := openStarted(t, world)
		check := func(abandoned int, degraded ...string) {
			t.Helper()
			time.Sleep(2 * time.Second) // until it is announced
			synctest.Wait()
			h := app.Health()
			ready := !slices.Contains(degraded, "no-slots")
			if h.Abandoned != abandoned || !slices.Equal(h.Degraded, append([]string{}, degraded...)) || h.Ready != ready {
				t.Errorf("health %+v, want %d abandoned and %v", h, abandoned, degraded)
			}
			for _, a := range []*af.App{app, operator} {
				workers := must(a.Workers(t.Context(), af.WorkerQuery{}))(t).Workers
				if len(workers) != 1 || workers[0].Abandoned != abandoned || workers[0].Running != abandoned {
					t.Errorf("workers %+v, want %d abandoned", workers, abandoned)
				}
			}
		}
		check(0)
		first := must(q.Submit(t.Context(), 0))(t)
		_, err := q.Wait(t.Context(), first)
		wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeAnswered, "did not return after its context ended")
		wantStuck(t, &lines, first)
		check(1, "slots-lost")
		if c := condition(t, app, "slots-lost"); c.Cause != `queue "job": 1 of 2` || time.Since(c.Since) > time.Minute {
			t.Errorf("condition %+v", c)
		}

		_, err = q.Wait(t.Context(), must(q.Submit(t.Context(), 1))(t))
		wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeAnswered, "did not return after its context ended")
		check(2, "slots-lost", "no-slots")
		var h struct{ Abandoned int }
		if err := json.Unmarshal(must(json.Marshal(app.Health()))(t), &h); err != nil || h.Abandoned != 2 {
			t.Errorf("as JSON: %+v, %v", h, err)
		}
		if err := app.Ready(); err == nil || !strings.Contains(err.Error(), `no-slots: queue "job": 2 of 2`) {
			t.Errorf("ready: %v", err)
		}
		if n := strings.Count(lines.String(), "did not return after its context ended"); n != 2 {
			t.Errorf("got %d log lines about the handler", n)
		}

		close(release[1])
		check(1, "slots-lost")
		close(release[0])
		check(0)
		if n := strings.Count(lines.String(), "abandoned handler returned"); n != 2 {
			t.Errorf("logged %d times that a handler has returned", n)
		}
	})
}

func condition(t *testing.T, app *af.App, mode string) af.Condition {
	t.Helper()
	all := app.Health().Conditions
	i := slices.IndexFunc(all, func(c af.Condition) bool { return c.Mode == mode })
	if i < 0 {
		t.Fatalf("no condition %q among %+v", mode, all)
	}
	return all[i]
}

// If many handlers hang, all stacks are dumped once. The log has a line for each handler, and the stacks of some.
func TestStacksOfManyAbandonedHandlers(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const n = 100
		w := jobWorker
		w.Max = n
		var lines log
		release := make(chan struct{})
		defer close(release)
		app, q := work(t, memory.New(), w, func(context.Context, int) (int, error) {
			stuckUntil(release)
			return 0, nil
		}, lines.option())
		for i := range n {
			must(q.Submit(t.Context(), i))(t)
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := app.Shutdown(ctx); err == nil {
			t.Error("Shutdown: no error")
		}
		told, stacks := strings.Count(lines.String(), "did not return after its context ended"), strings.Count(lines.String(),
			".stuckUntil(")
		if told != n || stacks != 32 {
			t.Errorf("logged %d handlers and %d stacks", told, stacks)
		}
	})
}
