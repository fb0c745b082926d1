package lists

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin/adminhttp"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/dashboard"
)

var window = flag.Duration("window", time.Second, "how long open pages are measured")

// BenchmarkOpen measures what open pages of the dashboard cost the process that serves them: the share of a core. The
// viewers are in the process; they read what they are sent and don't render it.
func BenchmarkOpen(b *testing.B) {
	for name, backend := range map[string]func(b *testing.B) af.Backend{
		"memory":   func(*testing.B) af.Backend { return memory.New() },
		"embedded": func(b *testing.B) af.Backend { return embedded.File(filepath.Join(b.TempDir(), "af.db")) },
	} {
		for _, events := range []int{0, 1000} { // tasks a second; each has several events
			b.Run(fmt.Sprintf("%s/tasks=%d", name, events), func(b *testing.B) { openPages(b, backend(b), events) })
		}
	}
}

type nothing struct{ ran atomic.Int64 }

func (w *nothing) Run(context.Context, payload) error {
	w.ran.Add(1)
	return nil
}

func openPages(b *testing.B, backend af.Backend, tasks int) {
	app, err := af.Open(b.Context(), backend, af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = app.Shutdown(context.Background()) })
	w := &nothing{}
	for _, queue := range queues {
		af.RegisterVoidWorker(app, describe(queue), w)
	}
	if err := app.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	some := make([]payload, 100)
	for i := range some {
		some[i] = payload{Number: i, Text: "a text of some length, as payloads have"}
	}
	q := af.NewVoidQueue[payload](app, describe("a"))
	for range 10 {
		if _, err := q.SubmitMany(b.Context(), some); err != nil {
			b.Fatal(err)
		}
	}
	if tasks > 0 {
		ticker := time.NewTicker(time.Second * 100 / time.Duration(tasks))
		defer ticker.Stop()
		ctx, cancel := context.WithCancel(b.Context())
		var group sync.WaitGroup
		defer group.Wait()
		defer cancel()
		group.Go(func() {
			for {
				select {
				case <-ticker.C:
					if _, err := q.SubmitMany(ctx, some); err != nil && ctx.Err() == nil {
						b.Error(err)
					}
				case <-ctx.Done():
					return
				}
			}
		})
	}
	for _, viewers := range []int{0, 1, 100} {
		for _, path := range []string{"/", "/tasks?q=queue:%d"} {
			if viewers == 0 && path != "/" {
				continue
			}
			name := map[bool]string{true: "different", false: "overview"}[path != "/"]
			b.Run(fmt.Sprintf("viewers=%d/%s", viewers, name), func(b *testing.B) {
				h := dashboard.Handler(app, dashboard.Authorize(adminhttp.Anyone))
				ctx, cancel := context.WithCancel(b.Context())
				var group sync.WaitGroup
				var pages atomic.Int64
				for i := range viewers {
					group.Go(func() {
						at := path
						if at != "/" {
							at = fmt.Sprintf(at, i)
						}
						view(ctx, h, at, &pages)
					})
				}
				time.Sleep(min(*window, 8*time.Second)) // what pages read first is not measured
				pages.Store(0)
				for b.Loop() {
					before, ran := used(), w.ran.Load()
					time.Sleep(*window)
					b.ReportMetric(100*float64(used()-before)/float64(*window), "%core")
					b.ReportMetric(float64(w.ran.Load()-ran)/window.Seconds(), "tasks/s")
				}
				b.ReportMetric(float64(pages.Load())/float64(b.N)/window.Seconds(), "pages/s")
				cancel()
				group.Wait()
			})
		}
	}
}

// used returns the processor time of this process.
func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // not of the own process
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// view reads a page when it is told that something has changed, at most once a second, as the script of a page does.
func view(ctx context.Context, h http.Handler, path string, pages *atomic.Int64) {
	events := &told{tick: make(chan struct{}, 1), header: http.Header{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.ServeHTTP(events, httptest.NewRequestWithContext(ctx, http.MethodGet, "/events", nil))
	}()
	for {
		select {
		case <-events.tick:
		case <-ctx.Done():
			<-ended
			return
		}
		next := time.After(time.Second)
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
		r.Header.Set("Accept-Encoding", "gzip")
		h.ServeHTTP(httptest.NewRecorder(), r)
		pages.Add(1)
		select {
		case <-next:
		case <-ctx.Done():
			<-ended
			return
		}
	}
}

// told is a writer of a stream that tells that an event came.
type told struct {
	tick   chan struct{}
	header http.Header
}

func (w *told) Header() http.Header { return w.header }
func (w *told) WriteHeader(int)     {}
func (w *told) Flush()              {}

func (w *told) Write(p []byte) (int, error) {
	if len(p) > 0 && p[0] != ':' { // a comment
		select {
		case w.tick <- struct{}{}:
		default:
		}
	}
	return len(p), nil
}
