package browser

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/browser/axe"
	"github.com/afgen/afgen/internal/browser/chrome"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/dashboard"
)

// evil is a text that must not become a part of a page. It has marks that change the direction of text, and controls.
const evil = `<script>document.title="evil"</script>"'><img src=x onerror=document.title="evil">` +
	"\u202e\u2066\x07\x1b[31m"

// right is written from right to left.
const right = "مرحبا بالعالم שלום עולם"

// A view of a page: its address, and what opens a part of it.
type view struct {
	name, path string
	open       func(u *user)
}

// visit checks pages in both themes and at three widths: no fault of accessibility, no problem in the console, no
// request to elsewhere, and nothing to scroll sideways.
func visit(t *testing.T, s *site, views []view, allowed ...string) {
	t.Helper()
	u := open(t, s, chrome.View{})
	script, err := axe.Load(t.Context())
	if errors.Is(err, axe.ErrNone) {
		t.Log(err)
	} else {
		must(t, err)
	}
	for _, v := range views {
		t.Run(v.name, func(t *testing.T) {
			u := &user{T: t, tab: u.tab, site: s}
			u.look(v, script, allowed)
		})
	}
	if script == "" {
		t.Run("accessibility", func(t *testing.T) { t.Skip(err) })
	}
}

func (u *user) look(v view, script axe.Script, allowed []string) {
	u.Helper()
	u.within(func(ctx context.Context) error { return u.tab.View(ctx, chrome.View{}) })
	u.goes(v.path)
	if v.open != nil {
		v.open(u)
	}
	// Themes differ in colors only, and widths in little more than positions, so not every pair of them is checked.
	for _, size := range []struct {
		width int
		dark  bool
		rules []string // all, without any
	}{
		{1280, false, nil}, {1280, true, []string{"color-contrast"}}, {768, false, []string{}},
		{375, true, []string{"target-size", "scrollable-region-focusable", "region"}},
	} {
		name, phone := fmt.Sprintf("%d px, dark: %t", size.width, size.dark), size.width < 500
		u.within(func(ctx context.Context) error {
			return u.tab.View(ctx, chrome.View{Width: size.width, Dark: size.dark, Phone: phone})
		})
		u.sees(fmt.Sprintf("screen.width === %d && matchMedia('(prefers-color-scheme: dark)').matches === %t", size.width,
			size.dark))
		if wide := value[[]string](u, tooWide); len(wide) > 0 {
			u.Errorf("%s: the page is wider than the screen: %s", name, strings.Join(wide, "; "))
		}
		if sideways := value[[]string](u, scrollsSideways); phone && len(sideways) > 0 {
			u.Errorf("%s: tables scroll sideways: %s", name, strings.Join(sideways, "; "))
		}
		if script == "" || size.rules != nil && len(size.rules) == 0 {
			continue
		}
		u.within(func(ctx context.Context) error {
			faults, err := script.Check(ctx, u.tab, size.rules...)
			for _, f := range faults {
				u.Errorf("%s: %s", name, f)
			}
			return err
		})
	}
	if title := value[string](u, "document.title"); title == "evil" {
		u.Error("a script of the data has run")
	}
	u.clean(allowed...)
	if dir := testPictures(); dir != "" {
		u.picture(dir, v.name)
	}
}

// tooWide returns the elements that make the page wider than the screen.
const tooWide = `(() => {
  const most = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= Math.min(most, screen.width)) return [];
  return [...document.querySelectorAll("body *")].filter((e) => e.checkVisibility() &&
    e.getBoundingClientRect().right > screen.width + 0.5 && !e.closest(".scroll *, .json *, pre *, .skip, .top nav *"))
    .map((e) => e.outerHTML.slice(0, 120)).slice(-3).concat("scrollWidth " + document.documentElement.scrollWidth);
})()`

const scrollsSideways = `[...document.querySelectorAll(".scroll")].filter((e) => e.scrollWidth > e.clientWidth + 1)
  .map((e) => (e.closest("[id]") || e).outerHTML.slice(0, 200))`

// everyPage returns all pages; what they show is named.
func everyPage(task, queue, job string) []view {
	return []view{
		{"overview", "/", nil}, {"tasks", "/tasks", nil},
		{"filtered", "/tasks?q=" + url.QueryEscape("status:nothing x"), nil},
		{"task", "/tasks/" + url.PathEscape(task), nil}, {"queues", "/queues", nil},
		{"queue", "/queues/" + url.PathEscape(queue), nil}, {"jobs", "/jobs", nil},
		{"job", "/jobs/" + url.PathEscape(job), nil}, {"services", "/services", nil},
		{"method", "/services/calc/Add", nil}, {"machines", "/machines", nil}, {"audit", "/audit", nil},
	}
}

func TestPagesWithoutData(t *testing.T) {
	s := idle(t, func(*system) {})
	site := serve(t, "", dashboard.Handler(s.App, ann))
	var views []view
	for _, v := range everyPage("none", "none", "none") {
		if v.name != "method" {
			views = append(views, v)
		}
	}
	visit(t, site, views, "404", "400") // task, queue and job are pages of errors
}

func TestPagesWithData(t *testing.T) {
	s := start(t)
	failed, waits := fill(t, s)
	site := serve(t, "/ops", dashboard.Handler(s.App, ann, dashboard.Prefix("/ops")))
	views := append(everyPage(failed, "prints", "nightly"),
		view{"running", "/tasks/" + waits, func(u *user) { u.clicks("summary", "Stop") }},
		view{"edit", "/tasks/" + failed, func(u *user) { u.clicks("summary", "Edit and retry") }},
		view{"submit", "/queues/prints", func(u *user) { u.clicks("summary", "Submit") }},
		view{"help", "/tasks", func(u *user) { u.presses("?"); u.sees(`document.querySelector("#help").open`) }},
		view{"odd-method", "/services/calc/Odd", nil},
		view{"bulk", "/tasks?q=status:failed", func(u *user) {
			u.clicks("[name=all]", "")
			u.follows("button", "Retry …")
		}},
	)
	visit(t, site, views, "status of 400") // a filter that is not understood
}

// fill makes tasks in all states, and jobs. It returns a failed task and one that runs.
func fill(t *testing.T, s *system) (failed, waits string) {
	t.Helper()
	failed = s.submit(t, "fail", af.TaskID("invoice-2026-11-30"), af.UniqueKey("invoice 7"))
	s.reaches(t, failed, af.StatusFailed)
	for range 3 {
		s.reaches(t, s.submit(t, "log"), af.StatusSuccess)
	}
	s.reaches(t, s.submit(t, "retry"), af.StatusRetrying)
	s.reaches(t, s.submit(t, "split"), af.StatusPending)
	waits = s.submit(t, "wait")
	s.reaches(t, waits, af.StatusRunning)
	s.submit(t, "log", af.Delay(time.Hour))
	must(t, s.StopTask(t.Context(), s.submit(t, "log", af.Delay(time.Hour)), af.By("ann"), af.Reason("a typo")))
	must(t, s.queue.Schedule(t.Context(), "nightly", "30 3 * * mon-fri", "report", af.Zone("Asia/Tokyo")))
	must(t, s.queue.Schedule(t.Context(), "hourly", "0 * * * *", "report", af.Disabled()))
	if _, err := s.RunJob(t.Context(), "nightly", af.By("ann")); err != nil {
		t.Fatal(err)
	}
	return failed, waits
}

func TestPagesWithHostileData(t *testing.T) {
	s := start(t)
	long := strings.Repeat("very-long-name-", 8) // as long as names may be
	name := long + `<b>"odd"/` + right
	odd := af.NewVoidQueue[any](s.App, af.Worker{Name: name, Weight: 1})
	must(t, s.PauseQueue(t.Context(), name, af.By(evil), af.Reason(evil+right), af.Create()))
	large := map[string]any{"text": evil + right, evil: strings.Repeat("Ω", 2<<20-30_000),
		right: []any{1, nil, true, 1e300}, "deep": deep(500), strings.Repeat("k", 5000): strings.Repeat("nobreak", 5000)}
	ctx := af.WithMetadata(t.Context(), "k", right+evil)
	waiting, err := odd.Submit(ctx, large, af.TaskID(strings.Repeat("i", 90)+"/?&<"), af.UniqueKey(evil+long))
	must(t, err)
	failed, err := s.queue.Submit(ctx, map[string]any{"do": "fail", "text": evil + strings.Repeat("x", 20_000) + right})
	must(t, err)
	s.reaches(t, failed, af.StatusFailed)
	logs, err := s.queue.Submit(ctx, map[string]any{"do": "log", "text": evil + strings.Repeat("y", 2000) + right})
	must(t, err)
	s.reaches(t, logs, af.StatusSuccess)
	job := long + `/<i>` + right
	must(t, odd.Schedule(t.Context(), job, "0 0 29 2 *", evil+right, af.By(evil), af.Reason(evil+right)))
	must(t, s.DisableJob(t.Context(), job, af.By(evil+right), af.Reason(evil+strings.Repeat("z", 300))))
	site := serve(t, "", dashboard.Handler(s.App, as(evil+right, admin.AllRights()...)))
	views := append(everyPage(waiting, name, job), view{"failed", "/tasks/" + failed, nil},
		view{"logs", "/tasks/" + logs, nil}, view{"odd-method", "/services/calc/Odd", nil},
		view{"result", "/services/calc/Add", func(u *user) {
			u.fills("[name='arg.x']", "-1")
			u.fills("[name='arg.y']", "1")
			u.follows("#call button", "Call")
		}})
	visit(t, site, views, "400") // the call is answered by its error
}

// deep returns a value inside n arrays.
func deep(n int) any {
	var v any = evil
	for range n {
		v = []any{v}
	}
	return v
}

// degraded is a system whose store does not answer.
type degraded struct{ admin.API }

func (d *degraded) Overview(context.Context) (admin.Overview, error) {
	return admin.Overview{Health: af.Health{State: "running", Reason: "mongodb is down", Backend: "servers",
		Degraded: []string{"store-down"}, Conditions: []af.Condition{{Name: "mongodb", Mode: "store-down",
			Since: time.Now().Add(-time.Minute), Cause: "connection refused " + evil, Works: "calls",
			Lost: "tasks and jobs"}}}}, nil
}

func (d *degraded) Tasks(context.Context, af.TaskQuery) (af.TaskPage, error) {
	return af.TaskPage{}, af.NewError(af.ErrUnavailable, "mongodb does not answer")
}

func TestPagesOfErrors(t *testing.T) {
	s := start(t)
	mux := http.NewServeMux()
	mux.Handle("/", dashboard.Handler(s.App, ann))
	mux.Handle("/closed/", dashboard.Handler(s.App, dashboard.Prefix("/closed")))
	mux.Handle("/down/", dashboard.HandlerOf(&degraded{admin.New(s.App)}, ann, dashboard.Prefix("/down")))
	visit(t, serve(t, "", mux), []view{
		{"forbidden", "/closed/", nil}, {"missing", "/tasks/none", nil}, {"nowhere", "/nowhere", nil},
		{"degraded", "/down/", nil}, {"unavailable", "/down/tasks", nil},
	}, "status of 4", "status of 503")
}
