package browser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/browser/chrome"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/dashboard"
)

// patience is how long anything in a test may take. Only a failure takes that long.
const patience = 20 * time.Second

var browser struct {
	once sync.Once
	*chrome.Browser
	err error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if browser.Browser != nil {
		browser.Close()
	}
	os.Exit(code)
}

// A user uses the dashboard in a tab. Its methods fail the test if something can't be done.
type user struct {
	*testing.T
	tab  *chrome.Tab
	site *site
}

// open opens a tab of the browser that all tests share. Without a browser it skips the test.
func open(t *testing.T, s *site, v chrome.View) *user {
	t.Helper()
	browser.once.Do(func() { browser.Browser, browser.err = chrome.Start(context.Background()) })
	if errors.Is(browser.err, chrome.ErrNone) {
		t.Skip(browser.err)
	}
	must(t, browser.err)
	tab, err := browser.Open(v)
	must(t, err)
	t.Cleanup(tab.Close)
	return &user{T: t, tab: tab, site: s}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within calls f with a context that ends when f takes too long.
func (u *user) within(f func(ctx context.Context) error) {
	u.Helper()
	ctx, cancel := context.WithTimeout(u.Context(), patience)
	defer cancel()
	must(u.T, f(ctx))
}

func (u *user) goes(path string) {
	u.Helper()
	u.within(func(ctx context.Context) error { return u.tab.Go(ctx, u.site.url+path) })
}

func (u *user) clicks(css, text string) {
	u.Helper()
	u.within(func(ctx context.Context) error { return u.tab.Click(ctx, css, text) })
}

func (u *user) follows(css, text string) {
	u.Helper()
	u.within(func(ctx context.Context) error { return u.tab.Follow(ctx, css, text) })
}

func (u *user) fills(css, text string) {
	u.Helper()
	u.within(func(ctx context.Context) error { return u.tab.Fill(ctx, css, text) })
}

func (u *user) presses(keys string) {
	u.Helper()
	u.within(func(ctx context.Context) error { return u.tab.Press(ctx, keys) })
}

// sees waits until a condition, in JavaScript, holds in the page.
func (u *user) sees(condition string) {
	u.Helper()
	u.within(func(ctx context.Context) error { return u.tab.Wait(ctx, condition) })
}

// reads waits until an element has a text.
func (u *user) reads(css, text string) {
	u.Helper()
	u.sees(fmt.Sprintf(`document.querySelector(%q).textContent.includes(%q)`, css, text))
}

// live waits until the page gets events.
func (u *user) live() {
	u.Helper()
	u.reads("#live", "live")
}

// value returns what a JavaScript expression is.
func value[T any](u *user, expression string) T {
	u.Helper()
	var v T
	u.within(func(ctx context.Context) error { return u.tab.Eval(ctx, expression, &v) })
	return v
}

// clean fails if the pages so far have reported a problem, or have requested anything from elsewhere.
func (u *user) clean(allowed ...string) {
	u.Helper()
	for _, p := range u.tab.Problems() {
		ok := false
		for _, a := range allowed {
			ok = ok || strings.Contains(p, a)
		}
		if !ok {
			u.Errorf("the browser reports %s", p)
		}
	}
	for _, r := range u.tab.Requests() {
		if !strings.HasPrefix(r, u.site.origin+"/") {
			u.Errorf("the page requests %s", r)
		}
	}
}

// A site is a dashboard at an address.
type site struct {
	origin, url string // without a final slash; url has the prefix
	server      *httptest.Server
}

// serve serves a handler below a prefix until the test ends.
func serve(t *testing.T, prefix string, h http.Handler, change ...func(*http.Server)) *site {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	for _, c := range change {
		c(server.Config)
	}
	server.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = server.Config.Shutdown(ctx) // ends the streams, which Close would wait for
		server.Close()
	})
	return &site{origin: server.URL, url: server.URL + prefix, server: server}
}

// as authorizes every request as a user with these rights.
func as(name string, rights ...admin.Right) dashboard.Option {
	return dashboard.Authorize(func(*http.Request) (admin.User, error) {
		return admin.User{Name: name, Rights: rights}, nil
	})
}

var ann = as("ann", admin.AllRights()...)

// A worker does what its payload says.
type work struct {
	subs    af.Queue[any, any] // the queue of subtasks
	release chan struct{}      // ends those that wait
}

func (w *work) Run(ctx context.Context, v any) (any, error) {
	task := af.TaskFrom(ctx)
	log := af.LoggerFrom(ctx)
	log.Info("begun", "attempt", task.Attempt)
	switch m, _ := v.(map[string]any); m["do"] {
	case "wait":
		if err := task.Progress(ctx, map[string]any{"lines": 12, "of": 40}); err != nil {
			return nil, err
		}
		select {
		case <-w.release:
			log.Warn("released")
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	case "fail":
		return nil, af.Permanent(af.NewError(af.ErrDataLoss, text(m), detail{Hint: text(m)}))
	case "retry":
		return nil, af.NewError(af.ErrUnavailable, "the printer is out of paper")
	case "split":
		parts := []any{"one", map[string]any{"do": "wait"}, map[string]any{"do": "fail"}}
		_, err := w.subs.Subtasks(ctx, task.ID, parts, af.OnFailure(af.CollectFailures)) // the failed one stops no other
		return nil, err
	case "log":
		log.Error(text(m))
	}
	return v, nil
}

func text(m map[string]any) string {
	if s, ok := m["text"].(string); ok {
		return s
	}
	return "disk full"
}

type detail struct {
	Hint string `json:"hint"`
}

type (
	calc     struct{}
	calcArgs struct {
		X    int            `json:"x"`
		Y    int            `json:"y"`
		Loud bool           `json:"loud"`
		More map[string]any `json:"more"`
	}
	calcReply struct {
		Sum  int    `json:"sum"`
		Text string `json:"text"`
	}
)

var add = af.Method[calcArgs, calcReply]{Service: "calc", Name: "Add", Fingerprint: "f1", Idempotent: true,
	Signature: "(x int, y int, loud bool, more map[string]any) (sum int, text string)"}

var odd = af.Method[calcArgs, calcReply]{Service: "calc", Name: "Odd", Fingerprint: "f2", Signature: evil}

// A system is a started App on the memory backend.
type system struct {
	*af.App
	work    *work
	release func()
	queue   af.Queue[any, any]
}

var prints = af.Worker{Name: "prints", Type: "Prints", Max: 4, Weight: 1}

// start starts an App; idle starts one without workers and services.
func start(t *testing.T) *system {
	t.Helper()
	s := idle(t, func(s *system) {
		parts := af.Worker{Name: "parts", Type: "Parts", Max: 4, Weight: 1}
		s.work.subs = af.NewQueue[any, any](s.App, parts)
		af.RegisterWorker(s.App, prints, s.work, af.Retries(3), af.Backoff(time.Hour, time.Hour))
		af.RegisterWorker(s.App, parts, s.work)
		handle := func(_ context.Context, _ *calc, a calcArgs) (calcReply, error) {
			if a.X < 0 {
				return calcReply{}, af.NewError(af.ErrOutOfRange, "x is negative "+evil, detail{Hint: evil})
			}
			return calcReply{Sum: a.X + a.Y, Text: evil}, nil
		}
		af.RegisterService(s.App, af.Service{Name: "calc", Type: "Calc", Concurrency: 4}, &calc{},
			af.Bind(&add, handle), af.Bind(&odd, handle))
	})
	s.queue = af.NewQueue[any, any](s.App, prints)
	return s
}

func idle(t *testing.T, register func(*system)) *system {
	t.Helper()
	app, err := af.Open(t.Context(), memory.New(), af.Version("v1.2.3"), af.IP("10.0.0.7"),
		af.Logger(slog.New(slog.NewTextHandler(io.Discard, nil))),
		af.NodeFacts(func(context.Context) af.Node {
			return af.Node{Host: "press-1", OS: "linux", Arch: "amd64", Platform: "debian 13", CPUs: 4,
				MemoryTotal: 16 << 30, DiskTotal: 100 << 30}
		}))
	must(t, err)
	s := &system{App: app, work: &work{release: make(chan struct{})}}
	s.release = sync.OnceFunc(func() { close(s.work.release) })
	register(s)
	must(t, app.Start(t.Context()))
	t.Cleanup(func() {
		s.release()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = app.Shutdown(ctx)
	})
	return s
}

// submit submits a task that does something, and returns its id.
func (s *system) submit(t *testing.T, do string, opts ...af.SubmitOption) string {
	t.Helper()
	id, err := s.queue.Submit(t.Context(), map[string]any{"do": do}, opts...)
	must(t, err)
	return id
}

// reaches waits until a task has a status.
func (s *system) reaches(t *testing.T, id string, status af.Status) af.Task {
	t.Helper()
	var task af.Task
	testkit.Succeeds(t, "the task is "+string(status), func() (err error) {
		if task, err = s.GetTask(t.Context(), id); err == nil && task.Status != status {
			err = fmt.Errorf("task %s is %s: %+v", id, task.Status, task.Error)
		}
		return err
	})
	return task
}

// audited fails unless the newest entries of the audit log are these, each "action target reason", the newest first.
func (s *system) audited(t *testing.T, want ...string) {
	t.Helper()
	page, err := s.Audit(t.Context(), af.AuditQuery{Limit: len(want)})
	must(t, err)
	var got []string
	for _, e := range page.Entries {
		if e.By != "ann" || e.Error != "" {
			t.Errorf("%s is by %q, error %q", e.Action, e.By, e.Error)
		}
		got = append(got, strings.TrimSpace(e.Action+" "+e.Target+" "+e.Reason))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("audit log:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
