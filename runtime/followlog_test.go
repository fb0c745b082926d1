package runtime_test

import (
	"context"
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

// FollowLog ends when its App is shut down, although the task runs on.
func TestShutdownEndsFollowLog(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		_, q := work(t, world, jobWorker, func(ctx context.Context, n int) (int, error) {
			<-ctx.Done()
			return n, nil
		})
		viewer := open(t, world, af.Observer())
		start(t, viewer)
		id := must(q.Submit(t.Context(), 1))(t)
		_, done := following(t.Context(), viewer, id)
		time.Sleep(time.Second)
		begun := time.Now()
		if err := viewer.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, af.ErrUnavailable) || !strings.Contains(err.Error(), id) ||
			time.Since(begun) > 100*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
	})
}

// While the store is unavailable, lines still arrive, and FollowLog ends with the task when it is back.
func TestFollowLogOutlastsTheStore(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		step := make(chan string)
		app := open(t, world, af.Logger(slog.New(slog.NewTextHandler(io.Discard, nil))))
		af.RegisterWorker(app, jobWorker, &job{func(ctx context.Context, n int) (int, error) {
			for {
				select {
				case text, ok := <-step:
					if !ok {
						return n, nil
					}
					af.LoggerFrom(ctx).Info(text)
				case <-ctx.Done():
					return n, ctx.Err()
				}
			}
		}})
		start(t, app)
		q := af.NewQueue[int, int](app, jobWorker)
		b := fault.New(world, 1, fault.Plan{})
		viewer := open(t, b, af.Observer())
		start(t, viewer)
		id := must(q.Submit(t.Context(), 1))(t)
		lines, done := following(t.Context(), viewer, id)
		step <- "before"
		next(t, lines, "before")
		b.Fail("Get", 100, fault.Refused)
		time.Sleep(time.Minute)
		step <- "meanwhile"
		next(t, lines, "meanwhile")
		close(step)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
