package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// following collects the lines of a task until FollowLog ends.
func following(ctx context.Context, app *af.App, id string) (lines <-chan string, done <-chan error) {
	out, end := make(chan string, 1000), make(chan error, 1)
	go func() {
		defer close(out)
		for part, err := range app.FollowLog(ctx, id) {
			for _, line := range part {
				out <- line
			}
			if err != nil {
				end <- err
				return
			}
		}
		end <- nil
	}()
	return out, end
}

// next returns the first line that contains text.
func next(t *testing.T, lines <-chan string, text string) string {
	t.Helper()
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatalf("the log ended before %q", text)
			}
			if strings.Contains(line, text) {
				return line
			}
		case <-time.After(10 * time.Second): // in virtual time
			t.Fatalf("no line with %q", text)
		}
	}
}

// A follower in another process sees each line once, while the task runs, across two attempts, and until the end.
func TestFollowLogSeesLinesOfRunningTask(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		step := make(chan string)
		w := af.Worker{Name: "work", Max: 1, Retries: 1, Backoff: time.Second}
		app := open(t, world, af.Logger(slog.New(slog.NewTextHandler(io.Discard, nil))))
		af.RegisterWorker(app, w, &job{func(ctx context.Context, n int) (int, error) {
			for text := range step {
				if text == "fail" {
					return 0, errors.New("once more")
				}
				if text == "end" {
					break
				}
				af.LoggerFrom(ctx).Info(text)
			}
			return n, nil
		}})
		start(t, app)
		viewer := open(t, world, af.Observer())
		start(t, viewer)
		id := must(af.NewQueue[int, int](app, w).Submit(t.Context(), 1))(t)
		lines, done := following(t.Context(), viewer, id)
		for i := range 30 {
			text := fmt.Sprintf("line-%02d;", i)
			step <- text
			next(t, lines, text)
		}
		step <- "fail"
		step <- "second attempt"
		next(t, lines, "second attempt")
		for i := range 50 {
			step <- fmt.Sprintf("burst-%02d;", i)
		}
		next(t, lines, "lines omitted")
		step <- "end"
		var rest []string
		for line := range lines {
			rest = append(rest, line)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if len(rest) == 0 || !strings.Contains(rest[len(rest)-1], "burst-49;") {
			t.Errorf("the last lines are %q", rest)
		}
		if slices.Sort(rest); len(slices.Compact(rest)) != len(rest) {
			t.Errorf("repeated lines: %q", rest)
		}
	})
}

func TestFollowLogEndsWithItsContext(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app, q := work(t, memory.New(), jobWorker, func(ctx context.Context, n int) (int, error) {
			<-ctx.Done()
			return n, nil
		})
		id := must(q.Submit(t.Context(), 1))(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, done := following(ctx, app, id)
		if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		_, done = following(t.Context(), app, "unknown")
		if err := <-done; !errors.Is(err, af.ErrNotFound) {
			t.Error(err)
		}
		if err := app.StopTask(t.Context(), id); err != nil {
			t.Error(err)
		}
	})
}

// An idle observer sends nothing, and is in no list. What it is asked for works.
func TestObserverSendsNothingWhileIdle(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		w := af.Worker{Name: "work", Max: 1}
		app := open(t, world)
		af.RegisterWorker(app, w, &job{func(_ context.Context, n int) (int, error) { return n + 1, nil }})
		start(t, app)
		counted := fault.New(world, 0, fault.Plan{})
		viewer := open(t, counted, af.Observer())
		start(t, viewer)
		q := af.NewQueue[int, int](viewer, w)
		id := must(q.Submit(t.Context(), 1))(t)
		if n, err := q.Wait(t.Context(), id); n != 2 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		page, err := viewer.Instances(t.Context(), af.InstanceQuery{})
		if err != nil || len(page.Instances) != 1 || page.Instances[0].ID != app.Instance().ID {
			t.Errorf("instances %+v, %v", page.Instances, err)
		}
		if err := viewer.PauseQueue(t.Context(), "work", af.By("someone")); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute) // what follows from these requests; in virtual time
		before := counted.Calls()
		time.Sleep(10 * time.Minute)
		if n := counted.Calls() - before; n != 0 {
			t.Errorf("%d requests in ten idle minutes", n)
		}
	})
}

func TestObserverServesNothing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app := open(t, memory.New(), af.Observer())
		af.RegisterWorker(app, af.Worker{Name: "work", Max: 1}, &job{})
		if err := app.Start(t.Context()); !errors.Is(err, af.ErrInvalidArgument) {
			t.Error(err)
		}
		if _, err := af.Open(t.Context(), memory.New(), af.Observer(), af.NoScheduler(), af.MaxCrashes(7)); err == nil ||
			!strings.Contains(err.Error(), "MaxCrashes, NoScheduler") {
			t.Error(err)
		}
		app = open(t, memory.New(), af.Observer())
		start(t, app)
		err := app.Receive(t.Context(), "raw", func(context.Context, json.RawMessage) error { return nil })
		if !errors.Is(err, af.ErrFailedPrecondition) {
			t.Error(err)
		}
		if err := app.StartScheduler(t.Context()); !errors.Is(err, af.ErrFailedPrecondition) {
			t.Error(err)
		}
	})
}
