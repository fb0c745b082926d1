package runtime_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/internal/child"
)

// bulk returns its payload. It runs in the process of the App.
type bulk struct{}

var bulkWorker = af.Worker{Name: "bulk", Type: "Bulk", Max: 4, Backoff: time.Millisecond}

func (*bulk) Run(_ context.Context, text string) (string, error) { return text, nil }

const (
	frames    = 1 << 20 // size of a frame in these tests
	bulkCount = 40
	bulkSize  = 50 << 10
)

// bulks returns payloads that together exceed a frame.
func bulks() []string {
	texts := make([]string, bulkCount)
	for i := range texts {
		texts[i] = strings.Repeat(string(rune('a'+i%26)), bulkSize)
	}
	return texts
}

// smallFrames reduces the frame size of the pipes, in this process and its child processes.
func smallFrames(t *testing.T) {
	t.Setenv("AF_TEST_FRAMES", strconv.Itoa(frames))
	child.LimitFrames(frames)
	t.Cleanup(func() { child.LimitFrames(0) })
}

// limitFrames applies the setting of smallFrames, in a child process.
func limitFrames() {
	if n, err := strconv.Atoi(os.Getenv("AF_TEST_FRAMES")); err == nil {
		child.LimitFrames(n)
	}
}

// runBulk implements the actions of the tests in this file, in a child process.
func (w *isolated) runBulk(ctx context.Context, d action) (me report, err error) {
	r, q := af.TaskFrom(ctx), af.NewQueue[string, string](w.app, bulkWorker)
	switch d.Do {
	case "bulk submit":
		var ids []string
		ids, err = q.SubmitMany(ctx, bulks())
		me.More, me.Text = len(ids), strings.Join(ids, " ")
	case "bulk fan":
		_, err = q.Subtasks(ctx, r.ID, bulks())
	case "bulk list":
		var page af.TaskPage
		for q := (af.TaskQuery{Queue: bulkWorker.Name}); err == nil; q.Cursor = page.Cursor {
			page, err = w.app.Tasks(ctx, q)
			if me.More += len(page.Tasks); page.Cursor == "" {
				break
			}
		}
	case "bulk jobs":
		var page af.JobPage
		page, err = w.app.Jobs(ctx, af.JobQuery{})
		me.More = len(page.Jobs)
	}
	return me, err
}

func overBackends(t *testing.T, test func(t *testing.T, b af.Backend)) {
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	smallFrames(t)
	t.Run("memory", func(t *testing.T) { test(t, memory.New()) })
	if !testing.Short() {
		t.Run("embedded", func(t *testing.T) { test(t, embedded.File(filepath.Join(t.TempDir(), "af.db"))) })
	}
}

// Requests of a child process and their replies may exceed a frame of the pipe: they are split.
func TestMessagesLargerThanAFrameAreSplit(t *testing.T) {
	overBackends(t, func(t *testing.T, b af.Backend) {
		app := open(t, b)
		registerIsolated(app, nil)
		af.RegisterWorker(app, bulkWorker, &bulk{})
		start(t, app)
		q, iso := af.NewQueue[string, string](app, bulkWorker), af.NewQueue[action, report](app, isoWorker)
		for i, text := range bulks() {
			if err := q.Schedule(t.Context(), fmt.Sprint("job", i), "@yearly", text); err != nil {
				t.Fatal(err)
			}
		}
		got, err := do(t, iso, action{Do: "bulk submit"})
		if err != nil || got.More != bulkCount {
			t.Fatalf("%d tasks submitted, %v", got.More, err)
		}
		for i, id := range strings.Fields(got.Text) {
			if text, err := q.Wait(t.Context(), id); err != nil || text != bulks()[i] {
				t.Fatalf("task %d returned %d bytes, %v", i, len(text), err)
			}
		}
		for _, what := range []string{"bulk list", "bulk jobs"} {
			if got, err := do(t, iso, action{Do: what}); err != nil || got.More != bulkCount {
				t.Errorf("%s: %d of %d, %v", what, got.More, bulkCount, err)
			}
		}
	})
}

// The subtasks that SubtasksDone reads in a child process may together exceed a frame.
func TestSubtasksDoneInChildReadsMoreThanAFrame(t *testing.T) {
	overBackends(t, func(t *testing.T, b af.Backend) {
		app := open(t, b)
		registerIsolated(app, nil)
		af.RegisterWorker(app, bulkWorker, &bulk{})
		start(t, app)
		q := af.NewQueue[action, report](app, isoFan)
		id := must(q.Submit(t.Context(), action{Do: "bulk fan"}))(t)
		if _, err := q.Wait(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		await(t, app, id, "the set is finished", func(task af.Task) bool { return task.Subtasks != nil })
		if seen := progress[map[string]int](t, app, id+"/done"); seen["total"] != bulkCount || seen["success"] != bulkCount {
			t.Errorf("SubtasksDone saw %v", seen)
		}
	})
}

// An insertSize records the largest Insert: the bytes of its payloads, and the number of its tasks.
type insertSize struct {
	backend.Store
	mu           sync.Mutex
	bytes, tasks int
}

func (s *insertSize) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	n := 0
	for i := range tasks {
		n += len(tasks[i].Task.Payload)
	}
	s.mu.Lock()
	s.bytes, s.tasks = max(s.bytes, n), s.tasks+len(tasks)
	s.mu.Unlock()
	return s.Store.Insert(ctx, tasks)
}

// Tasks that a job submits at once are inserted in parts: the payload may be large, and there may be many tasks.
func TestTasksOfJobsAreInsertedInParts(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var sizes *insertSize
		app := open(t, altered{memory.New(), func(p *backend.Ports) {
			sizes = &insertSize{Store: p.Store}
			p.Store = sizes
		}}, af.NoScheduler())
		start(t, app)
		q := af.NewQueue[string, string](app, bulkWorker)
		text := strings.Repeat("x", 60<<10)
		if err := q.Schedule(t.Context(), "many", "* * * * * *", text, af.Missed(af.MissedAll)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		must(0, app.StartScheduler(t.Context()))(t)
		time.Sleep(400 * time.Millisecond)
		sizes.mu.Lock()
		defer sizes.mu.Unlock()
		if sizes.tasks < 590 || sizes.bytes > 16<<20 {
			t.Errorf("%d tasks, up to %d bytes at once", sizes.tasks, sizes.bytes)
		}
	})
}
