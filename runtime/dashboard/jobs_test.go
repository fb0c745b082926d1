package dashboard_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/dashboard"
)

// schedule adds a job with a hostile payload and reason.
func schedule(t *testing.T, app *af.App, id, cron string, opts ...af.JobOption) {
	t.Helper()
	q := af.NewQueue[any, any](app, worker)
	if err := q.Schedule(t.Context(), id, cron, evil, append(opts, af.By(evil), af.Reason(evil))...); err != nil {
		t.Fatal(err)
	}
}

// contains fails unless a page has all texts.
func contains(t *testing.T, name, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			_, main, _ := strings.Cut(page, "<main")
			t.Errorf("%s does not have %q:\n%s", name, text, main)
		}
	}
}

func TestJobs(t *testing.T) {
	app, _ := start(t)
	_, page, _ := get(t, dashboard.Handler(app, everything), "/jobs")
	contains(t, "no jobs", page, "No jobs yet")
	schedule(t, app, "nightly", "30 3 * * mon-fri", af.Zone("Asia/Tokyo"), af.Overlap(af.OverlapSkip))
	h := dashboard.Handler(app, as(admin.AllRights()...), dashboard.Prefix("/ops"))
	_, page, _ = get(t, h, "/ops/jobs")
	contains(t, "jobs", page, "nightly", "30 3 * * mon-fri", "at 03:30, Monday to Friday", "Asia/Tokyo")
	check(t, "jobs", page)
	_, page, _ = get(t, h, "/ops/jobs/nightly")
	contains(t, "job", page, "03:30:00 JST", "has not fired yet", "skipped", `/jobs/nightly/fire"`)
	if n := strings.Count(page, "03:30:00 JST"); n != 5 {
		t.Errorf("%d times", n)
	}
	check(t, "job", page)

	status, _, header := post(t, h, "/ops/jobs/nightly/disable", url.Values{"reason": {"quiet"}})
	if status != http.StatusSeeOther || header.Get("Location") != "/ops/jobs/nightly?done=disable" {
		t.Errorf("disable: %d %v", status, header)
	}
	j, err := app.Job(t.Context(), "nightly")
	if err != nil || !j.Disabled || j.By != "ann" || j.Reason != "quiet" {
		t.Errorf("%+v, %v", j, err)
	}
	_, page, _ = get(t, h, "/ops/jobs/nightly?done=disable")
	contains(t, "disabled", page, "The job is disabled", "if it were enabled", "quiet", `/jobs/nightly/enable"`)

	status, _, header = post(t, h, "/ops/jobs/nightly/fire", nil)
	link := strings.TrimSuffix(header.Get("Location"), "?done=fire")
	task, _ := url.PathUnescape(strings.TrimPrefix(link, "/ops/tasks/"))
	if _, err := app.WaitTask(t.Context(), task); status != http.StatusSeeOther || err != nil {
		t.Errorf("fire: %d %v, %v", status, header, err)
	}
	_, page, _ = get(t, h, "/ops/jobs/nightly")
	contains(t, "fires", page, "run manually", `href="`+link, "Its tasks")
	_, list, _ := get(t, h, "/ops/tasks?q="+url.QueryEscape("queue:things id:job/nightly/"))
	contains(t, "its tasks", list, `href="`+link)
	contains(t, "fires", page, "id%3Ajob%2Fnightly%2F")
	if status, _, _ = post(t, h, "/ops/jobs/nightly/enable", nil); status != http.StatusSeeOther {
		t.Errorf("enable: %d", status)
	}
	if j, err = app.Job(t.Context(), "nightly"); err != nil || j.Disabled {
		t.Errorf("%+v, %v", j, err)
	}
	if status, page, _ = get(t, h, "/ops/jobs/none"); status != http.StatusNotFound {
		t.Errorf("%d %s", status, page)
	}
	status, page, _ = post(t, h, "/ops/jobs/none/fire", nil)
	if status != http.StatusNotFound || !strings.Contains(page, "/ops/jobs/none") {
		t.Errorf("%d %s", status, page)
	}
}

// Payloads of jobs are redacted as those of tasks.
func TestJobRedacted(t *testing.T) {
	app, _ := start(t)
	schedule(t, app, "nightly", "@daily")
	h := dashboard.Handler(app, everything, dashboard.RedactPayload(func(string, json.RawMessage) json.RawMessage {
		return json.RawMessage(`"***"`)
	}))
	_, page, _ := get(t, h, "/jobs/nightly")
	_, payload, _ := strings.Cut(page, `id="payload"`)
	payload, _, _ = strings.Cut(payload, "</section>")
	contains(t, "job", payload, "***")
	if strings.Contains(payload, "alert") {
		t.Errorf("the payload is shown: %s", payload)
	}
}

// A reader sees jobs without buttons, and no payload without the right.
func TestJobsReader(t *testing.T) {
	app, _ := start(t)
	schedule(t, app, "nightly", "@daily")
	h := dashboard.Handler(app, as(admin.Read))
	_, page, _ := get(t, h, "/jobs/nightly")
	contains(t, "job", page, "at 00:00, every day", "read-only")
	if strings.Contains(page, `method="post"`) || strings.Contains(page, "Payload") {
		t.Errorf("a reader sees %s", page)
	}
	for _, path := range []string{"/jobs/nightly/fire", "/jobs/nightly/enable", "/jobs/nightly/disable"} {
		if status, page, _ := post(t, h, path, nil); status != http.StatusForbidden {
			t.Errorf("POST %s: %d %s", path, status, page)
		}
	}
}
