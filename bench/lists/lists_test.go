package lists

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/backend/servers"
	"github.com/afgen/afgen/runtime/config"
)

var stored = flag.Int("tasks", 2_000, "number of stored tasks")

// A payload identifies a task for filters.
type payload struct {
	Number int    `json:"number"`
	User   user   `json:"user"`
	Text   string `json:"text"`
}

type user struct {
	ID int `json:"id"`
}

type worker struct {
	ran  atomic.Int64
	ends chan struct{} // a value for each run
}

func (w *worker) Run(_ context.Context, p payload) error {
	defer func() { w.ends <- struct{}{} }()
	if w.ran.Add(1)%10 == 0 {
		return af.Permanent(af.NewError(af.ErrDataLoss, fmt.Sprintf("task %d is broken", p.Number)))
	}
	return nil
}

var queues = []string{"a", "b", "c"}

func describe(queue string) af.Worker {
	return af.Worker{Name: queue, Type: queue, Max: 100, Weight: 1}
}

// A system is a filled store.
type system struct {
	backend af.Backend
	app     *af.App
	deep    string // a cursor after many tasks
	waiting string // a task in line
	middle  time.Time
}

func BenchmarkLists(b *testing.B) {
	b.Run("embedded", func(b *testing.B) {
		lists(b, embedded.File(filepath.Join(b.TempDir(), "af.db")))
	})
	b.Run("servers", func(b *testing.B) { lists(b, realServers(b)) })
}

func realServers(b *testing.B) af.Backend {
	cfg, err := config.Parse("config.yaml", fmt.Appendf(nil,
		"mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n",
		devstack.Mongo(b), devstack.Redis(b), devstack.AMQP(b)), nil)
	if err != nil {
		b.Fatal(err)
	}
	return servers.From(cfg)
}

func lists(b *testing.B, backend af.Backend) {
	s := fill(b, backend)
	page := func(group, name string, q af.TaskQuery) {
		q.Limit = 20
		b.Run(group+"/"+name, func(b *testing.B) {
			looked := 0
			measure(b, func() error {
				page, err := s.app.Tasks(b.Context(), q)
				if looked = page.Looked; group == "bounded" && (looked == 0 || len(page.Tasks) > 0) {
					return fmt.Errorf("looked at %d tasks and found %d", looked, len(page.Tasks))
				}
				if group == "indexed" && len(page.Tasks) == 0 {
					return fmt.Errorf("no task: %w", err)
				}
				return err
			})
			if looked > 0 {
				b.ReportMetric(float64(looked), "looked")
			}
		})
	}
	count := func(name string, do func(ctx context.Context) error) {
		b.Run("counts/"+name, func(b *testing.B) { measure(b, func() error { return do(b.Context()) }) })
	}
	waiting, success, failed := []af.Status{af.StatusWaiting}, []af.Status{af.StatusSuccess}, []af.Status{af.StatusFailed}
	for name, q := range map[string]af.TaskQuery{
		"all": {}, "deep": {Cursor: s.deep}, "oldest": {Sort: af.TasksByOldest}, "ended": {Sort: af.TasksByEnd},
		"before": {Before: s.middle}, "after": {After: s.middle, Sort: af.TasksByOldest},
		"queue": {Queue: "b"}, "queue_status": {Queue: "b", Statuses: success}, "status": {Statuses: waiting},
		"statuses":    {Statuses: []af.Status{af.StatusSuccess, af.StatusFailed}},
		"queue_ended": {Queue: "b", Sort: af.TasksByEnd},
		"failed":      {Statuses: failed, Sort: af.TasksByEnd},
		"code":        {Code: af.ErrDataLoss, Statuses: failed},
		"queue_code":  {Queue: "b", Code: af.ErrDataLoss, Statuses: failed},
	} {
		page("indexed", name, q)
	}
	count("queues", func(ctx context.Context) error { _, err := s.app.Queues(ctx); return err })
	count("ahead", func(ctx context.Context) error { _, err := s.app.Ahead(ctx, s.waiting); return err })
	count("history", func(ctx context.Context) error { _, err := s.app.History(ctx, af.HistoryQuery{}); return err })
	for name, f := range map[string]af.TaskFilter{
		"text": {Text: "no such text"}, "instance": {Instance: "none"}, "unique": {UniqueKey: "none"},
		"retry_of": {RetryOf: "none"},
		"id":       {IDPrefix: "none"}, "payload": {Payload: []af.PayloadMatch{{Path: "user.id", Value: "-1"}}},
	} {
		page("bounded", name, af.TaskQuery{Filter: f})
		page("bounded", name+"_in_queue_status", af.TaskQuery{Queue: "b", Statuses: waiting, Filter: f})
	}
}

// measure runs do and reports percentiles.
func measure(b *testing.B, do func() error) {
	measureFresh(b, func() struct{} { return struct{}{} }, func(struct{}) error { return do() })
}

// measureFresh is measure for a function of what prepare returns, whose time does not count.
func measureFresh[T any](b *testing.B, prepare func() T, do func(T) error) {
	var took []time.Duration
	for b.Loop() {
		on := prepare()
		begun := time.Now()
		if err := do(on); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	at := func(share float64) float64 {
		return float64(took[min(int(share*float64(len(took))), len(took)-1)].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
}

// fill stores the tasks.
func fill(b *testing.B, backend af.Backend) *system {
	ctx := b.Context()
	open := func(register func(*af.App)) *af.App {
		app, err := af.Open(ctx, backend, af.Logger(slog.New(slog.DiscardHandler)), af.Retention(0, 0))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = app.Shutdown(context.Background()) })
		register(app)
		if err := app.Start(ctx); err != nil {
			b.Fatal(err)
		}
		return app
	}
	s := &system{backend: backend, app: open(func(*af.App) {})}
	number := 0
	submit := func(n int, opts ...af.SubmitOption) {
		for n > 0 {
			some := make([]payload, min(n, 1000))
			for i := range some {
				number++
				some[i] = payload{Number: number, User: user{number % 1000}, Text: "a text of some length, as payloads have"}
			}
			q := af.NewVoidQueue[payload](s.app, describe(queues[number/1000%len(queues)]))
			if _, err := q.SubmitMany(ctx, some, opts...); err != nil {
				b.Fatal(err)
			}
			n -= len(some)
		}
	}
	ended := *stored / 20
	w := &worker{ends: make(chan struct{}, 1000)}
	submit(ended)
	working := open(func(app *af.App) {
		for _, queue := range queues {
			af.RegisterVoidWorker(app, describe(queue), w)
		}
	})
	for range ended {
		<-w.ends
	}
	if err := working.Shutdown(ctx); err != nil {
		b.Fatal(err)
	}
	later := af.RunAt(time.Now().Add(365 * 24 * time.Hour))
	due := min(1000, *stored/10)
	submit((*stored-ended-due)/2, later)
	s.middle = time.Now()
	submit((*stored-ended-due)/2, later)
	submit(due)
	page, err := s.app.Tasks(ctx, af.TaskQuery{Statuses: []af.Status{af.StatusPending, af.StatusWaiting}, Limit: 1})
	if err != nil || len(page.Tasks) == 0 {
		b.Fatalf("%d waiting tasks: %v", len(page.Tasks), err)
	}
	s.waiting = page.Tasks[0].ID
	for seen := 0; seen < min(*stored/2, 50_000); {
		page, err := s.app.Tasks(ctx, af.TaskQuery{Limit: min(1000, *stored/4), Cursor: s.deep})
		if err != nil {
			b.Fatal(err)
		}
		s.deep, seen = page.Cursor, seen+len(page.Tasks)
	}
	return s
}
