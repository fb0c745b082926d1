package mongo_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/latency"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/mongo"
)

// A counter counts commands by name.
type counter struct {
	mu sync.Mutex
	n  map[string]int
}

func (k *counter) watch(c *mongo.Config) {
	k.n = map[string]int{}
	c.Monitor = &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.n[e.CommandName]++
	}}
}

// total returns how many commands of a name were sent since the last call of take.
func (k *counter) total(name string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.n[name]
}

// take returns the counts since the last call.
func (k *counter) take() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var parts []string
	for _, name := range []string{"insert", "update", "find", "aggregate", "delete"} {
		if n := k.n[name]; n > 0 {
			parts = append(parts, fmt.Sprint(n, " ", name))
		}
	}
	clear(k.n)
	return strings.Join(parts, ", ")
}

// The number of commands doesn't depend on the number of tasks in a batch.
func TestCommandsPerBatch(t *testing.T) {
	var k counter
	s := join(t, devstack.Mongo(t), k.watch).Store()
	must(t, s.Beat(t.Context(), "o", 1))
	const batch = 64
	var tasks []backend.NewTask
	var ids []string
	for i := range batch {
		tasks = append(tasks, newTask(fmt.Sprint("t", i)))
		ids = append(ids, tasks[i].Task.ID)
	}
	want := func(what, want string) {
		t.Helper()
		if got := k.take(); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	k.take()
	_, err := s.Insert(t.Context(), tasks)
	must(t, err)
	want("inserting", "1 insert")
	claimed, _, err := s.Claim(t.Context(), backend.Claim{Queue: "q", Owner: "o", Nonce: "n", Max: batch, IDs: ids})
	must(t, err)
	want("claiming hinted tasks", "1 update, 3 find")
	var settles []backend.Settle
	for _, task := range claimed {
		settles = append(settles, backend.Settle{ID: task.ID, Fence: task.Fence, Nonce: "n", To: backend.StatusSuccess})
	}
	_, err = s.Settle(t.Context(), settles)
	must(t, err)
	want("settling", "1 update")
	must(t, s.Beat(t.Context(), "o", 2))
	want("heartbeat", "1 update")
	_, _, _, err = s.Promote(t.Context(), "q", batch)
	must(t, err)
	want("promoting nothing", "4 find")
}

// BenchmarkInsert compares concurrent inserts of one task with the driver's InsertOne of the same document.
func BenchmarkInsert(b *testing.B) {
	var k counter
	c := join(b, devstack.Mongo(b), k.watch)
	var n atomic.Int64
	next := func() []backend.NewTask {
		task := newTask(fmt.Sprint("t", n.Add(1)))
		task.Task.Payload = bytes.Repeat([]byte("1"), 128)
		return []backend.NewTask{task}
	}
	stored, err := c.Store().Insert(b.Context(), next())
	must(b, err)
	var document bson.M
	tasks := c.Mongo().Collection("tasks")
	must(b, tasks.FindOne(b.Context(), bson.M{"_id": stored[0].ID}).Decode(&document))
	for _, submitters := range []int{1, 8, 64} {
		for name, insert := range map[string]func() error{
			"store": func() error {
				_, err := c.Store().Insert(b.Context(), next())
				return err
			},
			"bare": func() error {
				x := maps.Clone(document)
				x["_id"] = fmt.Sprint("t", n.Add(1))
				_, err := tasks.InsertOne(b.Context(), x)
				return err
			},
		} {
			b.Run(fmt.Sprintf("submitters=%d/%s", submitters, name), func(b *testing.B) {
				k.take()
				latency.Calls(b, submitters, insert)
				b.ReportMetric(float64(k.total("insert"))/float64(b.N), "commands/op")
			})
		}
	}
}

// BenchmarkTask measures inserting, claiming by ID and settling tasks in batches of 64.
func BenchmarkTask(b *testing.B) {
	for _, waiting := range []int{0, 2000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) { benchTask(b, waiting) })
	}
}

// BenchmarkClaimHinted measures claims of one hinted task each.
func BenchmarkClaimHinted(b *testing.B) {
	s := join(b, devstack.Mongo(b)).Store()
	const batch = 500
	for i := range b.N {
		if i%batch == 0 {
			b.StopTimer()
			var tasks []backend.NewTask
			for k := range batch {
				tasks = append(tasks, newTask(fmt.Sprint("t", i+k)))
			}
			if _, err := s.Insert(b.Context(), tasks); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
		id := fmt.Sprint("t", i)
		claimed, _, err := s.Claim(b.Context(), backend.Claim{
			Queue: "q", Owner: "o", Nonce: id, Max: 1, IDs: []string{id}, OwnerChecked: true,
		})
		if err != nil || len(claimed) != 1 {
			b.Fatalf("%d claimed, %v", len(claimed), err)
		}
	}
}

func benchTask(b *testing.B, waiting int) {
	s := join(b, devstack.Mongo(b)).Store()
	const batch = 64
	n := 0
	insert := func(queue string, many int) []string {
		var tasks []backend.NewTask
		var ids []string
		for range many {
			n++
			task := newTask(fmt.Sprint("t", n))
			task.Task.Queue = queue
			tasks = append(tasks, task)
			ids = append(ids, task.Task.ID)
		}
		if _, err := s.Insert(b.Context(), tasks); err != nil {
			b.Fatal(err)
		}
		return ids
	}
	if waiting > 0 {
		insert("q", waiting)
	}
	var inserting, claiming, settling atomic.Int64
	timed := func(to *atomic.Int64, do func()) {
		begun := time.Now()
		do()
		to.Add(int64(time.Since(begun)))
	}
	for b.Loop() {
		var ids []string
		timed(&inserting, func() { ids = insert("q", batch) })
		var claimed []backend.Task
		timed(&claiming, func() {
			var err error
			claimed, _, err = s.Claim(b.Context(), backend.Claim{Queue: "q", Owner: "o", Nonce: ids[0], Max: batch, IDs: ids})
			if err != nil || len(claimed) != batch {
				b.Fatalf("%d claimed, %v", len(claimed), err)
			}
		})
		timed(&settling, func() {
			var settles []backend.Settle
			for _, task := range claimed {
				settles = append(settles, backend.Settle{ID: task.ID, Fence: task.Fence, Nonce: "n", To: backend.StatusSuccess})
			}
			if _, err := s.Settle(b.Context(), settles); err != nil {
				b.Fatal(err)
			}
		})
	}
	perSecond := func(spent *atomic.Int64) float64 { return float64(b.N*batch) / time.Duration(spent.Load()).Seconds() }
	b.ReportMetric(perSecond(&inserting), "inserts/s")
	b.ReportMetric(perSecond(&claiming), "claims/s")
	b.ReportMetric(perSecond(&settling), "settles/s")
}
