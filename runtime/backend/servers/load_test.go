//go:build unix

package servers_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/mongoproxy"
	af "github.com/afgen/afgen/runtime"
	adapter "github.com/afgen/afgen/runtime/backend/mongo"
)

// A load is an App with a no-op worker of 100 slots, and one that submits to it.
type load struct {
	queue af.Queue[int, int]
	left  sync.WaitGroup // tasks whose handlers have not returned
	count atomic.Int64
}

func newLoad(t testing.TB, a address) *load {
	t.Helper()
	l := &load{}
	w := af.Worker{Name: "load", Type: "Load", Max: 100, Backoff: time.Second, Weight: 1}
	openAt(t, a, func(app *af.App) { af.RegisterWorker(app, w, l) })
	l.queue = af.NewQueue[int, int](openAt(t, a, nil), w)
	return l
}

func (l *load) Run(_ context.Context, n int) (int, error) {
	l.count.Add(1)
	l.left.Done()
	return n, nil
}

// submit submits n tasks in batches from 8 goroutines, and waits until all have run.
func (l *load) submit(t testing.TB, n, batch int) {
	l.left.Add(n)
	var next atomic.Int64
	var submitters sync.WaitGroup
	for range 8 {
		submitters.Go(func() {
			for {
				from := int(next.Add(int64(batch))) - batch
				if from >= n {
					return
				}
				if _, err := l.queue.SubmitMany(t.Context(), make([]int, min(batch, n-from))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	submitters.Wait()
	l.left.Wait()
}

// The store operations of a task under load: one insert if it is submitted alone, and shares of batched inserts, claims
// and settles.
func TestStoreOperationsPerTask(t *testing.T) {
	s := newStack(t, nil)
	l := newLoad(t, s.address)
	l.submit(t, 50, 1) // one-time work
	for _, test := range []struct {
		tasks, batch int
		most         float64 // operations per task, without heartbeats and polling
	}{{100, 1, 3}, {500, 250, 0.6}} {
		s.mongoProxy.Spent()
		begun := time.Now()
		l.submit(t, test.tasks, test.batch)
		took := time.Since(begun)
		spent := s.mongoProxy.Spent()
		var own, all int
		for what, sp := range spent {
			all += sp.Commands
			if what != "connection" && !strings.Contains(what, "owners") && !strings.Contains(what, "aggregate") {
				own += sp.Commands
			}
		}
		perTask := float64(own) / float64(test.tasks)
		t.Logf("%d tasks, %d at a time, in %v (%.0f/s): %.2f operations per task, %.2f including background work\n%s",
			test.tasks,
			test.batch, took.Round(time.Millisecond), float64(test.tasks)/took.Seconds(), perTask,
			float64(all)/float64(test.tasks),
			spentTable(spent, test.tasks, took))
		if perTask > test.most {
			t.Errorf("%.2f operations per task, want at most %v", perTask, test.most)
		}
	}
}

// spentTable formats the commands sent to the store, and the share of the time during which each was in flight.
func spentTable(spent map[string]mongoproxy.Spent, tasks int, took time.Duration) string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(spent)) {
		sp := spent[what]
		fmt.Fprintf(&b, "  %-20s %6d  %.3f per task  %8v each  in flight %3.0f %% of the time\n", what, sp.Commands,
			float64(sp.Commands)/float64(tasks), (sp.Took / time.Duration(sp.Commands)).
				Round(10*time.Microsecond), 100*sp.Took.Seconds()/took.Seconds())
	}
	return b.String()
}

// BenchmarkTasks measures the end-to-end rate of no-op tasks with 8 submitters and 100 slots. For comparison it
// measures the same writes with the driver alone.
func BenchmarkTasks(b *testing.B) {
	for _, batch := range []int{1, 250} {
		b.Run(fmt.Sprintf("batch=%d/afgen", batch), func(b *testing.B) {
			l := newLoad(b, address{devstack.Mongo(b), devstack.Redis(b), devstack.AMQP(b)})
			l.submit(b, 50, 1)
			b.ResetTimer()
			l.submit(b, b.N, batch)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
		})
		b.Run(fmt.Sprintf("batch=%d/where", batch), func(b *testing.B) {
			s := newStack(b, nil)
			l := newLoad(b, s.address)
			l.submit(b, 50, 1)
			s.mongoProxy.Spent()
			b.ResetTimer()
			l.submit(b, b.N, batch)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
			b.Logf("%d tasks\n%s", b.N, spentTable(s.mongoProxy.Spent(), b.N, b.Elapsed()))
		})
		b.Run(fmt.Sprintf("batch=%d/bare", batch), func(b *testing.B) { bareDriver(b, batch) })
	}
}

// bareDriver makes the minimal writes of tasks with the driver alone and with the same indexes: inserts from 8
// goroutines, then claims of 64 by one update and one read, and settles of 64 by one bulk write, from 2 goroutines.
func bareDriver(b *testing.B, batch int) {
	uri := devstack.Mongo(b)
	base, _, _ := strings.Cut(uri, "?")
	client, err := adapter.New(adapter.Config{URI: uri, Database: base[strings.LastIndex(base, "/")+1:]})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close(context.Background())
	if err := client.Prepare(b.Context()); err != nil {
		b.Fatal(err)
	}
	c := client.Mongo().Collection("tasks")
	must := func(_ any, err error) {
		if err != nil {
			b.Error(err)
		}
	}
	each := func(goroutines, size int, do func(ids []string)) {
		var next atomic.Int64
		var wg sync.WaitGroup
		for range goroutines {
			wg.Go(func() {
				for {
					from := int(next.Add(int64(size))) - size
					if from >= b.N {
						return
					}
					ids := make([]string, min(size, b.N-from))
					for i := range ids {
						ids[i] = fmt.Sprint(from + i)
					}
					do(ids)
				}
			})
		}
		wg.Wait()
	}
	b.ResetTimer()
	each(8, batch, func(ids []string) {
		docs := make([]any, len(ids))
		for i, id := range ids {
			docs[i] = bson.D{
				{Key: "_id", Value: id}, {Key: "queue", Value: "q"}, {Key: "status", Value: "pending"}, {Key: "place", Value: 1},
				{Key: "weight", Value: 1}, {Key: "created", Value: time.Now().UnixNano()}, {Key: "due", Value: time.Now().
					UnixNano()},
				{Key: "top", Value: true}, {Key: "payload", Value: []byte("1")}, {Key: "fence", Value: int64(0)},
			}
		}
		must(c.InsertMany(b.Context(), docs, options.InsertMany().SetOrdered(false)))
	})
	inserted := b.Elapsed()
	each(2, 64, func(ids []string) {
		filter := bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, {Key: "status", Value: "pending"}}
		must(c.UpdateMany(b.Context(), filter, bson.D{
			{Key: "$set", Value: bson.D{{Key: "status", Value: "running"}, {Key: "owner", Value: "o"},
				{Key: "nonce", Value: ids[0]}}},
			{Key: "$inc", Value: bson.D{{Key: "fence", Value: int64(1)}}}, {Key: "$unset",
				Value: bson.D{{Key: "place", Value: ""}}},
		}))
		cur, err := c.Find(b.Context(), bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}})
		must(nil, err)
		var docs []bson.Raw
		must(nil, cur.All(b.Context(), &docs))
	})
	claimed := b.Elapsed()
	each(2, 64, func(ids []string) {
		models := make([]mongo.WriteModel, len(ids))
		for i, id := range ids {
			models[i] = mongo.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: id}, {Key: "fence", Value: int64(1)}}).
				SetUpdate(bson.D{
					{Key: "$set", Value: bson.D{{Key: "status", Value: "success"}, {Key: "ended", Value: time.Now().UnixNano()},
						{Key: "result", Value: []byte("1")}}},
					{Key: "$unset", Value: bson.D{{Key: "owner", Value: ""}, {Key: "nonce", Value: ""}}},
				})
		}
		must(c.BulkWrite(b.Context(), models, options.BulkWrite().SetOrdered(false)))
	})
	perSecond := func(d time.Duration) float64 { return float64(b.N) / d.Seconds() }
	b.ReportMetric(perSecond(inserted), "inserts/s")
	b.ReportMetric(perSecond(claimed-inserted), "claims/s")
	b.ReportMetric(perSecond(b.Elapsed()-claimed), "settles/s")
	b.ReportMetric(perSecond(b.Elapsed()), "tasks/s")
}

// openAt opens and starts an App at an address.
func openAt(t testing.TB, a address, register func(*af.App)) *af.App {
	t.Helper()
	return open(t, parse(t, a.yaml()), register)
}
