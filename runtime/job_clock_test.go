package runtime_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// Due times are the store's: a process whose clock is an hour off, or two of which each has its own, fire the same.
func TestDueTimesFollowTheStoresClock(t *testing.T) {
	bubble(t, func(t *testing.T) {
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

// The store's clock is set back by an hour, and forward again: no due time is fired twice, and none is lost.
func TestDueTimesOfAStoreWhoseClockIsSet(t *testing.T) {
	bubble(t, func(t *testing.T) {
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

// shifted is a backend whose clock is another than this process's.
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

// A fire's task that has ended and was purged is not made again, whoever leads afterwards.
func TestPurgedFireIsNotFiredAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
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
			t.Errorf("%d runs, want 10; %d tasks are left", n, left)
		}
	})
}

func shutScheduler(t *testing.T, app *af.App) {
	t.Helper()
	if err := app.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}
