package runtime_test

import (
	"context"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// If the transport detects the death of a process and delivers the hints of its tasks again, they run elsewhere within
// 1.75 s. This holds for kills at any time between two heartbeats and two checks of the failure detector.
func TestTaskOfKilledProcessRunsAgainWithinTwoSeconds(t *testing.T) {
	for step := range 8 {
		bubble.Test(t, func(t *testing.T) {
			world := fault.Around(memory.New(memory.HintIDs(4096)))
			victim, q := process(t, world, fault.Plan{}, jobWorker, func(ctx context.Context, n int) (int, error) {
				<-ctx.Done()
				return n, nil
			})
			time.Sleep(time.Duration(step) * 130 * time.Millisecond) // the offset between the heartbeats of the two processes
			again := make(chan time.Time, 1)
			id := must(q.Submit(t.Context(), 1))(t)
			time.Sleep(2 * time.Second)
			_, other := work(t, world, jobWorker, func(context.Context, int) (int, error) {
				again <- time.Now()
				return 1, nil
			})
			time.Sleep(3*time.Second + time.Duration(step)*70*time.Millisecond)
			killed := time.Now()
			victim.Crash()
			took := (<-again).Sub(killed)
			if took > 1750*time.Millisecond || took < time.Second {
				t.Errorf("ran again %v after the kill", took)
			}
			t.Log(took)
			if task := must(other.Get(t.Context(), id))(t); task.Crashes != 0 {
				t.Errorf("%d crashes", task.Crashes)
			}
		})
	}
}

// Suspected tasks run one after another without a pause, even if the pools of other queues poll at the same time.
func TestSuspectedTasksRunWithoutPause(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		w := jobWorker
		w.Max = 5
		victim, q := process(t, world, fault.Plan{}, w, func(ctx context.Context, n int) (int, error) {
			<-ctx.Done()
			return n, ctx.Err()
		})
		ids := must(q.SubmitMany(t.Context(), make([]int, 5)))(t)
		time.Sleep(1200 * time.Millisecond)
		app := open(t, fault.New(world, 2, fault.Plan{}))
		var begun []time.Time
		af.RegisterWorker(app, w, &job{func(_ context.Context, n int) (int, error) {
			begun = append(begun, time.Now()) // one at a time
			time.Sleep(3 * time.Second)
			return n, nil
		}})
		for _, name := range []string{"a", "b", "c", "y", "z"} {
			other := w
			other.Name, other.Type = name, "Other"+name
			af.RegisterWorker(app, other, &job{same})
		}
		start(t, app)
		victim.Crash()
		for _, id := range ids {
			must(af.NewQueue[int, int](app, w).Wait(t.Context(), id))(t)
		}
		for i := 1; i < len(begun); i++ {
			if gap := begun[i].Sub(begun[i-1]); gap > 3100*time.Millisecond {
				t.Errorf("suspected task %d began %v after the previous one", i+1, gap)
			}
		}
		if len(begun) != len(ids) {
			t.Errorf("%d runs", len(begun))
		}
	})
}
