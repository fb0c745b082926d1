package runtime_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// A crew is a number of processes that work on one queue and are restarted when they die. A task takes as many
// milliseconds as its payload; a negative payload kills its process after that time.
type crew struct {
	*testing.T
	world  *fault.World
	worker af.Worker
	store  backend.Store
	died   chan int // receives the place of a process that a task kills

	mu      sync.Mutex
	members []*member
	deaths  int
	running map[*member]int
}

type member struct {
	*fault.Backend
	testing map[string]time.Time // running suspected tasks, and until when they are suspected
}

func newCrew(t *testing.T, size int, worker af.Worker, opts ...memory.Option) *crew {
	c := &crew{
		T: t, world: fault.Around(memory.New(opts...)), worker: worker, died: make(chan int), members: make([]*member, size),
		running: map[*member]int{},
	}
	c.store = must(c.world.Open(t.Context(), backend.Env{}))(t).Store
	for place := range c.members {
		c.boot(place)
	}
	return c
}

// boot starts the process at a place.
func (c *crew) boot(place int) {
	m := &member{fault.New(c.world, 1, fault.Plan{}), map[string]time.Time{}}
	work(c.T, m, c.worker, func(ctx context.Context, n int) (int, error) {
		id := af.TaskFrom(ctx).ID
		c.begins(m, id)
		defer c.ends(m, id)
		d := time.Duration(max(n, -n)) * time.Millisecond
		select {
		case <-time.After(d):
		case <-m.Dead():
			<-ctx.Done() // hangs until the engine notices the death
			return 0, ctx.Err()
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		if n < 0 {
			m.Crash()
			c.died <- place
			<-ctx.Done()
			return 0, ctx.Err()
		}
		return n, nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members[place] = m
}

// kill kills the process at a place from outside.
func (c *crew) kill(place int) {
	c.members[place].Crash()
	c.dead(place)
}

// dead counts a death, and restarts the process.
func (c *crew) dead(place int) {
	c.mu.Lock()
	c.deaths++
	delete(c.running, c.members[place])
	c.mu.Unlock()
	time.Sleep(time.Second)
	c.boot(place)
}

// begins records that a process runs a task, and checks that no two suspected tasks run at once.
func (c *crew) begins(m *member, id string) {
	task, err := c.store.Get(context.Background(), id)
	if err != nil {
		c.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running[m]++
	if !task.Suspected() {
		return
	}
	for other, until := range m.testing {
		if time.Now().Before(until) {
			c.Errorf("two suspects in one process: %s and %s", other, id)
		}
	}
	m.testing[id] = time.Now().Add(task.Suspect.Test())
}

func (c *crew) ends(m *member, id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running[m]--
	delete(m.testing, id)
}

// runs returns the number of tasks running in live processes.
func (c *crew) runs() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.members {
		n += c.running[m]
	}
	return n
}

// client returns a queue for submitting to the crew.
func (c *crew) client() af.Queue[int, int] {
	_, q := process(c.T, c.world, fault.Plan{}, c.worker, nil)
	return q
}

func (c *crew) get(id string) backend.Task { return must(c.store.Get(c.Context(), id))(c.T) }

func crewWorker(slots int) af.Worker {
	w := jobWorker
	w.Max = slots
	return w
}

// hintings are the two ways in which tasks are found.
var hintings = map[string][]memory.Option{"hints": nil, "hints_with_ids": {memory.HintIDs(4096)}}

// A task that kills its process fails after one more crash than allowed. Tasks that ran in the same processes are not
// charged.
func TestPoisonTaskFailsAlone(t *testing.T) {
	testkit.Long(t, "it simulates minutes of many tasks")
	for hinting, opts := range hintings {
		times := []time.Duration{100 * time.Millisecond, 3 * time.Second, 20 * time.Second}
		for _, after := range times[:testkit.Fewer(3, 2)] {
			for name, first := range map[string]bool{"first": true, "last": false} {
				t.Run(fmt.Sprintf("%s_%v_%s", hinting, after, name), func(t *testing.T) {
					bubble.Test(t, func(t *testing.T) { poisonFailsAlone(newCrew(t, 1, crewWorker(101), opts...), after, first) })
				})
			}
		}
	}
}

func poisonFailsAlone(c *crew, after time.Duration, first bool) {
	q := c.client()
	payloads := make([]int, 100, 101)
	for i := range payloads {
		payloads[i] = 60_000
	}
	at := 100
	if first {
		at = 0
	}
	payloads = append(payloads[:at], append([]int{-int(after.Milliseconds())}, payloads[at:]...)...)
	ids := must(q.SubmitMany(c.Context(), payloads))(c.T)
	poison := ids[at]
	for deadline := time.Now().Add(4 * time.Hour); c.get(poison).Status != backend.StatusFailed; {
		select {
		case place := <-c.died:
			c.dead(place)
		case <-time.After(time.Second):
			if time.Now().After(deadline) {
				c.Fatalf("the poison is %+v after %d deaths", c.get(poison), c.deaths)
			}
		}
	}
	if t := c.get(poison); t.Crashes != 3 || c.deaths != 4 {
		c.Errorf("%d deaths, of which %d were charged", c.deaths, t.Crashes)
	}
	for _, id := range ids {
		if id == poison {
			continue
		}
		must(q.Wait(c.Context(), id))(c.T)
		if t := c.get(id); t.Crashes != 0 || t.Attempt != 1 || t.Suspect != nil {
			c.Errorf("%d crashes, attempt %d, %+v", t.Crashes, t.Attempt, t.Suspect)
		}
	}
}

// Suspected tasks do not keep a process from using all of its slots.
func TestQueueIsBusyAgainAfterOneKill(t *testing.T) {
	for hinting, opts := range hintings {
		t.Run(hinting, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				c := newCrew(t, 1, crewWorker(100), opts...)
				payloads := make([]int, 1000)
				for i := range payloads {
					payloads[i] = 60_000
				}
				must(c.client().SubmitMany(t.Context(), payloads))(t)
				time.Sleep(15 * time.Second)
				synctest.Wait()
				if n := c.runs(); n != 100 {
					t.Fatalf("%d tasks are running", n)
				}
				c.kill(0)
				time.Sleep(9 * time.Second)
				synctest.Wait()
				if n := c.runs(); n < 80 {
					t.Errorf("%d of 100 tasks are running 10 s after the kill", n)
				}
				time.Sleep(15 * time.Second) // now the suspected tasks are at the head of the queue
				synctest.Wait()
				if n := c.runs(); n < 80 {
					t.Errorf("%d of 100 tasks are running 25 s after the kill", n)
				}
			})
		})
	}
}

// Random kills of processes fail hardly any tasks: with a kill every 6.5 s for 130 s, less than one of 1,000 on
// average. A task that was the only suspected one in three consecutive crashes is considered a poison task.
func TestRandomKillsFailHardlyAnyTask(t *testing.T) {
	testkit.Long(t, "it simulates minutes of many tasks")
	failed, storms := 0, 0
	for seed := range uint64(testkit.Fewer(15, 3)) {
		bubble.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			c := newCrew(t, 4, crewWorker(25))
			q := c.client()
			payloads := make([]int, 1000)
			for i := range payloads {
				payloads[i] = 2000 + r.IntN(4000)
			}
			ids := must(q.SubmitMany(t.Context(), payloads))(t)
			for range 20 {
				time.Sleep(time.Duration(r.Int64N(int64(11 * time.Second))))
				c.kill(r.IntN(4))
			}
			storms++
			for _, id := range ids {
				if _, err := q.Wait(t.Context(), id); err != nil {
					failed++
				}
			}
		})
	}
	if t.Logf("%d tasks failed in %d storms", failed, storms); failed > storms {
		t.Error("more than one of 1,000 tasks")
	}
}

// The crashes charged to the tasks of a process that was declared dead but is alive are refunded.
func TestCrashesOfALiveProcessAreRefunded(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := newCrew(t, 1, crewWorker(4))
		q := c.client()
		first := must(q.Submit(t.Context(), 50_000))(t)
		time.Sleep(time.Second)
		c.kill(0) // which makes the task suspected
		for c.get(first).Fence < 2 || c.get(first).Status != backend.StatusRunning {
			time.Sleep(100 * time.Millisecond)
		}
		second := must(q.Submit(t.Context(), 50_000))(t)
		time.Sleep(100 * time.Millisecond)
		expireAll(t, c.world)
		if one, two := c.get(first), c.get(second); one.Crashes != 1 || !one.Suspected() || !two.Suspected() {
			t.Fatalf("%+v, %+v", one.Suspect, two.Suspect)
		}
		time.Sleep(2 * time.Second)
		if one, two := c.get(first), c.get(second); one.Crashes != 0 || one.Suspect.Losses != 1 || two.Suspect != nil {
			t.Errorf("%d crashes, %+v, %+v", one.Crashes, one.Suspect, two.Suspect)
		}
		must(q.Wait(t.Context(), first))(t)
		must(q.Wait(t.Context(), second))(t)
	})
}

// The maximum number of crashes is the worker's, or else the App's.
func TestMaxCrashesOfWorkerOrApp(t *testing.T) {
	for name, c := range map[string]struct {
		worker int
		opts   []af.AppOption
		want   int
	}{
		"default": {0, nil, 3},
		"App":     {0, []af.AppOption{af.MaxCrashes(5)}, 5},
		"worker":  {2, []af.AppOption{af.MaxCrashes(5)}, 2},
		"range":   {0, []af.AppOption{af.MaxCrashes(-1)}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := jobWorker
				w.MaxCrashes = c.worker
				_, q := work(t, memory.New(), w, same, c.opts...)
				id := must(q.Submit(t.Context(), 1))(t)
				must(q.Wait(t.Context(), id))(t)
				if got := must(q.Get(t.Context(), id))(t).MaxCrashes; got != c.want {
					t.Errorf("%d, want %d", got, c.want)
				}
			})
		})
	}
}

// A suspected task that is released at a shutdown stays suspected. One that ends does not.
func TestSuspectIsClearedByItsEnd(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := newCrew(t, 1, crewWorker(4))
		q := c.client()
		id := must(q.Submit(t.Context(), 30_000))(t)
		time.Sleep(10 * time.Second)
		c.members[0].Crash()
		begun := make(chan struct{}, 1)
		app, _ := work(t, fault.New(c.world, 1, fault.Plan{}), c.worker, hang(begun))
		<-begun
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = app.Shutdown(ctx) // an error, since running tasks were cancelled
		if task := c.get(id); task.Status != backend.StatusWaiting || !task.Suspected() || task.Crashes != 0 {
			t.Errorf("after the shutdown: %s, %+v, %d crashes", task.Status, task.Suspect, task.Crashes)
		}
		c.boot(0)
		must(q.Wait(t.Context(), id))(t)
		if task := c.get(id); task.Suspect != nil {
			t.Errorf("after its end: %+v", task.Suspect)
		}
	})
}
