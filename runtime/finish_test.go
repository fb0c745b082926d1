package runtime_test

import (
	"context"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// If the store does not accept results during a shutdown, their claims are released uncharged.
func TestShutdownReleasesTasksWithUnwrittenResults(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		b := fault.New(world, 1, fault.Plan{})
		app, q := work(t, b, jobWorker, func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			return 0, context.Cause(ctx)
		})
		id := must(q.Submit(t.Context(), 1))(t)
		time.Sleep(time.Second)
		b.Fail("Settle", 1, fault.Hung)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := app.Shutdown(ctx); err == nil {
			t.Error("no error for results that were not written")
		}
		_, other := process(t, world, fault.Plan{}, jobWorker, same)
		must(other.Wait(t.Context(), id))(t)
		if task := must(other.Get(t.Context(), id))(t); task.Crashes != 0 || task.Attempt != 1 {
			t.Errorf("%d crashes, attempt %d", task.Crashes, task.Attempt)
		}
	})
}
