package dashboard_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/adminhttp"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/dashboard"
)

// evil is a text that must not become a part of a page.
const evil = `<script>alert(1)</script>"'><img src=x onerror=alert(2)>` + "\u202e\x07"

type work struct{}

func (*work) Run(ctx context.Context, v any) (any, error) {
	af.LoggerFrom(ctx).Info("got " + evil)
	if v == "wait" {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	if v == "fail" {
		return nil, af.Permanent(af.NewError(af.ErrDataLoss, evil, evil))
	}
	return v, nil
}

var worker = af.Worker{Name: "things", Type: "Things", Max: 2, Weight: 1}

// start returns a started App with a worker, and its queue.
func start(t *testing.T) (*af.App, af.Queue[any, any]) {
	t.Helper()
	app, err := af.Open(t.Context(), memory.New(), af.Logger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	if err != nil {
		t.Fatal(err)
	}
	af.RegisterWorker(app, worker, &work{})
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = app.Shutdown(context.Background()) })
	return app, af.NewQueue[any, any](app, worker)
}

// run submits a task and waits until it has ended.
func run(t *testing.T, app *af.App, q af.Queue[any, any], payload any, opts ...af.SubmitOption) string {
	t.Helper()
	id, err := q.Submit(t.Context(), payload, opts...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.WaitTask(t.Context(), id); err != nil && payload != "fail" {
		t.Fatal(err)
	}
	return id
}

// as authorizes every request as a user with these rights.
func as(rights ...admin.Right) dashboard.Option {
	return dashboard.Authorize(func(*http.Request) (admin.User, error) {
		return admin.User{Name: "ann", Rights: rights}, nil
	})
}

var everything = dashboard.Authorize(adminhttp.Anyone)

// get returns the answer to a GET request.
func get(t *testing.T, h http.Handler, path string) (int, string, http.Header) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w.Code, w.Body.String(), w.Header()
}

// post returns the answer to a form.
func post(t *testing.T, h http.Handler, path string, form url.Values, headers ...string) (int, string, http.Header) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String(), w.Header()
}

var inline = regexp.MustCompile(`(?i)<script(?:[^>]*[^>\s])?>[^<]|<[^>]*\s(?:style|on[a-z]+)\s*=|javascript:|<style`)

// check fails if a page has a part that its policy forbids, or that may come from the system.
func check(t *testing.T, name, page string) {
	t.Helper()
	if found := inline.FindString(page); found != "" {
		t.Errorf("%s has %q", name, found)
	}
	for _, text := range []string{"<script>alert", "<img", "\u202e", "\x07"} {
		if strings.Contains(page, text) {
			t.Errorf("%s has %q", name, text)
		}
	}
}

// Every page answers, with data and without, at the root and below a prefix, and is safe to look at.
func TestPages(t *testing.T) {
	app, q := start(t)
	empty := dashboard.Handler(app, everything, dashboard.Prefix("/ops/"))
	for _, path := range []string{"/", "/tasks", "/queues"} {
		status, page, _ := get(t, empty, "/ops"+path)
		if status != http.StatusOK || !strings.Contains(page, "</html>") {
			t.Errorf("%s: %d %s", path, status, page)
		}
		check(t, path, page)
	}
	ok := run(t, app, q, map[string]any{"text": evil, evil: []any{1, nil, true}}, af.TaskID("a/b?c=<x>&d e"))
	failed := run(t, app, q, "fail", af.UniqueKey(evil))
	odd := af.NewVoidQueue[any](app, af.Worker{Name: `<b>"odd"/queue`, Weight: 1})
	waiting, err := odd.Submit(af.WithMetadata(t.Context(), "k", evil), evil)
	if err != nil {
		t.Fatal(err)
	}
	if err := app.PauseQueue(t.Context(), "things", af.By("<i>bob</i>"), af.Reason(evil)); err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"", "/ops"} {
		h := dashboard.Handler(app, everything, dashboard.Prefix(prefix))
		for _, path := range []string{"/", "/tasks", "/queues", "/tasks/" + url.PathEscape(ok), "/tasks/" + failed,
			"/tasks/" + waiting, "/queues/things", "/queues/" + url.PathEscape(`<b>"odd"/queue`)} {
			status, page, header := get(t, h, prefix+path)
			if status != http.StatusOK || !strings.Contains(page, "</html>") {
				t.Errorf("%s: %d %s", path, status, page)
			}
			check(t, path, page)
			if p := header.Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'") ||
				strings.Contains(p, "unsafe") {
				t.Errorf("policy %q", p)
			}
			if len(page) > 100_000 {
				t.Errorf("%s: %d bytes", path, len(page))
			}
			for _, m := range regexp.MustCompile(`(?:href|src|action)="(/[^"]*)"`).FindAllStringSubmatch(page, -1) {
				if !strings.HasPrefix(m[1], prefix+"/") {
					t.Errorf("%s below %q has the address %s", path, prefix, m[1])
				}
			}
		}
	}
}

// Addresses that are linked exist.
func TestLinks(t *testing.T) {
	app, q := start(t)
	id := run(t, app, q, "fail", af.TaskID("a/b"))
	h := dashboard.Handler(app, everything, dashboard.Prefix("/ops"))
	seen := map[string]bool{}
	todo := []string{"/ops/", "/ops/tasks/" + url.PathEscape(id)}
	for len(todo) > 0 {
		path := todo[0]
		todo = todo[1:]
		if seen[path] {
			continue
		}
		seen[path] = true
		status, page, _ := get(t, h, path)
		if status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, page)
		}
		for _, m := range regexp.MustCompile(`(?:href|src)="(/[^"]*)"`).FindAllStringSubmatch(page, -1) {
			todo = append(todo, strings.ReplaceAll(m[1], "&amp;", "&"))
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %v", seen)
	}
}

var changes = []string{"/tasks/x/stop", "/tasks/x/retry", "/tasks/x/run", "/tasks/x/delete", "/tasks/x/reweigh",
	"/tasks/bulk", "/queues/pause", "/queues/resume", "/queues/x/pause", "/queues/x/resume", "/queues/x/max",
	"/queues/x/default"}

// A reader gets 403 from every request that is not a read, before anything is told about the path, the method, the form
// or the target, and sees no buttons.
func TestReader(t *testing.T) {
	app, q := start(t)
	id := run(t, app, q, "fail")
	h := dashboard.Handler(app, as(admin.ReadOnly()...))
	for _, path := range append(changes, "/nowhere", "/tasks", "/", "/assets/style.css", "/api/v1/task/stop",
		"/api/v1/nowhere") {
		for _, form := range []url.Values{nil, {"max": {"x"}}, {"op": {"stop"}}} {
			if status, page, _ := post(t, h, path, form); status != http.StatusForbidden {
				t.Errorf("POST %s %v: %d %s", path, form, status, page)
			}
		}
	}
	for _, path := range []string{"/", "/tasks", "/tasks/" + id, "/queues", "/queues/things"} {
		_, page, _ := get(t, h, path)
		if strings.Contains(page, `method="post"`) && path != "/tasks" || strings.Contains(page, `name="op"`) {
			t.Errorf("%s offers changes", path)
		}
		if !strings.Contains(page, "read-only") {
			t.Errorf("%s does not tell that it is read-only", path)
		}
	}
}

// An operator is answered by what they ask for, and may not do more than their rights allow.
func TestOperator(t *testing.T) {
	app, _ := start(t)
	h := dashboard.Handler(app, as(admin.Read, admin.Operate))
	for path, want := range map[string]int{
		"/tasks/x/stop": 404, "/tasks/x/retry": 404, "/tasks/x/run": 404, "/tasks/x/reweigh": 400, "/tasks/bulk": 400,
		"/queues/x/max": 403, "/queues/x/default": 403, "/queues/x/pause": 404,
		"/nowhere": 404, "/tasks": 405, "/events": 405,
	} {
		if status, page, _ := post(t, h, path, nil); status != want {
			t.Errorf("POST %s: %d, want %d: %s", path, status, want, page)
		}
	}
	for path, want := range map[string]int{"/tasks/x": 404, "/queues/x": 404, "/nowhere": 404, "/tasks/x/stop": 405,
		"/tasks/x/payload": 404, "/assets/none": 404} {
		if status, page, _ := get(t, h, path); status != want {
			t.Errorf("GET %s: %d, want %d: %s", path, status, want, page)
		}
	}
}

func TestAuthorize(t *testing.T) {
	app, _ := start(t)
	if status, page, _ := get(t, dashboard.Handler(app), "/"); status != 403 || !strings.Contains(page, "Authorize") {
		t.Errorf("without Authorize: %d %s", status, page)
	}
	for _, tt := range []struct {
		err  error
		want int
		text string
	}{
		{af.NewError(af.ErrUnauthenticated, "no cookie"), 401, "no cookie"},
		{af.NewError(af.ErrPermissionDenied, "not on call"), 403, "not on call"},
		{fmt.Errorf("secret of the directory"), 500, "authorization"},
	} {
		h := dashboard.Handler(app, dashboard.Authorize(func(*http.Request) (admin.User, error) {
			return admin.User{}, tt.err
		}))
		for _, path := range []string{"/", "/events", "/tasks/x/log", "/nowhere"} {
			status, page, _ := get(t, h, path)
			if status != tt.want || !strings.Contains(page, tt.text) || strings.Contains(page, "secret") {
				t.Errorf("%s, %v: %d %s", path, tt.err, status, page)
			}
		}
		if status, _, _ := get(t, h, "/api/v1/overview"); status != tt.want {
			t.Errorf("the API answers %d", status)
		}
	}
}

func TestCrossOrigin(t *testing.T) {
	app, _ := start(t)
	h := dashboard.Handler(app, everything)
	if status, page, _ := post(t, h, "/queues/things/pause", nil, "Sec-Fetch-Site", "cross-site"); status != 403 ||
		!strings.Contains(page, "another site") {
		t.Errorf("%d %s", status, page)
	}
	if l, err := app.QueueLimits(t.Context(), "things"); err != nil || l.Paused {
		t.Errorf("%+v, %v", l, err)
	}
}

// Changes are made in the user's name, with the reason, and lead to the page that shows them.
func TestChanges(t *testing.T) {
	app, q := start(t)
	h := dashboard.Handler(app, as(admin.AllRights()...), dashboard.Prefix("/ops"))
	do := func(path string, form url.Values) string {
		t.Helper()
		status, page, header := post(t, h, "/ops"+path, form)
		if status != http.StatusSeeOther {
			t.Fatalf("%s: %d %s", path, status, page)
		}
		status, page, _ = get(t, h, header.Get("Location"))
		if status != http.StatusOK || !strings.Contains(page, `role="status"`) {
			t.Errorf("%s leads to %s: %d %s", path, header.Get("Location"), status, page)
		}
		return header.Get("Location")
	}
	do("/queues/things/pause", url.Values{"reason": {"the reason"}})
	l, err := app.QueueLimits(t.Context(), "things")
	if err != nil || !l.Paused || l.By != "ann" || l.Reason != "the reason" {
		t.Errorf("%+v, %v", l, err)
	}
	id, err := q.Submit(t.Context(), "wait")
	if err != nil {
		t.Fatal(err)
	}
	do("/tasks/"+id+"/reweigh", url.Values{"weight": {"7"}})
	do("/queues/things/max", url.Values{"max": {"1"}})
	do("/queues/things/default", nil)
	do("/queues/things/resume", nil)
	do("/tasks/"+id+"/stop", nil)
	task, _ := app.WaitTask(t.Context(), id)
	if task.Weight != 7 || task.Status != af.StatusStopped {
		t.Errorf("%+v", task)
	}
	to := do("/tasks/"+id+"/retry", url.Values{"payload": {`{"changed": 1}`}})
	next := strings.TrimSuffix(strings.TrimPrefix(to, "/ops/tasks/"), "?done=retry")
	task, err = app.WaitTask(t.Context(), next)
	if err != nil || task.RetryOf != id || !strings.Contains(string(task.Payload), "changed") {
		t.Errorf("%+v %s, %v", task, task.Payload, err)
	}
	do("/tasks/"+next+"/delete", nil)
	if _, err := app.TaskStatus(t.Context(), next); af.CodeOf(err) != af.ErrNotFound {
		t.Errorf("not deleted: %v", err)
	}
	status, page, _ := post(t, h, "/ops/tasks/"+id+"/retry", url.Values{"payload": {`{`}})
	if status != http.StatusBadRequest || !strings.Contains(page, "/ops/tasks/"+id) || !strings.Contains(page, "JSON") {
		t.Errorf("%d %s", status, page)
	}
}

// Many tasks are changed after a dry run that tells how many.
func TestBulk(t *testing.T) {
	app, q := start(t)
	h := dashboard.Handler(app, as(admin.AllRights()...))
	var ids []string
	for range 5 {
		ids = append(ids, run(t, app, q, "fail"))
	}
	form := url.Values{"op": {"retry"}, "id": append(ids[:2:2], "missing")}
	status, page, _ := post(t, h, "/tasks/bulk", form)
	if status != 200 || !strings.Contains(page, "Retry 2 tasks?") || !strings.Contains(page, "not_found") {
		t.Errorf("%d %s", status, page)
	}
	check(t, "bulk", page)
	if strings.Contains(page, `name="done" value="2"`) {
		t.Error("the page counts what the dry run would have changed as changed")
	}
	form.Set("sure", "1")
	if status, page, _ = post(t, h, "/tasks/bulk", form); status != 200 || !strings.Contains(page, "2 tasks retried") {
		t.Errorf("%d %s", status, page)
	}
	form = url.Values{"op": {"delete"}, "all": {"1"}}
	status, page, _ = post(t, h, "/tasks/bulk", form)
	if status != 200 || !strings.Contains(page, "Delete ") || !strings.Contains(page, `name="sure"`) {
		t.Errorf("%d %s", status, page)
	}
	form.Set("sure", "1")
	post(t, h, "/tasks/bulk", form)
	failed, err := app.Tasks(t.Context(), af.TaskQuery{Statuses: []af.Status{af.StatusFailed}})
	if err != nil || failed.Total > 2 {
		t.Errorf("%+v, %v", failed, err)
	}
	for want, form := range map[string]url.Values{
		"names no change": {"op": {"x"}}, "No tasks are selected": {"op": {"stop"}},
	} {
		if status, page, _ := post(t, h, "/tasks/bulk", form); status != 400 || !strings.Contains(page, want) {
			t.Errorf("%v: %d %s", form, status, page)
		}
	}
}

// Who may not see payloads sees none, and what is redacted is nowhere.
func TestPayloads(t *testing.T) {
	app, q := start(t)
	id := run(t, app, q, "the secret")
	redact := dashboard.RedactPayload(func(queue string, value json.RawMessage) json.RawMessage {
		if queue != "things" {
			t.Errorf("queue %q", queue)
		}
		return json.RawMessage(`"***"`)
	})
	for name, opts := range map[string][]dashboard.Option{
		"reader": {as(admin.Read, admin.Operate)}, "redacted": {everything, redact},
	} {
		h := dashboard.Handler(app, opts...)
		for _, path := range []string{"/tasks", "/tasks/" + id, "/tasks/" + id + "/payload", "/tasks/" + id + "/result",
			"/api/v1/task?id=" + id, "/api/v1/tasks"} {
			if _, page, _ := get(t, h, path); strings.Contains(page, "the secret") {
				t.Errorf("%s: %s shows the payload", name, path)
			}
		}
	}
	_, page, _ := get(t, dashboard.Handler(app, everything, redact), "/tasks/"+id)
	if !strings.Contains(page, "***") {
		t.Error("no redacted payload")
	}
	if status, body, _ := get(t, dashboard.Handler(app, everything), "/tasks/"+id+"/payload"); status != 200 ||
		body != `"the secret"` {
		t.Errorf("download: %d %s", status, body)
	}
}

// The filter offers its terms, with the names of queues.
func TestTermsOfTheFilter(t *testing.T) {
	app, _ := start(t)
	_, page, _ := get(t, dashboard.Handler(app, everything), "/tasks")
	for _, want := range []string{`list="terms"`, `<datalist id="terms">`, `<option value="status:failed"`,
		`<option value="queue:things"`, `<option value="since:"`, `<option value="payload."`, `<dialog id="help"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}
