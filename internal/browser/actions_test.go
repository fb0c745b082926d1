package browser

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/browser/chrome"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/dashboard"
)

// A setting is a way to use the dashboard, in which everything must work.
type setting struct {
	name, prefix string
	view         chrome.View
}

var settings = []setting{
	{"root", "", chrome.View{}},
	{"prefix-no-script", "/ops", chrome.View{NoScript: true}},
}

// onPhone has menus and lists at other places.
var onPhone = setting{"phone", "/ops", chrome.View{Width: 375, Height: 700, Phone: true}}

// acting runs a test in each setting, with a system and a user of its own.
func acting(t *testing.T, f func(s *system, u *user), more ...setting) {
	for _, v := range slices.Concat(settings, more) {
		t.Run(v.name, func(t *testing.T) {
			s := start(t)
			u := open(t, serve(t, v.prefix, dashboard.Handler(s.App, ann, dashboard.Prefix(v.prefix))), v.view)
			f(s, u)
			u.clean()
		})
	}
}

// changes makes a change by the form of a menu, with a reason, and waits until it is told as done.
func (u *user) changes(menu, reason, button string) {
	u.Helper()
	u.clicks("summary", menu)
	if reason != "" {
		u.fills("details[open] [name=reason]", reason)
	}
	u.follows("details[open] button", button)
	u.sees(`document.querySelector("[role=status]")`)
}

func TestQueueIsChanged(t *testing.T) {
	acting(t, func(s *system, u *user) {
		u.goes("/queues/prints")
		u.changes("Pause", "paper jam", "Pause the queue")
		u.reads("h1", "paused")
		s.audited(u.T, "queue.pause prints paper jam")
		if l, err := s.QueueLimits(t.Context(), "prints"); err != nil || !l.Paused || l.By != "ann" {
			u.Errorf("limits %+v, %v", l, err)
		}
		u.follows(".actions button", "Resume")
		s.audited(u.T, "queue.resume prints")

		u.fills("#limits [name=max]", "2")
		u.fills("#limits [name=reason]", "toner")
		u.follows("#limits button", "Set the limit")
		s.audited(u.T, "queue.max prints toner")
		u.fills("#limits [name=max]", "1")
		u.fills("#limits [name=ip]", "10.0.0.7")
		u.follows("#limits button", "Set the limit")
		u.reads("#limits", "10.0.0.7")
		if l, err := s.QueueLimits(t.Context(), "prints"); err != nil || l.Paused || l.Max == nil || *l.Max != 2 ||
			l.At["10.0.0.7"] != 1 {
			u.Errorf("limits %+v, %v", l, err)
		}
		u.follows("#limits button", "Remove all limits")
		if l, err := s.QueueLimits(t.Context(), "prints"); err != nil || l.Max != nil || len(l.At) > 0 {
			u.Errorf("limits %+v, %v", l, err)
		}
	})
}

func TestTaskIsChanged(t *testing.T) {
	acting(t, func(s *system, u *user) {
		waits := s.submit(t, "wait")
		s.reaches(t, waits, af.StatusRunning)
		u.goes("/tasks/" + waits)
		u.changes("Stop", "wrong file", "Stop the task")
		s.reaches(t, waits, af.StatusStopped)
		s.audited(u.T, "task.stop "+waits+" wrong file")

		later := s.submit(t, "log", af.Delay(time.Hour))
		u.goes("/tasks/" + later)
		u.clicks("summary", "Weight")
		u.fills("details[open] [name=weight]", "7")
		u.follows("details[open] button", "Change the weight")
		if task, err := s.GetTask(t.Context(), later); err != nil || task.Weight != 7 {
			u.Errorf("weight %d, %v", task.Weight, err)
		}
		u.changes("Run now", "urgent", "Run now")
		s.reaches(t, later, af.StatusSuccess)
		s.audited(u.T, "task.run "+later+" urgent", "task.reweigh "+later)

		failed := s.submit(t, "fail")
		s.reaches(t, failed, af.StatusFailed)
		u.goes("/tasks/" + failed)
		u.changes("Retry", "again", "Retry the task")
		again := u.task()
		if task := s.reaches(t, again, af.StatusFailed); task.RetryOf != failed {
			u.Errorf("task %s is a retry of %q, want %s", again, task.RetryOf, failed)
		}
		u.clicks("summary", "Edit and retry")
		u.fills("details[open] textarea", `{"do": "log", "text": "edited"}`)
		u.follows("details[open] button", "Retry with this payload")
		edited := u.task()
		if task := s.reaches(t, edited, af.StatusSuccess); !strings.Contains(string(task.Payload), "edited") {
			u.Errorf("payload %s", task.Payload)
		}
		u.changes("Delete", "", "Delete the task")
		u.sees(`location.pathname.endsWith("/tasks")`)
		if _, err := s.GetTask(t.Context(), edited); af.CodeOf(err) != af.ErrNotFound {
			u.Errorf("the task is not deleted: %v", err)
		}
		u.clean("status of 404") // the page may have learned of the deletion before it was left
		s.audited(u.T, "task.delete "+edited, "task.retry "+again, "task.retry "+failed+" again")
	}, onPhone)
}

// task returns the id of the task that is shown.
func (u *user) task() string {
	u.Helper()
	u.sees(`/\/tasks\/[^/]+$/.test(location.pathname)`)
	return value[string](u, `decodeURIComponent(location.pathname.split("/").pop())`)
}

func TestManyTasksAreChanged(t *testing.T) {
	acting(t, func(s *system, u *user) {
		var ids []string
		for range 4 {
			ids = append(ids, s.submit(t, "fail"))
		}
		for _, id := range ids {
			s.reaches(t, id, af.StatusFailed)
		}
		u.goes("/tasks?q=status:failed")
		u.clicks(fmt.Sprintf("[name=id][value=%q]", ids[0]), "")
		u.clicks(fmt.Sprintf("[name=id][value=%q]", ids[1]), "")
		u.follows(".bulk button", "Delete …")
		u.reads("h1", "Delete 2 tasks?")
		if page, err := s.Tasks(t.Context(), af.TaskQuery{}); err != nil || page.Total != 4 {
			u.Errorf("the dry run has left %d tasks, %v", page.Total, err)
		}
		u.fills("[name=reason]", "old")
		u.follows(".bulk button", "Delete 2 tasks")
		u.reads("h1", "2 tasks deleted")
		if page, err := s.Tasks(t.Context(), af.TaskQuery{}); err != nil || page.Total != 2 {
			u.Errorf("there are %d tasks, %v", page.Total, err)
		}
		s.audited(u.T, "task.delete "+ids[0]+" old", "task.delete "+ids[1]+" old")

		u.follows(".bulk a", "Back to the tasks")
		u.clicks("[name=all]", "")
		u.follows(".bulk button", "Retry …")
		u.reads("h1", "Retry 2 tasks?")
		u.follows(".bulk button", "Retry 2 tasks")
		u.reads("h1", "2 tasks retried")
		if page, err := s.Tasks(t.Context(), af.TaskQuery{}); err != nil || page.Total != 4 {
			u.Errorf("there are %d tasks, %v", page.Total, err)
		}
	}, onPhone)
}

func TestTaskIsSubmitted(t *testing.T) {
	acting(t, func(s *system, u *user) {
		u.goes("/queues/prints")
		u.clicks("summary", "Submit")
		u.fills("details[open] textarea", `{"do": "log", "text": "by a form"}`)
		u.fills("details[open] [name=weight]", "3")
		u.fills("details[open] [name=reason]", "a test page")
		u.follows("details[open] button", "Submit")
		id := u.task()
		if task := s.reaches(t, id, af.StatusSuccess); task.Weight != 3 || task.Queue != "prints" {
			u.Errorf("%+v", task)
		}
		s.audited(u.T, "task.submit "+id+" a test page")
	})
}

func TestMethodIsCalled(t *testing.T) {
	acting(t, func(s *system, u *user) {
		u.goes("/services/calc/Add")
		u.fills("[name='arg.x']", "17")
		u.fills("[name='arg.y']", "5")
		u.fills("#call [name=reason]", "a sum")
		u.follows("#call button", "Call Add")
		u.reads("#result", "22")
		if title := value[string](u, "document.title"); title == "evil" {
			u.Error("a script in the result has run")
		}
		s.audited(u.T, "service.call calc.Add a sum")
	})
}

func TestJobIsChanged(t *testing.T) {
	acting(t, func(s *system, u *user) {
		must(t, s.queue.Schedule(t.Context(), "nightly", "30 3 * * *", map[string]any{"do": "log"}))
		u.goes("/jobs/nightly")
		u.changes("Disable", "holiday", "Disable the job")
		u.reads("h1", "disabled")
		s.audited(u.T, "job.disable nightly holiday")
		u.changes("Enable", "", "Enable the job")
		if j, err := s.Job(t.Context(), "nightly"); err != nil || j.Disabled {
			u.Errorf("%+v, %v", j, err)
		}
		s.audited(u.T, "job.enable nightly")
		u.changes("Run now", "the report", "Run the job")
		s.audited(u.T, "job.run nightly the report")
		if page, err := s.Tasks(t.Context(), af.TaskQuery{}); err != nil || page.Total != 1 {
			u.Errorf("%d tasks, %v", page.Total, err)
		}
	})
}

// A user who may only read sees no form that changes anything, and gets 403 from the addresses of all of them.
func TestReaderSeesNoButtons(t *testing.T) {
	s := start(t)
	failed, waits := fill(t, s)
	handler := dashboard.Handler(s.App, as("joe", admin.ReadOnly()...))
	u := open(t, serve(t, "", handler), chrome.View{})
	for _, path := range []string{"/", "/tasks", "/tasks/" + failed, "/tasks/" + waits, "/queues", "/queues/prints",
		"/jobs", "/jobs/nightly", "/services", "/services/calc/Add", "/machines", "/audit"} {
		u.goes(path)
		u.reads(".who", "read-only")
		const offers = `[...document.querySelectorAll(
				"main button:not([data-copy]), main summary.btn, main form[method=post] input:not([type=hidden])")]
			.filter((e) => e.checkVisibility()).map((e) => e.textContent.trim()).filter((t) => t !== "Filter")`
		if got := value[[]string](u, offers); len(got) > 0 {
			u.Errorf("%s offers %q", path, got)
		}
	}
	u.clean()
	for _, path := range []string{"/tasks/" + waits + "/stop", "/tasks/" + failed + "/retry", "/tasks/bulk",
		"/queues/prints/pause", "/queues/prints/submit", "/jobs/nightly/fire", "/services/calc/Add/call"} {
		status := value[int](u, fmt.Sprintf(`fetch(%q, {method: "POST"}).then((r) => r.status)`, path))
		if status != http.StatusForbidden {
			u.Errorf("POST %s: %d, want 403", path, status)
		}
	}
	if status, err := s.TaskStatus(context.Background(), waits); err != nil || status != af.StatusRunning {
		u.Errorf("the task is %s, %v", status, err)
	}
}
