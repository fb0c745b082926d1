package runtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// jobTasks returns the tasks of a queue, by id.
func jobTasks(t *testing.T, b af.Backend, queue string) map[string]af.Task {
	t.Helper()
	ports := must(b.Open(t.Context(), backend.Env{Instance: af.Instance{ID: "auditor"}}))(t)
	defer func() { _ = ports.Close(t.Context()) }()
	all := map[string]af.Task{}
	for q := (backend.TaskQuery{Queue: queue, Limit: 1000}); ; {
		page := must(ports.Store.List(t.Context(), q))(t)
		for _, task := range page.Tasks {
			all[task.ID] = task
		}
		if q.Cursor = page.Cursor; q.Cursor == "" {
			return all
		}
	}
}

// wantFires checks that a job has tasks for the due times at these seconds after from, and no others.
func wantFires(t *testing.T, tasks map[string]af.Task, id string, from time.Time, seconds ...int) {
	t.Helper()
	var want, got []string
	for _, s := range seconds {
		want = append(want, fmt.Sprintf("job/%s/%d", id, from.Unix()+int64(s)))
	}
	for name := range tasks {
		if strings.HasPrefix(name, "job/"+id+"/") {
			got = append(got, name)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("fired %v, want %v", got, want)
	}
}

func eachSecond(from, to, step int) (list []int) {
	for s := from; s <= to; s += step {
		list = append(list, s)
	}
	return list
}

func TestJobIsFiredAtEachDueTime(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := memory.New()
		var at []time.Time
		var mu sync.Mutex
		app, q := work(t, b, jobWorker, func(_ context.Context, n int) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Now())
			return n, nil
		})
		from := time.Now()
		if err := q.Schedule(t.Context(), "often", "*/10 * * * * *", 7, af.Timeout(time.Minute)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(65 * time.Second)
		tasks := jobTasks(t, b, "job")
		wantFires(t, tasks, "often", from, 10, 20, 30, 40, 50, 60)
		mu.Lock()
		for i, ran := range at {
			if late := ran.Sub(from.Add(time.Duration(i+1) * 10 * time.Second)); late < 0 || late > 50*time.Millisecond {
				t.Errorf("run %d came %v after its due time", i, late)
			}
		}
		mu.Unlock()
		for _, task := range tasks {
			if string(task.Payload) != "7" || task.Status != af.StatusSuccess || task.Timeout != time.Minute {
				t.Errorf("%+v", task)
			}
		}
		j := must(app.Job(t.Context(), "often"))(t)
		if want := from.Add(70 * time.Second).UTC(); !j.Next.Equal(want) || j.Zone != "UTC" || j.Queue != "job" ||
			!j.Fired.Equal(from.Add(time.Minute)) {
			t.Errorf("%+v, want the next due time %v", j, want)
		}
	})
}

// Due times at which no scheduler was running are handled according to the policy.
func TestMissedDueTimes(t *testing.T) {
	for name, c := range map[string]struct {
		cron    string
		opts    []af.JobOption
		fired   []int
		skipped int
	}{
		"skip":           {"*/2 * * * *", []af.JobOption{af.Missed(af.MissedSkip)}, nil, 5},
		"once":           {"*/2 * * * *", nil, []int{600}, 4},
		"all":            {"*/2 * * * *", []af.JobOption{af.Missed(af.MissedAll)}, []int{120, 240, 360, 480, 600}, 0},
		"window":         {"*/2 * * * *", []af.JobOption{af.MissedWindow(5 * time.Minute)}, []int{480, 600}, 3},
		"skip_just_due":  {"*/1 * * * *", []af.JobOption{af.Missed(af.MissedSkip)}, []int{660}, 10},
		"once_just_due":  {"*/1 * * * *", nil, []int{660}, 10},
		"all_often":      {"* * * * * *", []af.JobOption{af.Missed(af.MissedAll)}, eachSecond(1, 661, 1), 0},
		"once_every_day": {"0 0 * * *", nil, nil, 0},
		"none_waits":     {"@every 1h", []af.JobOption{af.Missed(af.MissedAll)}, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				b := memory.New()
				app := open(t, b, af.NoScheduler())
				start(t, app)
				from := time.Now()
				if err := af.NewQueue[int, int](app, jobWorker).Schedule(t.Context(), "j", c.cron, 1, c.opts...); err != nil {
					t.Fatal(err)
				}
				time.Sleep(11*time.Minute + 1500*time.Millisecond - time.Since(from))
				must(0, app.StartScheduler(t.Context()))(t)
				time.Sleep(400 * time.Millisecond)
				wantFires(t, jobTasks(t, b, "job"), "j", from, c.fired...)
				skipped := 0
				for _, f := range must(app.Fires(t.Context(), af.FireQuery{Job: "j", Limit: 1000}))(t).Fires {
					if f.Skipped != "" {
						skipped += f.More + 1
					}
				}
				if skipped != c.skipped {
					t.Errorf("%d skipped, want %d", skipped, c.skipped)
				}
			})
		})
	}
}

// workLong starts an App whose tasks take 25 s. began returns when they began, in seconds from now.
func workLong(t *testing.T, b af.Backend) (_ *af.App, _ af.Queue[int, int], began func() []int) {
	t.Helper()
	from := time.Now()
	var mu sync.Mutex
	var seconds []int
	app, q := work(t, b, jobWorker, func(ctx context.Context, n int) (int, error) {
		mu.Lock()
		seconds = append(seconds, int(time.Since(from)/time.Second))
		mu.Unlock()
		select {
		case <-time.After(24900 * time.Millisecond):
		case <-ctx.Done():
		}
		return n, nil
	})
	return app, q, func() []int {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seconds)
	}
}

// The task of each due time takes 25 s, and the job is due every 10 s.
func TestOverlappingTasks(t *testing.T) {
	for policy, want := range map[af.OverlapPolicy]struct{ fired, began []int }{
		af.OverlapAllow: {eachSecond(10, 100, 10), eachSecond(10, 100, 10)},
		af.OverlapSkip:  {[]int{10, 40, 70, 100}, []int{10, 40, 70, 100}},
		af.OverlapQueue: {[]int{10, 20, 30, 40}, []int{10, 34, 59, 84}},
	} {
		t.Run(string(policy), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				b := memory.New()
				from := time.Now()
				app, q, began := workLong(t, b)
				if err := q.Schedule(t.Context(), "j", "@every 10s", 1, af.Overlap(policy)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(101*time.Second - time.Since(from))
				wantFires(t, jobTasks(t, b, "job"), "j", from, want.fired...)
				if began := began(); !slices.Equal(began, want.began) {
					t.Errorf("began at %v, want %v", began, want.began)
				}
				fires := must(app.Fires(t.Context(), af.FireQuery{Job: "j"}))(t)
				if j := must(app.Job(t.Context(), "j"))(t); fires.Total+j.Waiting != 10 {
					t.Errorf("%d fires in the history and %d waiting, want 10 together", fires.Total, j.Waiting)
				}
				must(0, app.DisableJob(t.Context(), "j"))(t)
			})
		})
	}
}

// The tasks of a job take 25 s and may overlap. When the job gets another policy, those that run count, also if they were
// submitted manually.
func TestOverlapCountsTasksOfBefore(t *testing.T) {
	for _, tt := range []struct {
		name     string
		policy   af.OverlapPolicy
		manually bool
		began    []int
	}{
		{"skip", af.OverlapSkip, false, []int{10, 20, 30, 60}},
		{"queue", af.OverlapQueue, false, []int{10, 20, 30, 54}},
		{"skip_manual", af.OverlapSkip, true, []int{10, 20, 30, 55}}, // the new times are counted from 35 on
		{"queue_manual", af.OverlapQueue, true, []int{10, 20, 30, 54}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				from := time.Now()
				until := func(seconds int) { time.Sleep(time.Duration(seconds)*time.Second - time.Since(from)) }
				app, q, began := workLong(t, memory.New())
				if tt.manually {
					must(0, q.Schedule(t.Context(), "j", "@every 1h", 1))(t)
					for i := range 3 {
						until(10 * (i + 1))
						must(app.RunJob(t.Context(), "j"))(t)
					}
				} else {
					must(0, q.Schedule(t.Context(), "j", "@every 10s", 1))(t)
				}
				until(35)
				must(0, q.Schedule(t.Context(), "j", "@every 10s", 1, af.Overlap(tt.policy)))(t)
				until(61)
				if began := began(); !slices.Equal(began, tt.began) {
					t.Errorf("began at %v, want %v", began, tt.began)
				}
			})
		})
	}
}

// A history that can't be read does not hold up a change of the policy.
func TestOverlapChangesWithDamagedHistory(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		_, q, _ := workLong(t, world)
		must(0, q.Schedule(t.Context(), "j", "@every 10s", 1))(t)
		time.Sleep(15 * time.Second)
		ports := must(world.Open(t.Context(), backend.Env{Instance: af.Instance{ID: "other"}}))(t)
		damaged := must(ports.Docs.Get(t.Context(), "fires/j"))(t)
		must(ports.Docs.PutIf(t.Context(), damaged.Name, damaged.Revision, json.RawMessage(`[]`)))(t)
		must(0, ports.Close(t.Context()))(t)
		must(0, q.Schedule(t.Context(), "j", "@every 10s", 1, af.Overlap(af.OverlapSkip)))(t)
	})
}

// Only the instance with an allowed address runs the job, without delay. Others do not claim it.
func TestJobRunsOnAllowedInstance(t *testing.T) {
	for name, opts := range map[string][]memory.Option{"hints_without_ids": nil,
		"hints_with_ids": {memory.HintIDs(4096)}} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				b := memory.New(opts...)
				var mu sync.Mutex
				ran := map[string]int{}
				var late time.Duration
				var q af.Queue[int, int]
				for _, ip := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} {
					_, q = work(t, b, jobWorker, func(ctx context.Context, n int) (int, error) {
						mu.Lock()
						defer mu.Unlock()
						ran[af.InstanceFrom(ctx).IP]++
						late = max(late, time.Duration(time.Now().Nanosecond()))
						return n, nil
					}, af.IP(ip))
				}
				must(0, q.Schedule(t.Context(), "j", "@every 10s", 1, af.AllowIPs("10.0.0.2", "192.168.0.0/16")))(t)
				time.Sleep(101 * time.Second)
				mu.Lock()
				defer mu.Unlock()
				if len(ran) != 1 || ran["10.0.0.2"] != 10 || late > 500*time.Millisecond {
					t.Errorf("ran at %v, %v late", ran, late)
				}
			})
		})
	}
}

func TestSchedulerIsStoppedAndStarted(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := memory.New()
		app, q := work(t, b, jobWorker, func(_ context.Context, n int) (int, error) { return n, nil }, af.NoScheduler())
		from := time.Now()
		must(0, q.Schedule(t.Context(), "j", "@every 10s", 1, af.Missed(af.MissedSkip)))(t)
		time.Sleep(65 * time.Second)
		must(0, app.StopScheduler(t.Context()))(t)
		must(0, app.StartScheduler(t.Context()))(t)
		must(0, app.StartScheduler(t.Context()))(t)
		time.Sleep(10 * time.Second)
		must(0, app.StopScheduler(t.Context()))(t)
		must(0, app.StopScheduler(t.Context()))(t)
		must(0, app.StartScheduler(t.Context()))(t)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_ = app.StopScheduler(ended) // ctx has ended, so it does not wait
		must(0, app.StartScheduler(t.Context()))(t)
		time.Sleep(10 * time.Second)
		must(0, app.StopScheduler(t.Context()))(t)
		synctest.Wait()
		time.Sleep(time.Minute)
		wantFires(t, jobTasks(t, b, "job"), "j", from, 40, 50, 60, 70, 80) // due times up to 30 s late are not missed
		closed := open(t, b)
		wantJobError(t, "before the start", closed.StartScheduler(t.Context()), af.ErrFailedPrecondition)
	})
}
