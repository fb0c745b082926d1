package browser

import (
	"fmt"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/browser/chrome"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/dashboard"
)

// soon is how long a change may take from its event in the App to the page, on a machine that does nothing else.
// Updates of a page are at least a second apart, so an event that follows another one waits for that, too.
const soon = time.Second

// A page shows what happens within a second of the event. The time is measured from the return of Submit, which is when
// the App publishes the event, to a MutationObserver in the page; both use the clock of this machine. The best of three
// attempts counts, because other processes may have the processors.
func TestChangesAreShownWithinASecond(t *testing.T) {
	s := start(t)
	must(t, s.PauseQueue(t.Context(), "prints"))
	u := open(t, serve(t, "", dashboard.Handler(s.App, ann)), chrome.View{})
	u.goes("/tasks")
	u.live()
	best := time.Hour
	for i := range 3 {
		u.idles()
		id := fmt.Sprint("task-", i)
		value[bool](u, fmt.Sprintf(watch, id))
		s.submit(t, "log", af.TaskID(id))
		submitted := time.Now()
		u.sees("window.seen")
		shown := time.UnixMicro(int64(value[float64](u, "window.seen * 1000")))
		best = min(best, shown.Sub(submitted))
	}
	t.Logf("shown after %v at best", best)
	if best > soon {
		t.Errorf("the page shows a task %v after it was submitted, want %v", best, soon)
	}
	u.clean()
}

// watch assigns the time at which a row appears to window.seen.
const watch = `(() => {
  window.seen = 0;
  const found = new MutationObserver(() => {
    if (!document.querySelector("[data-key=%s]")) return;
    window.seen = performance.timeOrigin + performance.now();
    found.disconnect();
  });
  found.observe(document, { subtree: true, childList: true });
  return true;
})()`

// untouched resolves when nothing in the page has changed for as long as its updates are apart.
const untouched = `new Promise((done) => {
  const end = () => { seen.disconnect(); done(true); };
  let timer = setTimeout(end, 1100);
  const seen = new MutationObserver(() => { clearTimeout(timer); timer = setTimeout(end, 1100); });
  seen.observe(document.querySelector("main"), { subtree: true, childList: true, characterData: true });
})`

// idles waits until the page has not been updated for as long as updates are apart.
func (u *user) idles() {
	u.Helper()
	value[bool](u, untouched)
}

func TestPageKeepsWhatTheViewerDoes(t *testing.T) {
	s := start(t)
	waits := s.submit(t, "wait")
	s.reaches(t, waits, af.StatusRunning)
	u := open(t, serve(t, "", dashboard.Handler(s.App, ann)), chrome.View{Height: 500})

	// A menu with text in its form, a folded part, a selected text and the position of the page survive.
	u.goes("/tasks/" + waits)
	u.live()
	u.clicks("summary", "Stop")
	u.fills("details[open] [name=reason]", "half a reas")
	const prepare = `(() => {
		const field = document.querySelector("details[open] [name=reason]");
		field.setSelectionRange(2, 5);
		window.field = field;
		scrollTo(0, 120);
		return scrollY;
	})()`
	scrolled := value[float64](u, prepare)
	s.release()
	s.reaches(t, waits, af.StatusSuccess)
	u.reads("#why", "succeeded")
	kept := value[string](u, `[field.isConnected, document.activeElement === field, field.value, field.selectionStart,
		field.selectionEnd, field.closest("details").open, scrollY].join()`)
	if want := fmt.Sprint("true,true,half a reas,2,5,true,", scrolled); kept != want {
		t.Errorf("the page keeps %s, want %s", kept, want)
	}

	// In a list: rows that are selected, the focus and a selected text.
	done := s.submit(t, "log", af.TaskID("first"))
	s.reaches(t, done, af.StatusSuccess)
	u.goes("/tasks")
	u.live()
	u.clicks("[name=id][value=first]", "")
	value[bool](u, `(() => { getSelection().selectAllChildren(document.querySelector("[data-key=first] a"));
		window.row = document.querySelector("[data-key=first]"); return true; })()`)
	s.reaches(t, s.submit(t, "log", af.TaskID("second")), af.StatusSuccess)
	u.sees(`document.querySelector("[data-key=second]").textContent.includes("success")`)
	kept = value[string](u, `[row.isConnected, document.activeElement.value, String(getSelection()),
		[...document.querySelectorAll("[name=id]:checked")].map((e) => e.value)].join()`)
	if want := "true,first,first,first"; kept != want {
		t.Errorf("the list keeps %s, want %s", kept, want)
	}
	u.reads("[data-chosen]", "1 selected")

	// What is folded in a payload stays so, and other details that are open.
	u.goes("/tasks")
	u.clicks("details.keys summary", "")
	u.live()
	s.reaches(t, s.submit(t, "log", af.TaskID("third")), af.StatusSuccess)
	u.sees(`document.querySelector("[data-key=third]").textContent.includes("success")`)
	u.sees(`document.querySelector("details.keys").open`)
	u.clean()
}

// The lines of a running attempt appear, and its end.
func TestLogIsFollowed(t *testing.T) {
	s := start(t)
	waits := s.submit(t, "wait")
	s.reaches(t, waits, af.StatusRunning)
	u := open(t, serve(t, "/ops", dashboard.Handler(s.App, ann, dashboard.Prefix("/ops"))), chrome.View{})
	u.goes("/tasks/" + waits)
	u.reads(".log", "begun")
	s.release()
	u.reads(".log", "released")
	u.reads("h1", "success")
	u.clean()
}

// The page of a task that is deleted remains, and tells it.
func TestDeletedTaskRemainsReadable(t *testing.T) {
	s := start(t)
	id := s.submit(t, "log")
	s.reaches(t, id, af.StatusSuccess)
	u := open(t, serve(t, "", dashboard.Handler(s.App, ann)), chrome.View{})
	u.goes("/tasks/" + id)
	u.live()
	must(t, s.DeleteTask(t.Context(), id, af.By("bob")))
	u.reads("#live", "deleted")
	u.reads("h1", id)
	u.clean("status of 404")
}

func TestHistoryKeepsTheState(t *testing.T) {
	s := start(t)
	failed := s.submit(t, "fail")
	s.reaches(t, failed, af.StatusFailed)
	s.reaches(t, s.submit(t, "log"), af.StatusSuccess)
	u := open(t, serve(t, "", dashboard.Handler(s.App, ann)), chrome.View{})
	const one = `document.querySelectorAll("tbody tr[data-key]").length === 1 && document.querySelector("[name=q]").value`
	u.goes("/tasks")
	u.fills("[name=q]", "status:failed")
	u.follows("form[role=search] button", "Filter")
	u.sees(one + ` === "status:failed"`)
	u.follows("tbody a", failed)
	u.reads("h1", "failed")
	u.within(u.tab.Back)
	u.sees(one + ` === "status:failed"`)
	u.within(u.tab.Back)
	u.sees(`document.querySelectorAll("tbody tr[data-key]").length === 2 && location.search === ""`)
	u.within(u.tab.Forward)
	u.sees(one + ` === "status:failed"`)
	u.within(u.tab.Reload)
	u.sees(one + ` === "status:failed"`)
	u.live()

	// A reload does not tell a change again, nor make it.
	u.goes("/queues/prints")
	u.changes("Pause", "", "Pause the queue")
	u.within(u.tab.Reload)
	u.sees(`!document.querySelector("[role=status]")`)
	s.audited(t, "queue.pause prints")
	u.clean()
}

func TestKeys(t *testing.T) {
	s := start(t)
	for i := range 3 {
		s.reaches(t, s.submit(t, "log", af.TaskID(fmt.Sprint("task-", i))), af.StatusSuccess)
	}
	u := open(t, serve(t, "/ops", dashboard.Handler(s.App, ann, dashboard.Prefix("/ops"))), chrome.View{})
	u.goes("/tasks")
	marked := func(id string) {
		u.Helper()
		u.sees(fmt.Sprintf(`[...document.querySelectorAll(".marked")].map((e) => e.dataset.key).join() === %q`, id))
	}
	u.presses("j")
	marked("task-2") // the newest task is the first
	u.presses("j")
	marked("task-1")
	u.presses("x")
	u.sees(`document.querySelector("[name=id]:checked").value === "task-1"`)
	u.presses("jjj")
	marked("task-0") // the last one
	u.presses("kkk")
	marked("task-2")
	u.presses("?")
	u.sees(`document.querySelector("#help").open`)
	u.presses("j") // not while the help is open
	marked("task-2")
	u.presses(chrome.Escape)
	u.sees(`!document.querySelector("#help").open`)
	u.presses("/")
	u.sees(`document.activeElement.name === "q"`)
	u.presses("gq?x") // is typed
	u.sees(`document.activeElement.value === "gq?x" && !document.querySelector("#help").open`)
	value[bool](u, "document.activeElement.blur() || true")
	u.presses("k")
	u.presses(chrome.Enter)
	u.sees(`location.pathname === "/ops/tasks/task-2"`)
	u.sees(`document.readyState === "complete"`)
	u.presses("gq")
	u.sees(`location.pathname === "/ops/queues"`)
	u.clean()
}
