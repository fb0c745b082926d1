package runtime_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// Due times are by the store's clock. Processes whose clocks are an hour off, or differ, fire the same ones.
func TestDueTimesUseTheStoresClock(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		inner := memory.New()
		ahead := &shifted{Backend: inner, by: func() time.Duration { return 90 * time.Minute }}
		from := time.Now().Add(90 * time.Minute)
		for range 2 {
			_, q := work(t, ahead, jobWorker, func(_ context.Context, n int) (int, error) { return n, nil })
			must(0, q.Schedule(t.Context(), "j", "*/30 * * * *", 1))(t)
		}
		time.Sleep(61 * time.Minute)
		wantFires(t, jobTasks(t, inner, "job"), "j", from, 1800, 3600)
	})
}

// If the store's clock is set back by an hour and forward again, no due time is fired twice or lost.
func TestDueTimesIfTheStoresClockIsSet(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		inner := memory.New()
		var by atomic.Int64
		b := &shifted{Backend: inner, by: func() time.Duration { return time.Duration(by.Load()) }}
		app, q := work(t, b, jobWorker, func(_ context.Context, n int) (int, error) { return n, nil })
		from := time.Now()
		must(0, q.Schedule(t.Context(), "j", "*/10 * * * *", 1, af.Missed(af.MissedAll)))(t)
		time.Sleep(25 * time.Minute)
		by.Store(-int64(time.Hour))
		must(0, app.DisableJob(t.Context(), "j"))(t)
		must(0, app.EnableJob(t.Context(), "j"))(t)
		if j := must(app.Job(t.Context(), "j"))(t); !j.Next.Equal(from.Add(30 * time.Minute)) {
			t.Errorf("next at %v", j.Next)
		}
		time.Sleep(10 * time.Minute)
		wantFires(t, jobTasks(t, inner, "job"), "j", from, 600, 1200)
		by.Store(int64(time.Hour))
		time.Sleep(6 * time.Minute)
		wantFires(t, jobTasks(t, inner, "job"), "j", from, eachSecond(600, 6000, 600)...)
	})
}

// shifted is a backend whose clock differs from this process's.
type shifted struct {
	af.Backend
	by func() time.Duration
}

func (s *shifted) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := s.Backend.Open(ctx, env)
	if err == nil {
		ports.Store = shiftedStore{ports.Store, s.by}
	}
	return ports, err
}

type shiftedStore struct {
	backend.Store
	by func() time.Duration
}

func (s shiftedStore) Now(ctx context.Context) (time.Time, error) {
	now, err := s.Store.Now(ctx)
	return now.Add(s.by()), err
}

// If the task of a fire has ended and was purged, it is not submitted again, even by another leader.
func TestPurgedFireIsNotFiredAgain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := memory.New()
		var runs atomic.Int32
		run := func(_ context.Context, n int) (int, error) { runs.Add(1); return n, nil }
		app, q := work(t, b, jobWorker, run, af.Retention(time.Second, 1))
		must(0, q.Schedule(t.Context(), "j", "0 * * * * *", 1, af.Missed(af.MissedAll)))(t)
		time.Sleep(10*time.Minute - time.Second)
		shutScheduler(t, app)
		work(t, b, jobWorker, run, af.Retention(time.Second, 1))
		time.Sleep(30 * time.Second)
		if n, left := runs.Load(), len(jobTasks(t, b, "job")); n != 10 || left > 2 {
			t.Errorf("%d runs, want 10; %d tasks left", n, left)
		}
	})
}

func shutScheduler(t *testing.T, app *af.App) {
	t.Helper()
	if err := app.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A scheduler dies after it has inserted the task of a fire, before or after it has added the fire to the history. The
// task ends and is purged before another scheduler continues: this one does not insert the task again.
func TestPurgedFireOfDeadSchedulerIsNotFiredAgain(t *testing.T) {
	for _, overlap := range []af.OverlapPolicy{af.OverlapAllow, af.OverlapSkip, af.OverlapQueue} {
		for writes, died := range []string{1: "before_history", 2: "after_history"} {
			if died == "" {
				continue
			}
			t.Run(fmt.Sprint(overlap, "/", died), func(t *testing.T) {
				bubble.Test(t, func(t *testing.T) {
					world := fault.Around(memory.New())
					var runs atomic.Int32
					run := func(_ context.Context, n int) (int, error) { runs.Add(1); return n, nil }
					app, q := work(t, world, jobWorker, run, af.Retention(time.Second, 1), af.NoScheduler())
					dying := &crashing{Backend: fault.New(world, 1, fault.Plan{}), op: "Docs.PutAll"}
					start(t, open(t, dying))
					must(0, q.Schedule(t.Context(), "j", "@every 1h", 1, af.Overlap(overlap)))(t)
					from := time.Now()
					time.Sleep(time.Hour - time.Second)
					dying.after.Store(int32(writes + 1))
					time.Sleep(2 * time.Second)
					<-dying.Dead()
					time.Sleep(10 * time.Minute)
					if left := jobTasks(t, world, "job"); runs.Load() != 1 || len(left) > 0 {
						t.Fatalf("%d runs, want 1; not purged: %v", runs.Load(), left)
					}
					must(0, app.StartScheduler(t.Context()))(t)
					time.Sleep(time.Minute)
					if n := runs.Load(); n != 1 {
						t.Errorf("%d runs of one due time", n)
					}
					time.Sleep(time.Until(from.Add(2*time.Hour + time.Minute)))
					if n := runs.Load(); n != 2 {
						t.Errorf("%d runs of two due times", n)
					}
					if n := len(must(app.Fires(t.Context(), af.FireQuery{Job: "j"}))(t).Fires); n != 2 {
						t.Errorf("%d fires in the history, want 2", n)
					}
					for _, v := range world.Log().CheckJobs() {
						t.Error(v)
					}
				})
			})
		}
	}
}
