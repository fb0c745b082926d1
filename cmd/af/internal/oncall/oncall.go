// Package oncall plays a night on call: a shop in which many things are wrong at once, and the questions that the
// engineer on call asks the command af. The questions, commands and answers are a section of docs/operations.md.
// [Play] asks them again, and compares, so that the section can't rot.
//
// Answers are compared without what differs from night to night: times, durations, ids and the widths of columns.
package oncall

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/adminhttp"
)

const patience = time.Minute

// A Shop is a system with two instances. Its seven queues: mails are sent, imports always fail, videos hang, thumbnails
// have no worker, invoices are paused, sizes have tasks of another version, and reports may run only at an address that
// no instance has. Due times of the job prices are skipped, because the task of an earlier one is paused.
type Shop struct {
	*testing.T
	web    *af.App // the instance that administers
	report string  // the task of the job nightly
	url    string  // of the API that web serves
}

type worker[P any] struct {
	run func(context.Context, P) error
}

func (w *worker[P]) Run(ctx context.Context, p P) error { return w.run(ctx, p) }

// queue returns the worker of a queue.
func queue(name string) af.Worker {
	return af.Worker{Name: name, Type: strings.ToUpper(name[:1]) + name[1:], Max: 2, Weight: 1}
}

// The versions of the payload of queue sizes.
const (
	oldPayload = "4f1d09ab77c2"
	newPayload = "b2c95e6013aa"
)

// open opens and starts an instance.
func (s *Shop) open(b af.Backend, host, ip, version string, register func(*af.App)) *af.App {
	s.Helper()
	app, err := af.Open(s.Context(), b, af.IP(ip), af.Version(version), af.Logger(slog.New(slog.DiscardHandler)),
		af.NodeFacts(func(context.Context) af.Node {
			return af.Node{ID: host, Host: host, OS: "linux", Arch: "amd64", CPUs: 8, MemoryTotal: 32 << 30,
				DiskTotal: 200 << 30, NodeSample: af.NodeSample{MemoryUsed: 9 << 30, DiskUsed: 61 << 30, CPU: 0.12, Load1: 0.9}}
		}))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := app.Shutdown(ctx); err != nil {
			s.Errorf("shutdown of %s: %v", host, err)
		}
	})
	register(app)
	if err := app.Start(s.Context()); err != nil {
		s.Fatal(err)
	}
	return app
}

// newShop starts the shop, and returns when everything that is wrong has happened.
func newShop(t *testing.T, b af.Backend) *Shop {
	t.Helper()
	s := &Shop{T: t}
	over := make(chan struct{}) // the night
	mail := func(app *af.App) {
		send := func(ctx context.Context, p json.RawMessage) error {
			af.LoggerFrom(ctx).Info("sent", "to", string(p))
			return nil
		}
		af.RegisterVoidWorker(app, queue("mails"), &worker[json.RawMessage]{send})
	}
	sizes := queue("sizes")
	sizes.Payload = oldPayload
	s.web = s.open(b, "web-1", "10.0.0.7", "v1.4.0", func(app *af.App) {
		mail(app)
		af.RegisterVoidWorker(app, queue("imports"), &worker[json.RawMessage]{func(context.Context, json.RawMessage) error {
			return af.Permanent(af.NewError(af.ErrDataLoss, "line 17 has 3 columns, want 4"))
		}})
		af.RegisterVoidWorker(app, queue("videos"), &worker[json.RawMessage]{func(context.Context, json.RawMessage) error {
			<-over // whatever happens to its context
			return errors.New("interrupted")
		}})
		af.RegisterVoidWorker(app, queue("invoices"), &worker[json.RawMessage]{func(context.Context, json.RawMessage) error {
			return nil
		}})
		af.RegisterVoidWorker(app, sizes, &worker[int]{func(context.Context, int) error { return nil }})
		af.RegisterVoidWorker(app, queue("reports"), &worker[json.RawMessage]{func(context.Context, json.RawMessage) error {
			return nil
		}})
	})
	s.open(b, "web-2", "10.0.0.8", "v1.5.0", mail)
	s.Cleanup(func() { close(over) }) // before the Apps are shut down

	handler, err := adminhttp.Handler(admin.New(s.web), adminhttp.Options{Authorize: adminhttp.Anyone})
	if err != nil {
		s.Fatal(err)
	}
	server := httptest.NewServer(handler)
	s.Cleanup(server.Close)
	s.url = server.URL

	s.submit("mails", "mail-1", `"bo@example.com"`)
	s.submit("imports", "import-1", `{"file":"prices.csv"}`)
	s.submit("thumbnails", "thumb-1", `{"photo":81}`)
	s.must(s.web.PauseQueue(s.Context(), "invoices", af.By("ann"), af.Reason("wrong prices")))
	s.until("the pause is applied", func() bool {
		page, err := s.web.Workers(s.Context(), af.WorkerQuery{Queue: "invoices"})
		return err == nil && len(page.Workers) == 1 && page.Workers[0].Applied == 0
	})
	s.submit("invoices", "invoice-1", `{"order":4711}`)
	s.skip()
	other := queue("sizes")
	other.Payload = newPayload
	if _, err := af.NewVoidQueue[string](s.web, other).Submit(s.Context(), "80x60", af.TaskID("size-1")); err != nil {
		s.Fatal(err)
	}
	s.must(af.NewVoidQueue[int](s.web, queue("reports")).Schedule(s.Context(), "nightly", "0 2 * * *", 1,
		af.AllowIPs("10.0.0.9")))
	if s.report, err = s.web.RunJob(s.Context(), "nightly", af.By("ann")); err != nil {
		s.Fatal(err)
	}
	s.submit("videos", "video-1", `{"file":"a.mov"}`, af.Timeout(time.Second))
	s.submit("videos", "video-2", `{"file":"b.mov"}`)
	s.until("two videos run", func() bool {
		page, err := s.web.Tasks(s.Context(), af.TaskQuery{Queue: "videos", Statuses: []af.Status{af.StatusRunning}})
		return err == nil && len(page.Tasks) == 2
	})
	s.submit("videos", "video-3", `{"file":"c.mov"}`)
	s.until("the handler of video-1 is abandoned", func() bool { return len(s.web.Health().Degraded) > 0 })
	return s
}

// skip lets the job prices skip a due time.
func (s *Shop) skip() {
	s.Helper()
	prices := af.NewVoidQueue[int](s.web, queue("invoices"))
	s.must(prices.Schedule(s.Context(), "prices", "* * * * * *", 1, af.Overlap(af.OverlapSkip)))
	skipped := true
	s.until("a due time is skipped", func() bool {
		page, err := s.web.Fires(s.Context(), af.FireQuery{Job: "prices", Skipped: &skipped})
		return err == nil && len(page.Fires) > 0
	})
	s.must(prices.Schedule(s.Context(), "prices", "0 * * * *", 1, af.Overlap(af.OverlapSkip)))
}

func (s *Shop) submit(name, id, payload string, opts ...af.SubmitOption) {
	s.Helper()
	q := af.NewVoidQueue[json.RawMessage](s.web, queue(name))
	if _, err := q.Submit(s.Context(), json.RawMessage(payload), append(opts, af.TaskID(id))...); err != nil {
		s.Fatal(err)
	}
}

func (s *Shop) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// until waits until something holds.
func (s *Shop) until(what string, holds func() bool) {
	s.Helper()
	for begun := time.Now(); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > patience {
			s.Fatalf("not within %v: %s", patience, what)
		}
	}
}
