package runtime_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// A lateStore holds up the inserts of fires, once they have begun.
type lateStore struct {
	backend.Store
	until chan struct{}
	held  *atomic.Int64
}

func (s lateStore) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	if strings.HasPrefix(tasks[0].Task.ID, "job/") {
		s.held.Add(1)
		select {
		case <-s.until:
		case <-ctx.Done():
			return nil, backend.NewError(backend.ErrDeadlineExceeded, "late").With(backend.OutcomeUnknown)
		}
	}
	return s.Store.Insert(ctx, tasks)
}

// A scheduler has decided a fire and is about to submit it while another process disables or removes the job: nothing is
// submitted after that has returned.
func TestNoFireIsSubmittedOnceItsJobIsDisabled(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*af.App, context.Context, string) error
	}{{"disabled", (*af.App).DisableJob}, {"removed", (*af.App).RemoveJob}} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				world := memory.New()
				late := lateStore{until: make(chan struct{}), held: &atomic.Int64{}}
				var ran atomic.Int64
				scheduler, q := work(t, altered{world, func(p *backend.Ports) {
					late.Store = p.Store
					p.Store = late
				}}, jobWorker, func(context.Context, int) (int, error) { ran.Add(1); return 0, nil })
				other := open(t, world, af.NoScheduler())
				start(t, other)
				must(0, q.Schedule(t.Context(), "a", "@every 10s", 1))(t)
				for late.held.Load() == 0 {
					time.Sleep(100 * time.Millisecond)
				}
				must(0, c.end(other, t.Context(), "a"))(t)
				before := must(other.Tasks(t.Context(), af.TaskQuery{Statuses: []af.Status{af.StatusWaiting, af.StatusPending, af.StatusRunning, af.StatusSuccess}}))(t)
				close(late.until)
				time.Sleep(time.Minute)
				synctest.Wait()
				if n := ran.Load(); n != 0 || before.Total != 0 {
					t.Errorf("%d ran, %d were there", n, before.Total)
				}
				page := must(other.Tasks(t.Context(), af.TaskQuery{Queue: jobWorker.Name}))(t)
				for _, task := range page.Tasks {
					if task.Status != af.StatusStopped {
						t.Errorf("%+v", task)
					}
				}
				must(0, c.end(other, t.Context(), "a"))(t) // again is harmless
				if c.name == "disabled" {
					must(0, other.EnableJob(t.Context(), "a"))(t)
					time.Sleep(15 * time.Second)
					if ran.Load() == 0 {
						t.Error("enabled, it does not fire")
					}
				}
				_ = scheduler
			})
		})
	}
}
