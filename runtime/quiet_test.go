package runtime_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// promotions counts the requests that look for tasks to promote.
type promotions struct {
	backend.Backend
	promote, promotable atomic.Int64
}

type promotionStore struct {
	backend.Store
	counts *promotions
}

func (s promotionStore) Promote(
	ctx context.Context, queue string, max int,
) ([]string, []backend.Task, time.Duration, error) {
	s.counts.promote.Add(1)
	return s.Store.Promote(ctx, queue, max)
}

func (s promotionStore) Promotable(ctx context.Context, queues []string, within time.Duration) ([]string, error) {
	s.counts.promotable.Add(1)
	return s.Store.Promotable(ctx, queues, within)
}

func (w *promotions) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := w.Backend.Open(ctx, env)
	if err == nil {
		ports.Store = promotionStore{ports.Store, w}
	}
	return ports, err
}

// An App with quiet queues watches all of them by one request a second, even if tasks are due later. They start as
// punctually as those of busy queues.
func TestQuietQueuesAreWatchedTogether(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := &promotions{Backend: memory.New()}
		app := open(t, b)
		started := make(chan time.Time, 1)
		queues := make([]af.Queue[int, int], 5)
		for i := range queues {
			w := jobWorker
			w.Name = fmt.Sprint("job", i)
			af.RegisterWorker(app, w, &job{func(context.Context, int) (int, error) {
				started <- time.Now()
				return 0, nil
			}})
			queues[i] = af.NewQueue[int, int](app, w)
		}
		start(t, app)
		time.Sleep(5 * time.Second)
		due := time.Now().Add(10*time.Minute + 300*time.Millisecond)
		must(queues[1].Submit(t.Context(), 1, af.RunAt(due)))(t)
		b.promote.Store(0)
		b.promotable.Store(0)
		time.Sleep(time.Minute)
		if p, w := b.promote.Load(), b.promotable.Load(); p > 2 || w < 50 || w > 75 {
			t.Errorf("in a minute %d promotions and %d looks", p, w)
		}
		if d := (<-started).Sub(due); d != 0 {
			t.Errorf("started %v late", d)
		}
		now := time.Now()
		late := must(queues[2].Submit(t.Context(), 1, af.RunAt(now.Add(time.Hour)), af.Deadline(now.Add(time.Minute))))(t)
		time.Sleep(time.Minute + time.Millisecond)
		if got := must(queues[2].Get(t.Context(), late))(t); got.Status != backend.StatusFailed {
			t.Errorf("after its deadline the task is %s", got.Status)
		}
	})
}
