package runtime_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// Two Apps both fire as leaders, since neither knows of the other. Each due time submits one task.
func TestTwoLeadersSubmitOneTaskPerDueTime(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		from := time.Now()
		for i := range 2 {
			b := fault.New(world, uint64(i), fault.Plan{})
			b.Fail("Present", 1000, fault.Refused) // both Apps consider themselves the leader
			_, q := work(t, b, jobWorker, func(_ context.Context, n int) (int, error) { return n, nil })
			if err := q.Schedule(t.Context(), "j", "@every 1s", 1); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(30500 * time.Millisecond)
		wantFires(t, jobTasks(t, world, "job"), "j", from, eachSecond(1, 30, 1)...)
	})
}

// If the leader dies or loses a reply at any of its steps, another App continues within seconds, and no due time is
// lost.
func TestLeaderDiesBetweenSteps(t *testing.T) {
	for _, op := range []string{"Now", "Docs.List", "Docs.PutAll", "Insert", "Docs.GetAll", "Statuses"} {
		for skip := range 3 {
			t.Run(fmt.Sprint(op, skip), func(t *testing.T) {
				bubble.Test(t, func(t *testing.T) {
					world := fault.Around(memory.New())
					leader := &crashing{Backend: fault.New(world, 1, fault.Plan{}), op: op}
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
						t.Fatal("the leader is still alive")
					}
					tasks := jobTasks(t, world, "job")
					for s := 21; s < 30; s++ { // a follower is 2 s late while the dead leader counts as present
						delete(tasks, fmt.Sprint("job/j/", from.Unix()+int64(s)))
					}
					wantFires(t, tasks, "j", from, eachSecond(1, 20, 1)...)
				})
			})
		}
	}
}

// followLeader starts another App with a worker while leader leads, and returns its queue.
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

// crashing is a backend that dies at the first, second or later call of one operation after after was set.
type crashing struct {
	*fault.Backend
	op    string
	after atomic.Int32
}

func (s *crashing) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := s.Backend.Open(ctx, env)
	if err == nil {
		ports.Store = crashingStore{ports.Store, s}
		ports.Docs = crashingDocs{ports.Docs, s}
	}
	return ports, err
}

func (s *crashing) step(op string) {
	if op == s.op && s.after.Load() > 0 && s.after.Add(-1) == 0 {
		s.Crash()
	}
}

type crashingStore struct {
	backend.Store
	s *crashing
}

func (x crashingStore) Now(ctx context.Context) (time.Time, error) {
	x.s.step("Now")
	return x.Store.Now(ctx)
}

func (x crashingStore) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	x.s.step("Insert")
	return x.Store.Insert(ctx, tasks)
}

func (x crashingStore) Statuses(ctx context.Context, ids []string) (map[string]backend.Status, error) {
	x.s.step("Statuses")
	return x.Store.Statuses(ctx, ids)
}

type crashingDocs struct {
	backend.Docs
	s *crashing
}

func (x crashingDocs) PutAll(ctx context.Context, docs []backend.Doc) ([]backend.Put, error) {
	x.s.step("Docs.PutAll")
	return x.Docs.PutAll(ctx, docs)
}

func (x crashingDocs) List(ctx context.Context, prefix string) ([]backend.Doc, error) {
	x.s.step("Docs.List")
	return x.Docs.List(ctx, prefix)
}

func (x crashingDocs) GetAll(ctx context.Context, names []string) ([]backend.Doc, error) {
	x.s.step("Docs.GetAll")
	return x.Docs.GetAll(ctx, names)
}

// Requests fail, replies are lost, calls are repeated late, processes die and restart, and the leader hangs. A job that
// is due every second still submits one task for each.
func TestSchedulersUnderRandomFailures(t *testing.T) {
	testkit.Long(t, "takes seconds with the race detector")
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
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
						_ = app.Shutdown(ctx) // the process may be dead
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
				// the leader may be frozen, and others fire 2 s late
				time.Sleep(time.Until(from.Add(93*time.Second + 500*time.Millisecond)))
				tasks := jobTasks(t, world, "job")
				for late := 91; late <= 93; late++ {
					delete(tasks, fmt.Sprint("job/j/", from.Unix()+int64(late)))
				}
				wantFires(t, tasks, "j", from, eachSecond(1, 90, 1)...)
				for _, f := range must(calm.Fires(t.Context(), af.FireQuery{Job: "j", Limit: 1000}))(t).Fires {
					if f.Skipped != "" {
						t.Errorf("%+v", f)
					}
				}
				time.Sleep(time.Minute) // frozen processes thaw
			})
		})
	}
}
