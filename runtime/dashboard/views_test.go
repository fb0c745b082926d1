package dashboard_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/dashboard"
)

// An id alone opens its task, and another text that is no filter is refused as before.
func TestFilterOpensTask(t *testing.T) {
	app, q := start(t)
	id := run(t, app, q, "x", af.TaskID("import: a/b"))
	h := dashboard.Handler(app, everything, dashboard.Prefix("/ops"))
	status, _, header := get(t, h, "/ops/tasks?"+url.Values{"q": {" " + id + " "}}.Encode())
	if to := header.Get("Location"); status != http.StatusSeeOther || to != "/ops/tasks/"+url.PathEscape(id) {
		t.Errorf("%d to %q", status, to)
	}
	status, page, _ := get(t, h, "/ops/tasks?q=nothing")
	contains(t, "refused", page, "want KEY:VALUE")
	if status != http.StatusBadRequest || strings.Contains(page, "On the command line") {
		t.Errorf("%d %s", status, page)
	}
}

// The order is a part of the filter, and the last column has the time by which the list is ordered.
func TestOrders(t *testing.T) {
	app, q := start(t)
	run(t, app, q, "fail")
	h := dashboard.Handler(app, everything)
	_, page, _ := get(t, h, "/tasks?"+url.Values{"q": {"queue:things status:failed"}}.Encode())
	contains(t, "newest", page, ">Submitted</th>", `?q=queue%3Athings&#43;status%3Afailed&#43;sort%3Aended"`,
		`>oldest</a>`, `<code data-copy>af ls &#39;queue:things status:failed&#39;</code>`)
	_, page, _ = get(t, h, "/tasks?"+url.Values{"q": {"sort:ended queue:things"}}.Encode())
	contains(t, "ended", page, ">Ended</th>", `aria-current="true">last ended</a>`, `?q=queue%3Athings"`)
}

// The charts and the errors of a queue are those of the period.
func TestPeriods(t *testing.T) {
	app, q := start(t)
	run(t, app, q, "fail")
	h := dashboard.Handler(app, everything, dashboard.Prefix("/ops"))
	for _, tt := range []struct{ query, chart, errors string }{
		{"", "Tasks a minute, last hour", "Errors of the last hour"},
		{"?for=24h", "Tasks an hour, last 24 hours", "Errors of the last 24 hours"},
		{"?for=7d", "Wait before a start, last 7 days", "Errors of the last 7 days"},
		{"?for=x", "Tasks a minute, last hour", "Errors of the last hour"},
	} {
		status, page, _ := get(t, h, "/ops/queues/things"+tt.query)
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", tt.query, status, page)
		}
		if len(page) > 80_000 {
			t.Errorf("%s: %d bytes", tt.query, len(page))
		}
		contains(t, tt.query, page, tt.chart, tt.errors, "Duration of attempts", "New and ended tasks", "data_loss", `href="?for=7d"`)
		if bars := strings.Count(page, `<g class="bar">`); tt.query == "?for=7d" && bars != 4*7*8 {
			t.Errorf("%d bars", bars)
		}
	}
	_, page, _ := get(t, h, "/ops/queues/things?for=7d")
	contains(t, "axis", page, `data-at="2006-01-02">`+
		time.Now().UTC().Truncate(3*time.Hour).Add((3-7*24)*time.Hour).Format(time.DateOnly))
}

// All queues are paused, and those that are paused are resumed.
func TestPauseAll(t *testing.T) {
	app, _ := start(t)
	other := af.NewVoidQueue[any](app, af.Worker{Name: "other", Weight: 1})
	if _, err := other.Submit(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := app.PauseQueue(t.Context(), "other", af.By("bob"), af.Reason("disk")); err != nil {
		t.Fatal(err)
	}
	h := dashboard.Handler(app, everything, dashboard.Prefix("/ops"))
	_, page, _ := get(t, h, "/ops/queues")
	contains(t, "queues", page, "Pauses 1 queue.", "Resumes the queue that is paused")
	for _, tt := range []struct {
		change string
		paused bool
	}{{"pause", true}, {"resume", false}} {
		status, page, header := post(t, h, "/ops/queues/"+tt.change, url.Values{"reason": {"incident"}})
		if to := header.Get("Location"); status != http.StatusSeeOther || to != "/ops/queues?done="+tt.change+"-all" {
			t.Fatalf("%s: %d %s %s", tt.change, status, to, page)
		}
		queues, err := app.Queues(t.Context())
		if err != nil || len(queues) != 2 {
			t.Fatalf("%v, %v", queues, err)
		}
		for i := range queues {
			want := "incident"
			if tt.paused && queues[i].Name == "other" {
				want = "disk" // it was paused before
			}
			if l := queues[i].Limits; l.Paused != tt.paused || l.Reason != want {
				t.Errorf("%s: %s has %+v", tt.change, queues[i].Name, l)
			}
		}
	}
	_, page, _ = get(t, h, "/ops/queues?done=pause-all")
	contains(t, "done", page, "All queues are paused.")
}

// A failed task links to those that failed alike, and its page names the command and the JSON that show the same.
func TestTaskElsewhere(t *testing.T) {
	app, q := start(t)
	id := run(t, app, q, "fail", af.TaskID("it's $x"))
	h := dashboard.Handler(app, everything, dashboard.Prefix("/ops"))
	_, page, _ := get(t, h, "/ops/tasks/"+url.PathEscape(id))
	contains(t, "task", page, "<title>Failed: task it&#39;s $x · afgen</title>", `>Tasks with this error</a>`,
		`href="/ops/tasks?q=queue%3Athings&#43;code%3Adata_loss"`, `af get &#39;it&#39;\&#39;&#39;s $x&#39;</code>`,
		`href="/ops/api/v1/task?id=it%27s&#43;%24x"`)
	status, body, header := get(t, h, "/ops/api/v1/task?id="+url.QueryEscape(id))
	if status != http.StatusOK || !strings.HasPrefix(header.Get("Content-Type"), "application/json") {
		t.Errorf("%d %s", status, body)
	}
}
