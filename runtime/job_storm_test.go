package runtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// scheduleStorm schedules jobs that are due at the same instants, with all overlap policies.
func scheduleStorm(t *testing.T, q af.Queue[int, int], jobs int, cron string) {
	t.Helper()
	overlaps := []af.OverlapPolicy{af.OverlapAllow, af.OverlapSkip, af.OverlapQueue}
	for i := range jobs {
		must(0, q.Schedule(t.Context(), fmt.Sprintf("j%03d", i), cron, i, af.Missed(af.MissedAll),
			af.Overlap(overlaps[i%len(overlaps)])))(t)
	}
}

// wantStorm checks that each job has one task for each of these due times, and that the log has no violations.
func wantStorm(t *testing.T, world *fault.World, jobs int, from time.Time, seconds ...int) {
	t.Helper()
	tasks := jobTasks(t, world, "job")
	for i := range jobs {
		wantFires(t, tasks, fmt.Sprintf("j%03d", i), from, seconds...)
	}
	for _, v := range world.Log().CheckJobs() {
		t.Error(v)
	}
}

// A leader dies at any step of firing hundreds of jobs at once, such as between the insert of their tasks and the write
// of their documents. Another process completes what it has begun, and nothing fires twice.
func TestLeaderDiesInStorm(t *testing.T) {
	const jobs = 120
	// A storm writes the decided jobs, then the histories, and then the jobs again.
	for op, steps := range map[string]int{"Docs.PutAll": 3, "Insert": 1, "Docs.GetAll": 1, "Statuses": 1} {
		for skip := range steps {
			t.Run(fmt.Sprint(op, skip), func(t *testing.T) {
				bubble.Test(t, func(t *testing.T) {
					world := fault.Around(memory.New())
					leader := &crashing{Backend: fault.New(world, 1, fault.Plan{}), op: op}
					app := open(t, leader, af.Lease(3*time.Second))
					start(t, app)
					from := time.Now()
					q := followLeader(t, app, fault.New(world, 2, fault.Plan{}), af.Lease(3*time.Second))
					scheduleStorm(t, q, jobs, "@every 10s")
					time.Sleep(5 * time.Second)
					leader.after.Store(int32(skip + 1))
					time.Sleep(39 * time.Second)
					select {
					case <-leader.Dead():
					default:
						t.Fatal("the leader is still alive")
					}
					wantStorm(t, world, jobs, from, 10, 20, 30, 40)
				})
			})
		}
	}
}

// stormBackend is a backend that counts operations, and refuses the tasks and documents of some jobs.
type stormBackend struct {
	*fault.World
	mu   sync.Mutex
	ops  map[string]int
	bad  string // task or document of this job
	task bool   // refuse its tasks
	doc  bool   // refuse its document
}

func (c *stormBackend) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := c.World.Open(ctx, env)
	if err == nil {
		ports.Store, ports.Docs = stormStore{ports.Store, c}, stormDocs{ports.Docs, c}
	}
	return ports, err
}

// count counts an operation, and returns which items to refuse.
func (c *stormBackend) count(op string) (task, doc bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ops == nil {
		c.ops = map[string]int{}
	}
	c.ops[op]++
	return c.task, c.doc
}

// reset clears the counts and sets what to refuse.
func (c *stormBackend) reset(task, doc bool) (before map[string]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, c.ops, c.task, c.doc = c.ops, nil, task, doc
	return before
}

type stormStore struct {
	backend.Store
	c *stormBackend
}

func (s stormStore) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	refuse, _ := s.c.count("Insert")
	if refuse && slices.ContainsFunc(tasks, func(n backend.NewTask) bool {
		return strings.HasPrefix(n.Task.ID, "job/"+s.c.bad+"/")
	}) {
		return nil, backend.NewError(backend.ErrResourceExhausted, "a task is too large").With(backend.OutcomeNotSent)
	}
	return s.Store.Insert(ctx, tasks)
}

func (s stormStore) Statuses(ctx context.Context, ids []string) (map[string]backend.Status, error) {
	s.c.count("Statuses")
	return s.Store.Statuses(ctx, ids)
}

type stormDocs struct {
	backend.Docs
	c *stormBackend
}

func (d stormDocs) Get(ctx context.Context, name string) (backend.Doc, error) {
	d.c.count("Get")
	return d.Docs.Get(ctx, name)
}

func (d stormDocs) GetAll(ctx context.Context, names []string) ([]backend.Doc, error) {
	d.c.count("GetAll")
	return d.Docs.GetAll(ctx, names)
}

func (d stormDocs) PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error) {
	if strings.HasPrefix(name, "jobs/") || strings.HasPrefix(name, "fires/") {
		d.c.count("PutIf")
	}
	return d.Docs.PutIf(ctx, name, rev, value)
}

func (d stormDocs) PutAll(ctx context.Context, docs []backend.Doc) ([]backend.Put, error) {
	_, refuse := d.c.count("PutAll")
	bad := slices.IndexFunc(docs, func(doc backend.Doc) bool { return doc.Name == "jobs/"+d.c.bad })
	if bad < 0 || !refuse {
		return d.Docs.PutAll(ctx, docs)
	}
	puts, err := d.Docs.PutAll(ctx, slices.Delete(slices.Clone(docs), bad, bad+1))
	if err != nil {
		return nil, err
	}
	return slices.Insert(puts, bad, backend.Put{Err: backend.NewError(backend.ErrResourceExhausted, "too large")}), nil
}

// A thousand jobs that are due at once cost some operations of the store, not some for each.
func TestStormTakesFewOperations(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const jobs = 1000
		b := &stormBackend{World: fault.Around(memory.New())}
		app := open(t, b)
		q := af.NewQueue[int, int](app, jobWorker)
		start(t, app)
		from := time.Now()
		scheduleStorm(t, q, jobs, "@every 10s")
		time.Sleep(5 * time.Second)
		b.reset(false, false)
		time.Sleep(6 * time.Second)
		ops := b.reset(false, false)
		sum := 0
		for _, n := range ops {
			sum += n
		}
		if sum > 32 || ops["Insert"] > 5 {
			t.Errorf("operations: %v", ops)
		}
		wantStorm(t, b.World, jobs, from, 10)
	})
}

// One job's task or document is refused. All other jobs fire on time, the bad one is retried seldom, and it fires when
// it is accepted again.
func TestRefusedJobFailsAlone(t *testing.T) {
	const jobs = 200
	for _, c := range []struct {
		name      string
		task, doc bool
	}{{"task", true, false}, {"document", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				b := &stormBackend{World: fault.Around(memory.New()), bad: "j100"}
				var mu sync.Mutex
				var most time.Duration // lateness
				from := time.Now()
				app, q := work(t, b, jobWorker, func(ctx context.Context, n int) (int, error) {
					mu.Lock()
					defer mu.Unlock()
					if !strings.HasPrefix(af.TaskFrom(ctx).ID, "job/j100/") {
						most = max(most, time.Since(from)%(10*time.Second))
					}
					return n, nil
				})
				scheduleStorm(t, q, jobs, "@every 10s")
				b.reset(c.task, c.doc)
				time.Sleep(39 * time.Second)
				ops := b.reset(false, false)
				if ops["Insert"] > 60 || ops["PutAll"] > 60 {
					t.Errorf("with a bad job: %v", ops)
				}
				tasks := jobTasks(t, b.World, "job")
				for i := range jobs {
					if id := fmt.Sprintf("j%03d", i); id != b.bad {
						wantFires(t, tasks, id, from, 10, 20, 30)
					} else {
						wantFires(t, tasks, id, from)
					}
				}
				mu.Lock()
				if most > time.Second {
					t.Errorf("other jobs ran %v late", most)
				}
				mu.Unlock()
				time.Sleep(100 * time.Second)
				if j := must(app.Job(t.Context(), b.bad))(t); j.Fired.Before(from.Add(120 * time.Second)) {
					t.Errorf("the job fired last at %v, %v after the beginning", j.Fired, j.Fired.Sub(from))
				}
				for _, v := range b.World.Log().CheckJobs() {
					t.Error(v)
				}
			})
		})
	}
}

// Some jobs of a storm are disabled while their tasks are being inserted. They make no tasks, and the others do.
func TestJobDisabledInStorm(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const jobs, disabled = 300, 20
		world := fault.Around(memory.New())
		late := &laggard{until: make(chan struct{}), begun: make(chan struct{})}
		app := open(t, altered{world, func(p *backend.Ports) { p.Store = laggardStore{p.Store, late} }})
		start(t, app)
		other := open(t, world, af.NoScheduler())
		q := af.NewQueue[int, int](other, jobWorker)
		start(t, other)
		from := time.Now()
		scheduleStorm(t, q, jobs, "@every 10s")
		<-late.begun
		for i := range disabled {
			must(0, other.DisableJob(t.Context(), fmt.Sprintf("j%03d", i)))(t)
		}
		returned := time.Now()
		close(late.until)
		time.Sleep(5 * time.Second)
		tasks := jobTasks(t, world, "job")
		for i := range jobs {
			id := fmt.Sprintf("j%03d", i)
			if i >= disabled {
				wantFires(t, tasks, id, from, 10)
				continue
			}
			for _, v := range world.Log().CheckQuiet(id, returned, time.Now()) {
				t.Error(v)
			}
			if task := tasks[fmt.Sprintf("job/%s/%d", id, from.Unix()+10)]; task.Status != af.StatusStopped {
				t.Errorf("the task of a disabled job: %+v", task)
			}
		}
		for _, v := range world.Log().CheckJobs() {
			t.Error(v)
		}
	})
}

// laggard delays the first insert of tasks of fires.
type laggard struct {
	once         sync.Once
	begun, until chan struct{}
}

type laggardStore struct {
	backend.Store
	l *laggard
}

func (s laggardStore) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	s.l.once.Do(func() {
		close(s.l.begun)
		<-s.l.until
	})
	return s.Store.Insert(ctx, tasks)
}
