package lists

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"testing"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin/adminhttp"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/dashboard"
)

// BenchmarkPages measures the first render of each page of the dashboard: from the request to the last byte, by an App
// that has connections and has read nothing before.
func BenchmarkPages(b *testing.B) {
	b.Run("embedded", func(b *testing.B) {
		pages(b, embedded.File(filepath.Join(b.TempDir(), "af.db")))
	})
	b.Run("servers", func(b *testing.B) { pages(b, realServers(b)) })
}

func pages(b *testing.B, backend af.Backend) {
	s := fill(b, backend)
	source := s.operate(b)
	ctx := b.Context()
	newest := func(q af.TaskQuery) string {
		q.Limit = 1
		page, err := s.app.Tasks(ctx, q)
		if err != nil || len(page.Tasks) == 0 {
			b.Fatalf("no task of %+v: %v", q, err)
		}
		return "/tasks/" + url.PathEscape(page.Tasks[0].ID)
	}
	tasks := func(filter string) string { return "/tasks?q=" + url.QueryEscape(filter) }
	for _, page := range []struct{ name, path string }{
		{"overview", "/"},
		{"tasks", "/tasks"},
		{"tasks_queue_status", tasks("queue:b status:success")},
		{"tasks_failed", tasks("status:failed")},
		{"tasks_since", tasks("since:1h")},
		{"tasks_code", tasks("code:data_loss")},
		{"tasks_looked", tasks("id:none")}, // looks as far as it may
		{"task_ended", newest(af.TaskQuery{Statuses: []af.Status{af.StatusFailed}, Sort: af.TasksByEnd})},
		{"task_running", newest(af.TaskQuery{Statuses: []af.Status{af.StatusRunning}})},
		{"task_waiting", "/tasks/" + url.PathEscape(s.waiting)},
		{"task_tree", "/tasks/" + url.PathEscape(source)},
		{"queues", "/queues"},
		{"queue", "/queues/b"},
		{"jobs", "/jobs"},
		{"job", "/jobs/job-1"},
		{"services", "/services"},
		{"method", "/services/echo/Say"},
		{"machines", "/machines"},
		{"audit", "/audit"},
	} {
		b.Run(page.name, func(b *testing.B) {
			size := 0
			render := func(app *af.App) error {
				h := dashboard.Handler(app, dashboard.Authorize(adminhttp.Anyone))
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, page.path, nil))
				if size = w.Body.Len(); w.Code != http.StatusOK {
					return fmt.Errorf("%s: %d %s", page.path, w.Code, w.Body)
				}
				return nil
			}
			var app *af.App
			end := func() {}
			fresh := func() *af.App {
				end()
				app, end = s.observe(b)
				return app
			}
			measureFresh(b, fresh, render)
			b.ReportMetric(float64(size), "bytes")
			fresh()
			s.profile(b, func() error { return render(app) })
			end()
		})
	}
}

type (
	echo      struct{}
	echoValue struct {
		Text string `json:"text"`
	}
	// busy runs until its App shuts down.
	busy struct{ runs chan struct{} }
)

func (w *busy) Run(ctx context.Context, _ payload) error {
	select {
	case w.runs <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

var say = af.Method[echoValue, echoValue]{Service: "echo", Name: "Say", Fingerprint: "f1",
	Signature: "(text string) (said string)"}

// operate adds what the pages show other than tasks: busy workers, a service, jobs, changes, and a tree of tasks, of which
// it returns the first.
func (s *system) operate(b *testing.B) string {
	ctx := b.Context()
	app, err := af.Open(ctx, s.backend, af.Logger(slog.New(slog.DiscardHandler)), af.Retention(0, 0))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel() // what runs does not end by itself
		_ = app.Shutdown(now)
	})
	runs := make(chan struct{}, 1)
	for _, queue := range queues {
		w := describe(queue)
		w.Max = 2
		af.RegisterVoidWorker(app, w, &busy{runs})
	}
	af.RegisterService(app, af.Service{Name: "echo", Type: "Echo", Concurrency: 4}, &echo{},
		af.Bind(&say, func(_ context.Context, _ *echo, v echoValue) (echoValue, error) { return v, nil }))
	const kids = 200
	sources := make(chan string, 1)
	source := af.Worker{Name: "sources", Type: "Source", Max: 1, Weight: 1}
	af.RegisterVoidWorker(app, source, &spawner{func(ctx context.Context) error {
		some := make([]payload, kids)
		id := af.TaskFrom(ctx).ID
		if _, err := af.NewVoidQueue[payload](app, describe("kids")).Subtasks(ctx, id, some); err != nil {
			return err
		}
		sources <- id
		return nil
	}})
	if err := app.Start(ctx); err != nil {
		b.Fatal(err)
	}
	if _, err := af.NewVoidQueue[payload](app, source).Submit(ctx, payload{}); err != nil {
		b.Fatal(err)
	}
	for i := range 100 {
		err := af.NewVoidQueue[payload](app, describe("jobs")).Schedule(ctx, fmt.Sprint("job-", i), "0 0 1 1 *", payload{})
		if err != nil {
			b.Fatal(err)
		}
		if err := app.PauseQueue(ctx, "kids", af.By("ann"), af.Reason("a reason"), af.Create()); err != nil {
			b.Fatal(err)
		}
	}
	<-runs
	return <-sources
}

type spawner struct {
	run func(ctx context.Context) error
}

func (s *spawner) Run(ctx context.Context, _ payload) error { return s.run(ctx) }
