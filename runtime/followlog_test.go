package runtime_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

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
