package runtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// watched is a backend that counts reads of jobs' documents and calls a function before writes.
type watched struct {
	af.Backend
	mu     sync.Mutex
	read   int
	before func(name string) // called before each write, if set
}

func (w *watched) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := w.Backend.Open(ctx, env)
	if err == nil {
		ports.Docs = watchedDocs{ports.Docs, w}
	}
	return ports, err
}

// reads returns the number of documents of jobs read since its last call.
func (w *watched) reads() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.read
	w.read = 0
	return n
}

// on sets the function to call before each write.
func (w *watched) on(before func(name string)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before = before
}

type watchedDocs struct {
	backend.Docs
	w *watched
}

func (d watchedDocs) count(n int) {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	d.w.read += n
}

func (d watchedDocs) List(ctx context.Context, prefix string) ([]backend.Doc, error) {
	docs, err := d.Docs.List(ctx, prefix)
	if prefix == "jobs/" {
		d.count(len(docs))
	}
	return docs, err
}

func (d watchedDocs) Get(ctx context.Context, name string) (backend.Doc, error) {
	if strings.HasPrefix(name, "jobs/") {
		d.count(1)
	}
	return d.Docs.Get(ctx, name)
}

func (d watchedDocs) PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error) {
	d.w.mu.Lock()
	before := d.w.before
	d.w.mu.Unlock()
	if before != nil {
		before(name)
	}
	return d.Docs.PutIf(ctx, name, rev, value)
}

func (d watchedDocs) PutAll(ctx context.Context, docs []backend.Doc) ([]backend.Put, error) {
	d.w.mu.Lock()
	before := d.w.before
	d.w.mu.Unlock()
	for _, doc := range docs {
		if before != nil {
			before(doc.Name)
		}
	}
	return d.Docs.PutAll(ctx, docs)
}

// With many jobs of which few are due, the leader reads all of them, and the other App seldom. After a change only the
// changed job is read.
func TestOnlyTheLeaderReadsAllJobs(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const many = 100
		world := fault.Around(memory.New())
		first, second := &watched{Backend: world}, &watched{Backend: world}
		leader := open(t, first)
		start(t, leader)
		q := followLeader(t, leader, second)
		for i := range many {
			must(0, q.Schedule(t.Context(), fmt.Sprint("seldom/", i), "@yearly", i))(t)
			time.Sleep(time.Millisecond)
		}
		from := time.Now()
		must(0, q.Schedule(t.Context(), "j", "@every 1s", 1, af.Missed(af.MissedAll)))(t)
		time.Sleep(500 * time.Millisecond)
		if a, b := first.reads(), second.reads(); a > 2*many || b > 4*many {
			t.Errorf("putting %d jobs made one App read %d documents, the other %d", many, a, b)
		}
		time.Sleep(time.Minute)
		if a, b := first.reads(), second.reads(); a > 13*many || b > 5*many {
			t.Errorf("in a minute the leader read %d documents of %d, the other %d", a, many, b)
		}
		wantFires(t, jobTasks(t, world, "job"), "j", from, eachSecond(1, 60, 1)...)
	})
}

// Only the leader knows of a job, since the event was lost, and dies. The other App finds the job before a due time
// counts as missed.
func TestJobWithLostEventIsFired(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		dies := fault.New(world, 1, fault.Plan{})
		leader := open(t, dies, af.Lease(3*time.Second))
		q := af.NewQueue[int, int](leader, jobWorker)
		start(t, leader)
		must(0, q.Schedule(t.Context(), "other", "@yearly", 1))(t)
		followLeader(t, leader, fault.New(world, 2, fault.Plan{}), af.Lease(3*time.Second))
		time.Sleep(10 * time.Second)
		dies.Fail("Publish", 1000, fault.Refused)
		from := time.Now()
		must(0, q.Schedule(t.Context(), "j", "@every 1s", 1, af.Missed(af.MissedSkip)))(t)
		dies.Crash()
		time.Sleep(28500 * time.Millisecond)
		tasks := jobTasks(t, world, "job")
		if n := len(tasks); n < 26 {
			t.Errorf("%d tasks after 28 s", n)
		}
		wantFires(t, tasks, "j", from, eachSecond(1, len(tasks), 1)...)
	})
}

// A job is removed when a scheduler is about to add a fire to its history: the history is not created again.
func TestHistoryOfRemovedJobStaysDeleted(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		b := &watched{Backend: world}
		app, q := work(t, b, jobWorker, func(_ context.Context, n int) (int, error) { return n, nil })
		calm := open(t, world, af.NoScheduler())
		start(t, calm)
		must(0, q.Schedule(t.Context(), "j", "@every 10s", 1))(t)
		time.Sleep(15 * time.Second)
		var late atomic.Bool
		b.on(func(name string) {
			if name == "fires/j" {
				late.Store(true)
				must(0, calm.RemoveJob(t.Context(), "j"))(t)
			}
		})
		time.Sleep(15 * time.Second)
		if !late.Load() {
			t.Error("no history was written after the removal")
		}
		if page := must(app.Fires(t.Context(), af.FireQuery{}))(t); page.Total != 0 {
			t.Errorf("%+v", page)
		}
	})
}
