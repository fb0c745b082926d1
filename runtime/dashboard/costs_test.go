package dashboard_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/dashboard"
)

// A counted is a backend that counts what is read from it for operators. The engine reads in other ways.
type counted struct {
	af.Backend

	mu    sync.Mutex
	reads map[string]int
}

func (c *counted) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := c.Backend.Open(ctx, env)
	if err == nil && env.Observer {
		ports.Store, ports.Docs = countedStore{ports.Store, c}, countedDocs{ports.Docs, c}
		ports.Coordinator = countedCoordinator{ports.Coordinator, c}
	}
	return ports, err
}

func (c *counted) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads[name]++
}

// take returns what was read since the last call.
func (c *counted) take() (n int, what map[string]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	what, c.reads = c.reads, map[string]int{}
	for one := range maps.Values(what) {
		n += one
	}
	return n, what
}

type countedStore struct {
	backend.Store
	c *counted
}

func (s countedStore) Get(ctx context.Context, id string) (backend.Task, error) {
	s.c.add("Get")
	return s.Store.Get(ctx, id)
}

func (s countedStore) List(ctx context.Context, q backend.TaskQuery) (backend.TaskPage, error) {
	s.c.add("List")
	return s.Store.List(ctx, q)
}

func (s countedStore) Queues(ctx context.Context) ([]backend.QueueCounts, error) {
	s.c.add("Queues")
	return s.Store.Queues(ctx)
}

func (s countedStore) Ahead(ctx context.Context, id string) (backend.Count, error) {
	s.c.add("Ahead")
	return s.Store.Ahead(ctx, id)
}

type countedDocs struct {
	backend.Docs
	c *counted
}

func (d countedDocs) Get(ctx context.Context, name string) (backend.Doc, error) {
	d.c.add("Docs.Get")
	return d.Docs.Get(ctx, name)
}

func (d countedDocs) GetAll(ctx context.Context, names []string) ([]backend.Doc, error) {
	d.c.add("Docs.GetAll")
	return d.Docs.GetAll(ctx, names)
}

func (d countedDocs) List(ctx context.Context, prefix string) ([]backend.Doc, error) {
	d.c.add("Docs.List")
	return d.Docs.List(ctx, prefix)
}

func (d countedDocs) Latest(ctx context.Context, prefix, before string, most int) ([]backend.Doc, error) {
	d.c.add("Docs.Latest")
	return d.Docs.Latest(ctx, prefix, before, most)
}

type countedCoordinator struct {
	backend.Coordinator
	c *counted
}

func (o countedCoordinator) Present(ctx context.Context, kind string) (map[string]json.RawMessage, error) {
	o.c.add("Present")
	return o.Coordinator.Present(ctx, kind)
}

// observed returns a working App's queue, and an observer of the same system whose reads are counted.
func observed(t *testing.T) (*af.App, af.Queue[any, any], *counted) {
	t.Helper()
	c := &counted{Backend: memory.New(), reads: map[string]int{}}
	log := af.Logger(slog.New(slog.NewTextHandler(io.Discard, nil)))
	app, err := af.Open(t.Context(), c, log)
	if err != nil {
		t.Fatal(err)
	}
	af.RegisterWorker(app, worker, &work{})
	observer, err := af.Open(t.Context(), c, log, af.Observer())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []*af.App{app, observer} {
		if err := a.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = a.Shutdown(context.Background()) })
	}
	return observer, af.NewQueue[any, any](app, worker), c
}

// A page reads the store a bounded number of times, whatever is stored.
func TestReadsOfPages(t *testing.T) {
	observer, q, c := observed(t)
	id, err := q.Submit(t.Context(), "x", af.TaskID("one"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := observer.WaitTask(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Submit(t.Context(), "x", af.TaskID("later"), af.Delay(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, page := range []struct {
		path string
		most int
	}{
		{"/", 14}, {"/tasks", 5}, {"/tasks?q=status:failed", 5}, {"/tasks/one", 3}, {"/tasks/later", 9}, {"/queues", 4},
		{"/queues/things", 8}, {"/jobs", 2}, {"/services", 1}, {"/machines", 9}, {"/audit", 1},
	} {
		h := dashboard.Handler(observer, everything)
		c.take()
		if status, body, _ := get(t, h, page.path); status != http.StatusOK {
			t.Errorf("%s: %d %s", page.path, status, body)
		}
		n, what := c.take()
		t.Logf("%-24s %2d reads: %v", page.path, n, what)
		if n > page.most {
			t.Errorf("%s reads %d times: %v", page.path, n, what)
		}
		get(t, h, page.path)
		if n, what := c.take(); n > 0 {
			t.Errorf("%s reads %d times within the same second: %v", page.path, n, what)
		}
	}
}

// While pages are open, the store is read a bounded number of times a second, with one viewer or a hundred, whether
// nothing happens or much. While none is open, nothing is read.
func TestReadsWhileOpen(t *testing.T) {
	paths := []string{"/", "/tasks", "/queues", "/queues/things", "/jobs", "/services", "/machines", "/audit"}
	for _, tt := range []struct {
		name    string
		viewers int
		tasks   int // that run a second
		pages   int // different ones
		filters int // different ones, instead of pages
		most    int // reads a second
	}{
		{"one_idle", 1, 0, 1, 0, 12}, {"many_idle", 100, 0, 8, 0, 16}, {"one_busy", 1, 200, 1, 0, 25},
		{"many_busy", 100, 200, 8, 0, 50}, {"filters_busy", 100, 200, 8, 100, 55},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				observer, q, c := observed(t)
				h := dashboard.Handler(observer, everything)
				ctx, cancel := context.WithCancel(t.Context())
				var group sync.WaitGroup
				for i := range tt.viewers {
					path := paths[i%tt.pages]
					if tt.filters > 0 {
						path = fmt.Sprintf("/tasks?q=queue:q%d", i%tt.filters)
					}
					group.Go(func() { open(ctx, t, h, path) })
				}
				const seconds = 10
				time.Sleep(3 * time.Second)
				c.take()
				for range seconds * 10 {
					for range tt.tasks / 10 {
						if _, err := q.Submit(t.Context(), "x"); err != nil {
							t.Error(err)
						}
					}
					time.Sleep(time.Second / 10)
				}
				n, what := c.take()
				t.Logf("%d viewers, %d tasks a second: %.1f reads a second, %v in %d s", tt.viewers, tt.tasks,
					float64(n)/seconds, what, seconds)
				if n > tt.most*seconds {
					t.Errorf("%d reads in %d s: %v", n, seconds, what)
				}
				cancel()
				group.Wait()
				time.Sleep(2 * time.Second)
				c.take()
				time.Sleep(10 * time.Second)
				if n, what := c.take(); n > 10 { // those of an App of its own
					t.Errorf("%d reads without a viewer: %v", n, what)
				}
			})
		})
	}
}

// open does what the script of a page does until ctx ends: it reads the page when it is told that something has
// changed, at most once a second.
func open(ctx context.Context, t *testing.T, h http.Handler, path string) {
	events := &lineWriter{lines: make(chan struct{}, 1), header: http.Header{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.ServeHTTP(events, httptest.NewRequestWithContext(ctx, http.MethodGet, "/events", nil))
	}()
	for {
		select {
		case <-events.lines:
		case <-ctx.Done():
			<-ended
			return
		}
		time.Sleep(50 * time.Millisecond)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil))
		if ctx.Err() == nil && w.Code != http.StatusOK {
			t.Errorf("%s: %d", path, w.Code)
		}
		time.Sleep(time.Second)
	}
}

// A lineWriter tells that an event was written.
type lineWriter struct {
	lines  chan struct{}
	header http.Header
}

func (w *lineWriter) Header() http.Header { return w.header }
func (w *lineWriter) WriteHeader(int)     {}
func (w *lineWriter) Flush()              {}

func (w *lineWriter) Write(p []byte) (int, error) {
	if p[0] != ':' { // a comment
		select {
		case w.lines <- struct{}{}:
		default:
		}
	}
	return len(p), nil
}
