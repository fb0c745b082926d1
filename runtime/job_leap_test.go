package runtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// If the store's clock is wrong for three seconds, either way, no job is fired early, and none is late afterwards.
func TestClockLeapFiresNoJob(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		inner := memory.New()
		var by atomic.Int64
		b := &shifted{Backend: inner, by: func() time.Duration { return time.Duration(by.Load()) }}
		_, q := work(t, b, jobWorker, func(_ context.Context, n int) (int, error) { return n, nil })
		from := time.Now()
		must(0, q.Schedule(t.Context(), "j", "* * * * *", 1))(t)
		for i, leap := range []time.Duration{50 * 365 * 24 * time.Hour, -50 * 365 * 24 * time.Hour, 2 * time.Hour} {
			time.Sleep(time.Until(from.Add(time.Duration(i)*time.Minute + 30*time.Second)))
			by.Store(int64(leap))
			time.Sleep(3 * time.Second)
			by.Store(0)
		}
		time.Sleep(time.Until(from.Add(5*time.Minute + time.Second)))
		wantFires(t, jobTasks(t, inner, "job"), "j", from, eachSecond(60, 300, 60)...)
	})
}

// A scheduler that starts while the store's clock is decades ahead decides due times up to then. When the clock is
// right again, the job continues after a while, or at once if it is enabled.
func TestJobDecidedFarAheadContinues(t *testing.T) {
	for _, enable := range []bool{false, true} {
		t.Run(fmt.Sprintf("enabled=%v", enable), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				inner := memory.New()
				var by atomic.Int64
				by.Store(int64(30 * 365 * 24 * time.Hour))
				b := &shifted{Backend: inner, by: func() time.Duration { return time.Duration(by.Load()) }}
				run := func(_ context.Context, n int) (int, error) { return n, nil }
				app, q := work(t, b, jobWorker, run)
				must(0, q.Schedule(t.Context(), "j", "@every 20s", 1, af.Overlap(af.OverlapSkip)))(t)
				time.Sleep(time.Minute)
				shutScheduler(t, app)
				by.Store(0)
				if enable {
					app, _ = work(t, b, jobWorker, run, af.NoScheduler())
					must(0, app.EnableJob(t.Context(), "j"))(t)
				} else {
					app, _ = work(t, b, jobWorker, run)
					time.Sleep(time.Minute)
					if f := must(app.Fires(t.Context(), af.FireQuery{Job: "j"}))(t).Fires; len(f) < 4 {
						t.Errorf("%d fires", len(f))
					}
				}
				if next := time.Until(must(app.Job(t.Context(), "j"))(t).Next); next > 20*time.Second {
					t.Errorf("due in %v", next)
				}
			})
		})
	}
}

// Whatever times a job's document contains, schedulers fire the other jobs, the job continues, and a shutdown is not
// delayed.
func TestJobDocumentWithInvalidTimes(t *testing.T) {
	const least, most = "-9223372036854775808", "9223372036854775807"
	for name, values := range map[string][2]string{
		"none": {"0", "0"}, "year_1": {"-62135596800", "-62135596800"}, "least": {least, least}, "most": {most, most},
		"apart": {least, most}, "apart_too": {most, least},
	} {
		for schedule, cron := range map[string]string{"every_60s": "@every 60s", "minutes": "* * * * *",
			"leap_days": "0 0 29 2 *"} {
			t.Run(name+"/"+schedule, func(t *testing.T) {
				bubble.Test(t, func(t *testing.T) {
					b := memory.New()
					app, q := work(t, b, jobWorker, func(_ context.Context, n int) (int, error) { return n, nil })
					ports := must(b.Open(t.Context(), backend.Env{Instance: af.Instance{ID: "editor"}}))(t)
					defer func() { _ = ports.Close(t.Context()) }()
					value := fmt.Sprintf(`{"cron":%q,"queue":"job","payload":1,"weight":1,"missed":"once","overlap":"skip",
						"created":%s,"done":%s,"fired":%[3]s,"decided":%[3]s,"held":%[3]s,"live":["x"]}`, cron, values[0], values[1])
					must(ports.Docs.PutIf(t.Context(), "jobs/wrong", 0, json.RawMessage(value)))(t)
					must(0, q.Schedule(t.Context(), "right", "* * * * *", 1))(t)
					time.Sleep(3*time.Minute + time.Second)
					fires := must(app.Fires(t.Context(), af.FireQuery{Job: "right"}))(t)
					if len(fires.Fires) != 3 {
						t.Errorf("the other job has fired %d times", len(fires.Fires))
					}
					next := time.Until(must(app.Job(t.Context(), "wrong"))(t).Next)
					if most := map[byte]time.Duration{'0': 9 * 366 * 24 * time.Hour}[cron[0]]; next <= 0 ||
						next > max(most, time.Minute) {
						t.Errorf("due in %v", next)
					}
					began := time.Now()
					shutScheduler(t, app)
					if d := time.Since(began); d > time.Second {
						t.Errorf("the shutdown took %v", d)
					}
				})
			})
		}
	}
}
