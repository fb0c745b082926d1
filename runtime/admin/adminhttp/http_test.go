package adminhttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/adminhttp"
	"github.com/afgen/afgen/runtime/backend/memory"
)

var numbers = af.Worker{Name: "numbers", Type: "Numbers", Max: 2, Weight: 1}

type work struct{}

func (*work) Run(ctx context.Context, n int) error {
	af.LoggerFrom(ctx).Info("got", "n", n)
	if n < 0 {
		return af.Permanent(af.NewError(af.ErrOutOfRange, "negative"))
	}
	return nil
}

// start returns an App with a worker.
func start(t *testing.T) *af.App {
	t.Helper()
	app, err := af.Open(t.Context(), memory.New())
	if err != nil {
		t.Fatal(err)
	}
	af.RegisterVoidWorker(app, numbers, &work{})
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = app.Shutdown(context.Background()) })
	return app
}

// serve returns a client of an API that is served.
func serve(t *testing.T, api admin.API, o adminhttp.Options) (admin.API, *httptest.Server) {
	t.Helper()
	h, err := adminhttp.Handler(api, o)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ops/", http.StripPrefix("/ops", h))
	server := httptest.NewUnstartedServer(mux)
	server.Config.ReadTimeout, server.Config.WriteTimeout = 500*time.Millisecond, 500*time.Millisecond
	server.Start()
	t.Cleanup(server.Close)
	client, err := adminhttp.NewClient(server.URL+"/ops/", adminhttp.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

// The same calls have the same results and errors on an App, through a Guard, and over HTTP.
func TestAPI(t *testing.T) {
	for name, wrap := range map[string]func(*testing.T, admin.API) admin.API{
		"direct": func(_ *testing.T, api admin.API) admin.API { return api },
		"guard": func(_ *testing.T, api admin.API) admin.API {
			return admin.Guard(api, admin.User{Name: "ann", Rights: admin.AllRights()})
		},
		"http": func(t *testing.T, api admin.API) admin.API {
			client, _ := serve(t, api, adminhttp.Options{Authorize: adminhttp.Anyone})
			return client
		},
	} {
		t.Run(name, func(t *testing.T) {
			app := start(t)
			testAPI(t, app, wrap(t, admin.New(app)))
		})
	}
}

func testAPI(t *testing.T, app *af.App, api admin.API) {
	ctx := t.Context()
	act := admin.Action{By: "ann", Reason: "a test"}
	code := func(what string, err error, want af.Code, outcome af.Outcome) {
		t.Helper()
		var e *af.Error
		if !errors.As(err, &e) || e.Code != want || e.Outcome != outcome || e.Message == "" {
			t.Errorf("%s: got %#v, want %s, %v", what, err, want, outcome)
		}
	}
	ok := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}

	dry, err := api.Submit(ctx, admin.Submission{Queue: "numbers", Payload: []byte("1"), ID: "a/b ?"},
		admin.Action{DryRun: true})
	if err != nil || dry.Created || dry.ID != "a/b ?" {
		t.Errorf("dry run: %+v, %v", dry, err)
	}
	for _, created := range []bool{true, false} {
		got, err := api.Submit(ctx, admin.Submission{Queue: "numbers", Payload: []byte("1"), ID: "a/b ?",
			Metadata: af.Metadata{"tenant": "x"}}, act)
		if err != nil || got.ID != "a/b ?" || got.Created != created {
			t.Errorf("submitted %+v, %v", got, err)
		}
	}
	if _, err := app.WaitTask(ctx, "a/b ?"); err != nil {
		t.Fatal(err)
	}
	task, err := api.Task(ctx, "a/b ?")
	if err != nil || task.Status != af.StatusSuccess || task.Metadata["tenant"] != "x" || string(task.Payload) != "1" {
		t.Errorf("%+v, %v", task, err)
	}
	_, err = api.Task(ctx, "none")
	code("Task", err, af.ErrNotFound, af.OutcomeUnknown)
	_, err = api.Submit(ctx, admin.Submission{Payload: []byte("1")}, act)
	code("Submit", err, af.ErrInvalidArgument, af.OutcomeNotSent)
	_, err = api.Submit(ctx, admin.Submission{Queue: "numbers", Payload: []byte("1"), Delay: -1}, act)
	code("Submit", err, af.ErrInvalidArgument, af.OutcomeNotSent)
	code("RunNow", api.RunNow(ctx, "a/b ?", admin.Action{DryRun: true}), af.ErrFailedPrecondition, af.OutcomeNotSent)

	bad, err := api.Submit(ctx, admin.Submission{Queue: "numbers", Payload: []byte("-1")}, act)
	ok("Submit", err)
	if _, err := app.WaitTask(ctx, bad.ID); err != nil {
		t.Fatal(err)
	}
	q := af.TaskQuery{Queue: "numbers", Statuses: []af.Status{af.StatusFailed, af.StatusStopped}, Limit: 10,
		After: time.Now().Add(-time.Hour), Sort: af.TasksByEnd}
	page, err := api.Tasks(ctx, q)
	if err != nil || len(page.Tasks) != 1 || page.Tasks[0].ID != bad.ID || page.Tasks[0].Error.Code != af.ErrOutOfRange {
		t.Errorf("%+v, %v", page, err)
	}
	want, err := app.Tasks(ctx, q)
	if err != nil || !reflect.DeepEqual(page, want) {
		t.Errorf("got %+v, want %+v, %v", page, want, err)
	}
	_, err = api.Tasks(ctx, af.TaskQuery{Limit: -1})
	code("Tasks", err, af.ErrInvalidArgument, af.OutcomeNotSent)
	id, err := api.Retry(ctx, admin.Retry{ID: bad.ID, Payload: []byte("2")}, act)
	if err != nil || id == "" {
		t.Errorf("%q, %v", id, err)
	}
	if retried, err := app.WaitTask(ctx, id); err != nil || string(retried.Payload) != "2" {
		t.Errorf("%v, %v", retried, err)
	}

	later, err := api.Submit(ctx, admin.Submission{Queue: "numbers", Payload: []byte("3"), Delay: time.Hour}, act)
	ok("Submit", err)
	ok("Reweigh", api.Reweigh(ctx, later.ID, 7, act))
	if task, err := app.GetTask(ctx, later.ID); err != nil || task.Weight != 7 {
		t.Errorf("weight %d, %v", task.Weight, err)
	}
	bulk, err := api.StopTasks(ctx, af.TaskQuery{Queue: "numbers", Statuses: []af.Status{af.StatusPending,
		af.StatusWaiting}}, admin.Action{By: "ann", DryRun: true})
	if err != nil || bulk.Matched != 1 || bulk.Changed != 1 {
		t.Errorf("%+v, %v", bulk, err)
	}
	ok("Stop", api.Stop(ctx, later.ID, act))
	if task, err := app.WaitTask(ctx, later.ID); err != nil || task.Status != af.StatusStopped {
		t.Errorf("%v, %v", task, err)
	}
	code("Stop", api.Stop(ctx, "none", act), af.ErrNotFound, outcomeOf(app.StopTask(ctx, "none")))
	ok("Delete", api.Delete(ctx, later.ID, act))

	ok("Pause", api.Pause(ctx, "numbers", act))
	ok("SetMax", api.SetMax(ctx, admin.Limit{Queue: "numbers", Max: 1}, act))
	limits, err := app.QueueLimits(ctx, "numbers")
	if err != nil || !limits.Paused || limits.Max == nil || *limits.Max != 1 {
		t.Errorf("%+v, %v", limits, err)
	}
	ok("Resume", api.Resume(ctx, "numbers", act))
	ok("ResetMax", api.ResetMax(ctx, "numbers", "", act))

	ok("PutJob", api.PutJob(ctx, admin.Job{ID: "j", Cron: "0 0 * * *", Queue: "numbers", Payload: []byte("1"),
		Zone: "Europe/Berlin", Overlap: af.OverlapSkip}, act))
	ok("DisableJob", api.DisableJob(ctx, "j", act))
	job, err := api.Job(ctx, "j")
	wantJob, werr := app.Job(ctx, "j")
	if err != nil || werr != nil || !reflect.DeepEqual(job, wantJob) || !job.Disabled {
		t.Errorf("got %+v, %v, want %+v, %v", job, err, wantJob, werr)
	}
	disabled := true
	if jobs, err := api.Jobs(ctx, af.JobQuery{Prefix: "j", Disabled: &disabled}); err != nil || len(jobs.Jobs) != 1 {
		t.Errorf("%+v, %v", jobs, err)
	}
	ok("EnableJob", api.EnableJob(ctx, "j", act))
	if id, err := api.RunJob(ctx, "j", act); err != nil || id == "" {
		t.Errorf("%q, %v", id, err)
	}
	if fires, err := api.Fires(ctx, af.FireQuery{Job: "j"}); err != nil || len(fires.Fires) != 1 {
		t.Errorf("%+v, %v", fires, err)
	}
	ok("RemoveJob", api.RemoveJob(ctx, "j", act))
	code("Job", func() error { _, err := api.Job(ctx, "j"); return err }(), af.ErrNotFound,
		outcomeOf(func() error { _, err := app.Job(ctx, "j"); return err }()))

	_, err = api.Call(ctx, admin.Call{Service: "none", Method: "None"}, act)
	code("Call", err, af.ErrUnavailable, af.OutcomeNotSent)
	if workers, err := api.Workers(ctx, af.WorkerQuery{Queue: "numbers"}); err != nil || len(workers.Workers) != 1 {
		t.Errorf("%+v, %v", workers, err)
	}
	audit, err := api.Audit(ctx, af.AuditQuery{Action: "task.stop"})
	if err != nil || len(audit.Entries) == 0 || audit.Entries[0].Reason != "a test" {
		t.Errorf("%+v, %v", audit, err)
	}
	if o, err := api.Overview(ctx); err != nil || !o.Health.Ready || o.Instances != 1 {
		t.Errorf("%+v, %v", o, err)
	}
	testTree(t, app, api)
	testWatch(t, app, api)
}

func testTree(t *testing.T, app *af.App, api admin.API) {
	t.Helper()
	ctx := t.Context()
	q := af.NewVoidQueue[int](app, af.Worker{Name: "unserved", Weight: 1})
	root, err := q.Submit(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	children, err := q.Subtasks(ctx, root, make([]int, 3), af.RunNow(), af.Batch("b"))
	if err != nil {
		t.Fatal(err)
	}
	for i, child := range children {
		want = append(want, "1 "+child)
		if i == 1 {
			below, err := q.Subtasks(ctx, child, make([]int, 2), af.RunNow(), af.Batch("b"))
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, "2 "+below[0], "2 "+below[1])
		}
	}
	for _, limit := range []int{1, 2, 100} {
		var got []string
		for tq := (admin.TreeQuery{ID: root, Limit: limit}); ; {
			page, err := api.Tree(ctx, tq)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range page.Nodes {
				got = append(got, fmt.Sprint(n.Depth, " ", n.Task.ID))
				if n.Counts != nil && n.Counts[af.StatusPending].N+n.Counts[af.StatusWaiting].N != 2 {
					t.Errorf("%+v", n.Counts)
				}
			}
			if tq.Cursor = page.Cursor; tq.Cursor == "" {
				break
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("pages of %d: got %q, want %q", limit, got, want)
		}
	}
}

func testWatch(t *testing.T, app *af.App, api admin.API) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ids := map[string]bool{}
	id := ""
	for tick, err := range api.Watch(ctx, admin.WatchQuery{Kinds: []admin.Kind{admin.KindTasks}}) {
		if err != nil {
			t.Fatal(err)
		}
		if tick.Kind == admin.KindStart {
			if id, err = af.NewVoidQueue[int](app, numbers).Submit(ctx, 1); err != nil {
				t.Fatal(err)
			}
		}
		for _, i := range tick.IDs {
			ids[i] = true
		}
		if ids[id] {
			break
		}
	}
	if id == "" || !ids[id] {
		t.Errorf("no tick for %q", id)
	}
	for _, err := range api.Watch(ctx, admin.WatchQuery{Kinds: []admin.Kind{"x"}}) {
		if af.CodeOf(err) != af.ErrInvalidArgument {
			t.Errorf("unknown kind: %v", err)
		}
	}
}

func outcomeOf(err error) af.Outcome {
	if e, ok := errors.AsType[*af.Error](err); ok {
		return e.Outcome
	}
	return af.OutcomeUnknown
}

// A request that changes something is refused before its body is read, its path is known or its method is right.
func TestReadersChangeNothing(t *testing.T) {
	var none admin.API // a call that reaches it panics
	user := admin.User{Name: "ann", Rights: admin.ReadOnly()}
	_, server := serve(t, none, adminhttp.Options{
		Authorize: func(*http.Request) (admin.User, error) { return user, nil },
	})
	paths := []string{"none", ""}
	for _, r := range adminhttp.Routes() {
		paths = append(paths, r.Path)
		writes := reflect.TypeFor[admin.Writer]()
		if _, changes := writes.MethodByName(r.Name); changes != (r.Method == http.MethodPost) {
			t.Errorf("%s is a %s", r.Name, r.Method)
		}
	}
	for _, path := range paths {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
			req, err := http.NewRequestWithContext(t.Context(), method, server.URL+"/ops"+adminhttp.Prefix+path,
				strings.NewReader("{"))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusForbidden || !strings.Contains(string(body), "ann") {
				t.Errorf("%s %s: %d, %s, %v", method, path, resp.StatusCode, body, err)
			}
		}
	}
}

func TestRoutesCoverTheAPI(t *testing.T) {
	routes, names := adminhttp.Routes(), map[string]bool{}
	for _, r := range routes {
		names[r.Name] = true
	}
	api := reflect.TypeFor[admin.API]()
	for i := range api.NumMethod() {
		if !names[api.Method(i).Name] {
			t.Errorf("no route of %s", api.Method(i).Name)
		}
	}
	if len(names) != len(routes) || len(routes) != api.NumMethod() {
		t.Errorf("%d routes of %d methods", len(routes), api.NumMethod())
	}
}

func TestBadRequests(t *testing.T) {
	h, err := adminhttp.Handler(admin.New(start(t)), adminhttp.Options{Authorize: adminhttp.Anyone})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.StripPrefix("/ops", h)) // without timeouts: one request is large
	t.Cleanup(server.Close)
	for _, test := range []struct {
		method, path, kind, body string
		status                   int
	}{
		{"GET", "none", "", "", 404},
		{"POST", "none", "application/json", "{}", 404},
		{"GET", "task/stop", "", "", 405},
		{"POST", "tasks", "application/json", "{}", 405},
		{"GET", "tasks?x=1", "", "", 400},
		{"GET", "tasks?limit=1&limit=2", "", "", 400},
		{"GET", "tasks?limit=x", "", "", 400},
		{"POST", "task/stop", "text/plain", `{"args":{"id":"a"}}`, 400},
		{"POST", "task/stop", "application/json", `{"args":{"ID2":"a"}}`, 400},
		{"POST", "task/stop", "application/json", `{"args":{"id":"a"}} {}`, 400},
		{"POST", "task/stop", "application/json", `{"args":{"id":"` + strings.Repeat("a", 21<<20) + `"}}`, 429},
		{"POST", "task/stop", "application/json", `{"args":{"id":"a"}}`, 404},
	} {
		req, err := http.NewRequestWithContext(t.Context(), test.method, server.URL+"/ops"+adminhttp.Prefix+test.path,
			strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", test.kind)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != test.status || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %d", test.method, test.path, resp.StatusCode)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/ops"+adminhttp.Prefix+"task/stop", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", "https://evil.example")
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusForbidden {
		t.Fatal(resp, err)
	}
	_ = resp.Body.Close()
}

func TestHandlerNeedsAuthorize(t *testing.T) {
	if _, err := adminhttp.Handler(nil, adminhttp.Options{}); !errors.Is(err, af.ErrInvalidArgument) {
		t.Error(err)
	}
}

// The outcome of a change is unknown if its answer is lost, and not sent if there was no connection.
func TestOutcomeOfLostAnswers(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic(http.ErrAbortHandler) // cuts the connection
	}))
	client, err := adminhttp.NewClient(server.URL, adminhttp.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var e *af.Error
	err = client.Stop(t.Context(), "a", admin.Action{})
	if !errors.As(err, &e) || e.Code != af.ErrUnavailable || e.Outcome != af.OutcomeUnknown {
		t.Errorf("cut: %#v", err)
	}
	server.Close()
	err = client.Stop(t.Context(), "a", admin.Action{})
	if !errors.As(err, &e) || e.Code != af.ErrUnavailable || e.Outcome != af.OutcomeNotSent {
		t.Errorf("closed: %#v", err)
	}
}

// A stream outlasts the server's timeouts, and ends when the server shuts down.
func TestShutdownEndsStreams(t *testing.T) {
	client, server := serve(t, admin.New(start(t)), adminhttp.Options{Authorize: adminhttp.Anyone})
	begun := time.Now()
	down := make(chan error, 1)
	var last error
	for tick, err := range client.Watch(t.Context(), admin.WatchQuery{Kinds: []admin.Kind{admin.KindHealth}}) {
		if last = err; err == nil && tick.Kind == admin.KindStart {
			time.AfterFunc(1500*time.Millisecond, func() { down <- server.Config.Shutdown(t.Context()) })
		}
	}
	if time.Since(begun) < time.Second || !errors.Is(last, af.ErrUnavailable) ||
		!strings.Contains(last.Error(), "shutting") {
		t.Errorf("ended after %v: %v", time.Since(begun), last)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}

// docs/admin.md lists all routes.
func TestDocsListRoutes(t *testing.T) {
	text, err := os.ReadFile("../../../docs/admin.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range adminhttp.Routes() {
		if row := fmt.Sprintf("| `%s` | %s | `%s` |", r.Name, r.Method, r.Path); !strings.Contains(string(text), row) {
			t.Errorf("missing: %s", row)
		}
	}
}
