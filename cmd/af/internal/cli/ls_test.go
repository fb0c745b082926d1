package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// newTask returns a task that was submitted some time ago.
func newTask(id, queue string, status af.Status, age time.Duration) af.Task {
	return af.Task{ID: id, Queue: queue, Status: status, Created: ago(age), RunAt: ago(age), Weight: 1}
}

// failedTask returns a task whose last attempt failed a minute ago.
func failedTask(id, queue string, age time.Duration, code af.Code, message string) af.Task {
	t, retries := newTask(id, queue, af.StatusFailed, age), 4
	t.Error = &af.TaskError{Code: code, Message: message}
	t.Started, t.Ended, t.Attempt, t.Retries = ago(time.Minute+1500*time.Millisecond), ago(time.Minute), 5, &retries
	t.Instance, t.IP = "K3F6Y2-1", "10.0.0.7"
	return t
}

// someTasks is a system with a few tasks.
func someTasks() *fakeAPI {
	success := newTask("2JB7ESTFX4XJHNQKYDRXW3AAAA", "mail", af.StatusSuccess, 2*time.Hour)
	success.Started, success.Ended, success.Attempt = ago(time.Hour), ago(time.Hour-time.Second), 1
	return &fakeAPI{
		queues: []af.QueueInfo{{Name: "mail"}, {Name: "resize"}},
		tasks: []admin.Task{
			{Task: newTask("2JB7ESTFX4XJHNQKYDRXW3CCCC", "mail", af.StatusWaiting, 3*time.Second)},
			{Task: failedTask("2JB7ESTFX4XJHNQKYDRXW3BBBB", "resize", 3*24*time.Hour, af.ErrUnavailable,
				"the image server \x1b[31mdoes not answer\nwithin 10 s, which is more than it should take")},
			{Task: success},
		},
	}
}

func TestLs(t *testing.T) {
	api := someTasks()
	widths(t, api, "ls", "ls")
	t.Run("pipe", func(t *testing.T) {
		checkGolden(t, "ls.pipe.txt", runOn(t, api, terminal{}, "ls").out)
	})
	t.Run("wide", func(t *testing.T) {
		on := terminal{width: 80, zone: time.FixedZone("", 2*60*60)}
		checkGolden(t, "ls.wide.txt", runOn(t, api, on, "ls", "-o", "wide").out)
	})
}

// Terms, flags and arguments whose quotes the shell has removed select the same tasks.
func TestLsFilters(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string // the last letter of each task's id
	}{
		{nil, "CBA"},
		{[]string{"queue:mail"}, "CA"},
		{[]string{"queue:mail", "status:success"}, "A"},
		{[]string{"queue:mail status:success"}, "A"},
		{[]string{"code:unavailable"}, "B"},
		{[]string{"text:does not reply"}, ""},
		{[]string{"text:image server"}, "B"},
		{[]string{"-since", "1m"}, "C"},
		{[]string{"-before", "1h", "-since=1d"}, "A"},
		{[]string{"-before", "2026-11-29T00:00"}, "B"},
		{[]string{"-limit", "2"}, "CB"},
		{[]string{"-cursor", "at-2"}, "A"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			got, ids := runOn(t, someTasks(), terminal{}, append([]string{"ls"}, c.args...)...), ""
			for i, line := range strings.Split(strings.TrimSpace(got.out), "\n") {
				if i > 0 {
					ids += line[25:26]
				}
			}
			code := exitDone
			if c.want == "" {
				code = exitProblem
			}
			if ids != c.want || got.code != code {
				t.Errorf("%q, exit code %d: want %q, %d\n%s%s", ids, got.code, c.want, code, got.out, got.err)
			}
		})
	}
}

// What is on standard error tells what to do next.
func TestLsHints(t *testing.T) {
	for _, c := range []struct {
		name string
		args string
		code int
		want string
		set  func(*fakeAPI)
	}{
		{"empty", "", exitProblem, "there are no tasks; af queues lists the queues, and af submit adds a task",
			func(f *fakeAPI) { f.tasks = nil }},
		{"no_match", "status:running", exitProblem, "no task matches status:running", nil},
		{"no_match_in_queue", "queue:mail status:running", exitProblem, "no task matches queue:mail status:running", nil},
		{"misspelled_queue", "queue:rezise", exitProblem, "no queue is named rezise; did you mean resize?", nil},
		{"unknown_queue", "queue:upload", exitProblem, "no queue is named upload; af queues lists the queues", nil},
		{"more", "-limit 2", exitDone, "2 of 3; -limit or -all shows more", nil},
		{"all", "-all", exitDone, "", func(f *fakeAPI) { f.page = 1 }},
		{"more_with_filter", "id:2 -limit 1", exitDone, "1 shown; there may be more: -limit or -all shows them", nil},
		{"bounded", "id:2", exitDone, "2 shown; looked at 2 tasks, back to 2026-11-27 03:00:00.000 +00:00 (3d ago); " +
			"-all looks at all, and -cursor at-2 continues", func(f *fakeAPI) { f.looked = 2 }},
		{"bounded_and_empty", "id:x", exitProblem, "no task found yet: looked at 1 tasks, back to " +
			"2026-11-30 02:59:57.000 +00:00 (3.0s ago); -all looks at all, and -cursor at-1 continues",
			func(f *fakeAPI) { f.looked = 1 }},
		{"bounded_and_all", "id:2 -all", exitDone, "", func(f *fakeAPI) { f.looked = 1 }},
		{"wrong_term", "sttus:failed", exitUsage, "unknown key \"sttus\"; did you mean status:?", nil},
		{"wrong_limit", "-limit 0", exitUsage, "-limit 0: want 1 to 1000, or -all", nil},
		{"both", "-limit 1 -all", exitUsage, "use only one of -limit and -all", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			api := someTasks()
			if c.set != nil {
				c.set(api)
			}
			got := runOn(t, api, terminal{}, append([]string{"ls"}, strings.Fields(c.args)...)...)
			if !strings.Contains(got.err, c.want) || c.want == "" && got.err != "" || got.code != c.code {
				t.Errorf("exit code %d, %s\nwant %d, %s", got.code, got.err, c.code, c.want)
			}
		})
	}
}

// With -all, tasks are printed page by page in the same columns, with one line of titles.
func TestLsPrintsPages(t *testing.T) {
	api := &fakeAPI{page: 10}
	for i := range 35 {
		id, queue := fmt.Sprintf("id%03d", i), strings.Repeat("q", 1+i%7)
		api.tasks = append(api.tasks, admin.Task{Task: newTask(id, queue, af.StatusWaiting, time.Duration(i)*time.Second)})
	}
	got := runOn(t, api, terminal{}, "ls", "-all")
	lines := strings.Split(strings.TrimSpace(got.out), "\n")
	if len(lines) != 36 || strings.Count(got.out, "STATUS") != 1 {
		t.Fatal(got.out)
	}
	for _, line := range lines[1:] {
		if strings.Index(line, "waiting") != strings.Index(lines[0], "STATUS") {
			t.Errorf("misaligned: %s", line)
		}
	}
}

func TestLsJSON(t *testing.T) {
	var page af.TaskPage
	got := runOn(t, someTasks(), terminal{}, "ls", "-o", "json", "-limit", "2")
	if err := json.Unmarshal([]byte(got.out), &page); err != nil || len(page.Tasks) != 2 || page.Cursor != "at-2" ||
		page.Total != 3 {
		t.Errorf("%v, %s", err, got.out)
	}
	api := someTasks()
	api.page = 1
	got = runOn(t, api, terminal{}, "ls", "-o", "json", "-all")
	lines := strings.Split(strings.TrimSpace(got.out), "\n")
	for _, line := range lines {
		var task af.Task
		if err := json.Unmarshal([]byte(line), &task); err != nil || task.ID == "" {
			t.Errorf("%v, %s", err, line)
		}
	}
	if len(lines) != 3 {
		t.Errorf("%d lines, want 3", len(lines))
	}
	got = runOn(t, &fakeAPI{}, terminal{}, "ls", "-o", "json")
	if got.code != exitProblem || !strings.Contains(got.out, `"tasks": []`) {
		t.Errorf("without tasks: exit code %d, %s", got.code, got.out)
	}
}

func TestAudit(t *testing.T) {
	api := &fakeAPI{entries: []af.AuditEntry{
		{ID: "3", Time: ago(20 * time.Second), By: "ann@host", Reason: "the disk is full", Action: "queue.pause",
			Target: "resize", Instance: "K3F6Y2-1"},
		{ID: "2", Time: ago(time.Hour), By: "bob@host", Action: "tasks.retry", Target: "queue=resize status=failed " +
			"after=2026-11-29T10:00:00Z", Detail: "matched 3, changed 3, failed 0"},
		{ID: "1", Time: ago(72 * time.Hour), By: "ann@host", Action: "task.stop", Target: "2JB7ESTFX4XJHNQKYDRXW3CCCC",
			Error: "not_found: task does not exist"},
	}}
	widths(t, api, "audit", "audit")
	for args, want := range map[string]int{
		"": 3, "-by ann@host": 2, "-action task.stop": 1, "-target resize": 1, "-limit 2": 2, "-by eve": 0,
	} {
		var page af.AuditPage
		got := runOn(t, api, terminal{}, append([]string{"audit", "-o", "json"}, strings.Fields(args)...)...)
		if err := json.Unmarshal([]byte(got.out), &page); err != nil || len(page.Entries) != want ||
			(got.code == exitDone) != (want > 0) {
			t.Errorf("%s: exit code %d, %v, %s", args, got.code, err, got.out)
		}
	}
	got := runOn(t, api, terminal{}, "audit", "-limit", "1")
	if want := "1 shown; -limit shows more, and -cursor at-1 continues"; !strings.Contains(got.err, want) {
		t.Errorf("%s, want %s", got.err, want)
	}
}

func TestHelpOfFilters(t *testing.T) {
	checkGolden(t, "help.filter.txt", filterText()+"\n")
}
