package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/fault"
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

// wantFires checks that a job has a task for each of these seconds, relative to from, and no others.
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
	bubble(t, func(t *testing.T) {
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
		if want := from.Add(70 * time.Second).UTC(); !j.Next.Equal(want) || j.Zone != "UTC" || j.Queue != "job" || !j.Fired.Equal(from.Add(time.Minute)) {
			t.Errorf("%+v, want it next at %v", j, want)
		}
	})
}

// Two Apps fire side by side, both as leaders where they know of no other, and every due time makes one task.
func TestTwoSchedulersMakeOneTaskOfADueTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		from := time.Now()
		for i := range 2 {
			b := fault.New(world, uint64(i), fault.Plan{})
			b.Fail("Present", 1000, fault.Refused) // each takes itself for the leader
			_, q := work(t, b, jobWorker, func(_ context.Context, n int) (int, error) { return n, nil })
			if err := q.Schedule(t.Context(), "j", "@every 1s", 1); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(30500 * time.Millisecond)
		wantFires(t, jobTasks(t, world, "job"), "j", from, eachSecond(1, 30, 1)...)
	})
}

// The leader dies at each of its steps, or its reply is lost: another goes on, within seconds, and no due time is
// missing.
func TestLeaderThatDiesBetweenStepsLeavesNothingUndone(t *testing.T) {
	for _, op := range []string{"Now", "Docs.List", "Docs.PutIf", "Insert", "Docs.Get", "Get"} {
		for skip := range 3 {
			t.Run(fmt.Sprint(op, skip), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					world := fault.Around(memory.New())
					leader := &stumbling{Backend: fault.New(world, 1, fault.Plan{}), op: op}
					app := open(t, leader, af.Lease(3*time.Second))
					q := af.NewQueue[int, int](app, jobWorker)
					start(t, app)
					from := time.Now()
					if err := q.Schedule(t.Context(), "j", "@every 1s", 1, af.Overlap(af.OverlapQueue)); err != nil {
						t.Fatal(err)
					}
					followLeader(t, app, fault.New(world, 2, fault.Plan{}), af.Lease(3*time.Second))
					time.Sleep(2500 * time.Millisecond)
					leader.after.Store(int32(skip + 1))
					time.Sleep(22 * time.Second)
					select {
					case <-leader.Dead():
					default:
						t.Fatal("it lives")
					}
					tasks := jobTasks(t, world, "job")
					for s := 21; s < 30; s++ { // those who follow are 2 s late as long as the dead one counts as present
						delete(tasks, fmt.Sprint("job/j/", from.Unix()+int64(s)))
					}
					wantFires(t, tasks, "j", from, eachSecond(1, 20, 1)...)
				})
			})
		}
	}
}

// followLeader starts an App with a worker beside one that leads, and returns its queue.
func followLeader(t *testing.T, leader *af.App, b af.Backend, opts ...af.AppOption) af.Queue[int, int] {
	t.Helper()
	for {
		app := open(t, b, opts...)
		if app.Instance().ID < leader.Instance().ID {
			shutScheduler(t, app)
			continue
		}
		af.RegisterWorker(app, jobWorker, &job{func(_ context.Context, n int) (int, error) { return n, nil }})
		start(t, app)
		return af.NewQueue[int, int](app, jobWorker)
	}
}

// stumbling dies at a call of one operation, once after is set: at the first, the second, ….
type stumbling struct {
	*fault.Backend
	op    string
	after atomic.Int32
}

func (s *stumbling) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := s.Backend.Open(ctx, env)
	if err == nil {
		ports.Store = stumblingStore{ports.Store, s}
		ports.Docs = stumblingDocs{ports.Docs, s}
	}
	return ports, err
}

func (s *stumbling) step(op string) {
	if op == s.op && s.after.Load() > 0 && s.after.Add(-1) == 0 {
		s.Crash()
	}
}

type stumblingStore struct {
	backend.Store
	s *stumbling
}

func (x stumblingStore) Now(ctx context.Context) (time.Time, error) {
	x.s.step("Now")
	return x.Store.Now(ctx)
}

func (x stumblingStore) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	x.s.step("Insert")
	return x.Store.Insert(ctx, tasks)
}

func (x stumblingStore) Get(ctx context.Context, id string) (backend.Task, error) {
	x.s.step("Get")
	return x.Store.Get(ctx, id)
}

type stumblingDocs struct {
	backend.Docs
	s *stumbling
}

func (x stumblingDocs) PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error) {
	x.s.step("Docs.PutIf")
	return x.Docs.PutIf(ctx, name, rev, value)
}

func (x stumblingDocs) List(ctx context.Context, prefix string) ([]backend.Doc, error) {
	x.s.step("Docs.List")
	return x.Docs.List(ctx, prefix)
}

func (x stumblingDocs) Get(ctx context.Context, name string) (backend.Doc, error) {
	x.s.step("Docs.Get")
	return x.Docs.Get(ctx, name)
}

// Requests are refused, replies lost, calls repeated much later; processes die and come back; the one that leads hangs.
// A job every second has one task for each.
func TestStormLosesNoDueTimeAndDoublesNone(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				world := fault.Around(memory.New())
				r := rand.New(rand.NewPCG(seed, 1))
				plan := fault.Plan{Refuse: .05, LoseReply: .1, Repeat: .1, Delay: .2, MostDelay: 2 * time.Second}
				calm := open(t, world)
				start(t, calm)
				must(0, calm.StopScheduler(t.Context()))(t)
				from := time.Now()
				q := af.NewQueue[int, int](calm, jobWorker)
				if err := q.Schedule(t.Context(), "j", "@every 1s", 1, af.Missed(af.MissedAll)); err != nil {
					t.Fatal(err)
				}
				for life := 0; time.Since(from) < time.Minute; life++ {
					b := fault.New(world, seed<<8+uint64(life), plan)
					app, err := af.Open(t.Context(), b, af.Lease(3*time.Second))
					if err != nil {
						continue
					}
					af.RegisterWorker(app, jobWorker, &job{func(_ context.Context, n int) (int, error) { return n, nil }})
					stop := func() {
						ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Second)
						defer cancel()
						_ = app.Shutdown(ctx) // of a process that may be dead
					}
					if err := app.Start(t.Context()); err != nil {
						stop()
						continue
					}
					time.Sleep(time.Duration(r.IntN(8000)) * time.Millisecond)
					if r.IntN(2) == 0 {
						b.Freeze()
						time.AfterFunc(time.Duration(r.IntN(20))*time.Second, b.Thaw)
					} else {
						b.Crash()
					}
					go stop()
				}
				must(0, calm.StartScheduler(t.Context()))(t)
				end := from.Add(90 * time.Second)
				time.Sleep(time.Until(end) + 500*time.Millisecond)
				wantFires(t, jobTasks(t, world, "job"), "j", from, eachSecond(1, 90, 1)...)
				for _, f := range must(calm.Fires(t.Context(), af.FireQuery{Job: "j", Limit: 1000}))(t).Fires {
					if f.Skipped != "" {
						t.Errorf("%+v", f)
					}
				}
				time.Sleep(time.Minute) // what is frozen thaws
			})
		})
	}
}

// What nobody was there to fire comes to what the policy says.
func TestMissedDueTimes(t *testing.T) {
	for name, c := range map[string]struct {
		cron    string
		opts    []af.JobOption
		fired   []int
		skipped int
	}{
		"skip":            {"*/2 * * * *", []af.JobOption{af.Missed(af.MissedSkip)}, nil, 5},
		"once":            {"*/2 * * * *", nil, []int{600}, 4},
		"all":             {"*/2 * * * *", []af.JobOption{af.Missed(af.MissedAll)}, []int{120, 240, 360, 480, 600}, 0},
		"window":          {"*/2 * * * *", []af.JobOption{af.MissedWindow(5 * time.Minute)}, []int{480, 600}, 3},
		"skip, just due":  {"*/1 * * * *", []af.JobOption{af.Missed(af.MissedSkip)}, []int{660}, 10},
		"once, just due":  {"*/1 * * * *", nil, []int{660}, 10},
		"all, often":      {"* * * * * *", []af.JobOption{af.Missed(af.MissedAll)}, eachSecond(1, 661, 1), 0},
		"once, every day": {"0 0 * * *", nil, nil, 0},
		"none waits":      {"@every 1h", []af.JobOption{af.Missed(af.MissedAll)}, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
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

// The task of each due time takes 25 s, the job is due every 10.
func TestOverlappingTasks(t *testing.T) {
	for policy, want := range map[af.OverlapPolicy]struct{ fired, began []int }{
		af.OverlapAllow: {eachSecond(10, 100, 10), eachSecond(10, 100, 10)},
		af.OverlapSkip:  {[]int{10, 40, 70, 100}, []int{10, 40, 70, 100}},
		af.OverlapQueue: {[]int{10, 20, 30, 40}, []int{10, 34, 59, 84}},
	} {
		t.Run(string(policy), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := memory.New()
				from := time.Now()
				var mu sync.Mutex
				var began []int
				app, q := work(t, b, jobWorker, func(ctx context.Context, n int) (int, error) {
					mu.Lock()
					began = append(began, int(time.Since(from)/time.Second))
					mu.Unlock()
					select {
					case <-time.After(24900 * time.Millisecond):
					case <-ctx.Done():
					}
					return n, nil
				})
				if err := q.Schedule(t.Context(), "j", "@every 10s", 1, af.Overlap(policy)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(101*time.Second - time.Since(from))
				wantFires(t, jobTasks(t, b, "job"), "j", from, want.fired...)
				mu.Lock()
				if !slices.Equal(began, want.began) {
					t.Errorf("began at %v, want %v", began, want.began)
				}
				mu.Unlock()
				fires := must(app.Fires(t.Context(), af.FireQuery{Job: "j"}))(t)
				if j := must(app.Job(t.Context(), "j"))(t); fires.Total+j.Waiting != 10 {
					t.Errorf("%d fires noted and %d wait, of 10", fires.Total, j.Waiting)
				}
				must(0, app.DisableJob(t.Context(), "j"))(t)
			})
		})
	}
}

// A job is disabled, enabled, run by hand and removed, and its history tells.
func TestJobIsOperated(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := memory.New()
		app, q := work(t, b, jobWorker, func(_ context.Context, n int) (int, error) { return n, nil })
		from := time.Now()
		ctx := t.Context()
		must(0, q.Schedule(ctx, "a", "@every 10s", 1))(t)
		must(0, q.Schedule(ctx, "b", "0 30 4 * * *", 2, af.Disabled(), af.Zone("Europe/Berlin"), af.AllowIPs("10.0.0.9/8", "::1")))(t)
		time.Sleep(25 * time.Second)
		must(0, app.DisableJob(ctx, "a"))(t)
		time.Sleep(time.Minute)
		hand := must(app.RunJob(ctx, "a"))(t)
		must(0, app.EnableJob(ctx, "a"))(t)
		time.Sleep(10 * time.Second)
		tasks := jobTasks(t, b, "job")
		if tasks[hand].Status != af.StatusSuccess || string(tasks[hand].Payload) != "1" {
			t.Errorf("by hand: %+v", tasks[hand])
		}
		delete(tasks, hand)
		wantFires(t, tasks, "a", from, 10, 20, 90) // nothing was missed meanwhile

		first := must(app.Fires(ctx, af.FireQuery{Job: "a", Limit: 3}))(t)
		rest := must(app.Fires(ctx, af.FireQuery{Job: "a", Limit: 3, Cursor: first.Cursor}))(t)
		var got []string
		for _, f := range append(first.Fires, rest.Fires...) {
			got = append(got, f.TaskID)
		}
		want := []string{fmt.Sprint("job/a/", from.Unix()+90), hand, fmt.Sprint("job/a/", from.Unix()+20), fmt.Sprint("job/a/", from.Unix()+10)}
		if !slices.Equal(got, want) || first.Total != 4 || rest.Cursor != "" {
			t.Errorf("history %v, want %v; %+v", got, want, rest)
		}

		page := must(app.Jobs(ctx, af.JobQuery{Limit: 1, Sort: af.JobsByNext}))(t)
		if page.Total != 2 || page.Jobs[0].ID != "a" {
			t.Errorf("%+v", page)
		}
		page = must(app.Jobs(ctx, af.JobQuery{Limit: 1, Sort: af.JobsByNext, Cursor: page.Cursor}))(t)
		if j := page.Jobs[0]; j.ID != "b" || !j.Next.IsZero() || !j.Disabled || j.Zone != "Europe/Berlin" || !slices.Equal(j.Allow, []string{"10.0.0.0/8", "::1"}) {
			t.Errorf("%+v", page)
		}
		no := false
		if page := must(app.Jobs(ctx, af.JobQuery{Disabled: &no}))(t); len(page.Jobs) != 1 {
			t.Errorf("enabled: %+v", page)
		}

		must(app.RunJob(ctx, "b"))(t)
		all := must(app.Fires(ctx, af.FireQuery{Limit: 4}))(t)
		if len(all.Fires) != 4 || all.Total != 5 || all.Fires[0].Job != "b" && all.Fires[1].Job != "b" || all.Cursor == "" {
			t.Errorf("of all jobs: %+v", all)
		}
		oldest := must(app.Fires(ctx, af.FireQuery{Job: "a", Sort: af.FiresOldest, Limit: 3}))(t)
		oldest.Fires = append(oldest.Fires, must(app.Fires(ctx, af.FireQuery{Job: "a", Sort: af.FiresOldest, Cursor: oldest.Cursor}))(t).Fires...)
		slices.Reverse(oldest.Fires)
		if got, want := oldest.Fires, append(first.Fires, rest.Fires...); oldest.Total != 4 || !reflect.DeepEqual(got, want) {
			t.Errorf("the oldest first: %+v, want the reverse of %+v", got, want)
		}
		if _, err := app.Fires(ctx, af.FireQuery{Sort: "best"}); !errors.Is(err, af.ErrInvalidArgument) {
			t.Errorf("another order: %v", err)
		}
		since := must(app.Fires(ctx, af.FireQuery{Job: "a", After: from.Add(time.Minute), Before: from.Add(88 * time.Second)}))(t)
		if since.Total != 1 || since.Fires[0].TaskID != hand {
			t.Errorf("of a minute: %+v", since)
		}

		must(0, app.RemoveJob(ctx, "a"))(t)
		must(0, app.RemoveJob(ctx, "a"))(t)
		time.Sleep(time.Minute)
		if n := len(jobTasks(t, b, "job")); n != 5 {
			t.Errorf("%d tasks after the removal, want 5", n)
		}
		for what, err := range map[string]error{
			"job":     errorOf(app.Job(ctx, "a")),
			"fires":   errorOf(app.Fires(ctx, af.FireQuery{Job: "a"})),
			"run":     errorOf(app.RunJob(ctx, "a")),
			"enable":  app.EnableJob(ctx, "a"),
			"disable": app.DisableJob(ctx, "a"),
		} {
			wantJobError(t, what, err, af.ErrNotFound)
		}
	})
}

func errorOf[T any](_ T, err error) error { return err }

func wantJobError(t *testing.T, what string, err error, code af.Code) {
	t.Helper()
	if af.CodeOf(err) != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

func TestJobThatMakesNoSenseIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		app, q := work(t, memory.New(), jobWorker, func(_ context.Context, n int) (int, error) { return n, nil })
		for _, c := range []struct {
			id, cron string
			opt      af.JobOption
			says     string
		}{
			{"", "* * * * *", nil, "an id has"},
			{strings.Repeat("x", 201), "* * * * *", nil, "an id has"},
			{"a", "* * * *", nil, "four of five"},
			{"a", "* * 30 2 *", nil, "never due"},
			{"a", "* * * * *", af.Zone("Mars/Olympus"), "no time zone"},
			{"a", "* * * * *", af.AllowIPs("localhost"), "neither an ip nor a network"},
			{"a", "* * * * *", af.Missed("sometimes"), "no missed-run policy"},
			{"a", "* * * * *", af.Overlap("sometimes"), "no overlap policy"},
			{"a", "* * * * *", af.MissedWindow(-1), "negative"},
		} {
			err := q.Schedule(t.Context(), c.id, c.cron, 1, c.opt)
			wantJobError(t, c.says, err, af.ErrInvalidArgument)
			if says := strings.Replace(c.says, "four", "4", 1); err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(says, "five")) {
				t.Errorf("%v, want it to say %q", err, c.says)
			}
		}
		if page := must(app.Jobs(t.Context(), af.JobQuery{}))(t); page.Total != 0 {
			t.Errorf("%+v", page)
		}
	})
}

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

// Only the instance at the address runs the job, at once, and the others do without claiming it.
func TestJobRunsOnlyWhereItMay(t *testing.T) {
	for name, opts := range map[string][]memory.Option{"hints without ids": nil, "hints with ids": {memory.HintIDs(4096)}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
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
	bubble(t, func(t *testing.T) {
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
		_ = app.StopScheduler(ended) // it may not wait
		must(0, app.StartScheduler(t.Context()))(t)
		time.Sleep(10 * time.Second)
		must(0, app.StopScheduler(t.Context()))(t)
		synctest.Wait()
		time.Sleep(time.Minute)
		wantFires(t, jobTasks(t, b, "job"), "j", from, 40, 50, 60, 70, 80) // what is no more than 30 s late was not missed
		closed := open(t, b)
		wantJobError(t, "before the start", closed.StartScheduler(t.Context()), af.ErrFailedPrecondition)
	})
}
