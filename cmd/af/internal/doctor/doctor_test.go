package doctor

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// system is an API that shows what a test sets.
type system struct {
	admin.API // nil: nothing else may be called

	overview  admin.Overview
	instances []af.InstanceInfo
	workers   []af.WorkerInfo
	services  []af.ServiceInfo
	nodes     []af.Node
	jobs      []af.Job
	fires     []af.Fire
	missing   []string // indexes
	down      error    // of instances, workers, services and nodes
}

func (s *system) Overview(context.Context) (admin.Overview, error) { return s.overview, nil }

// Instances has one instance a page.
func (s *system) Instances(_ context.Context, q af.InstanceQuery) (af.InstancePage, error) {
	i := len(q.Cursor)
	if s.down != nil || i >= len(s.instances) {
		return af.InstancePage{}, s.down
	}
	return af.InstancePage{Instances: s.instances[i : i+1], Cursor: strings.Repeat("c", i+1)}, nil
}

func (s *system) Workers(context.Context, af.WorkerQuery) (af.WorkerPage, error) {
	return af.WorkerPage{Workers: s.workers}, s.down
}

func (s *system) Services(context.Context, af.ServiceQuery) (af.ServicePage, error) {
	return af.ServicePage{Services: s.services}, s.down
}

func (s *system) Nodes(context.Context, af.NodeQuery) (af.NodePage, error) {
	return af.NodePage{Nodes: s.nodes}, s.down
}

func (s *system) Jobs(context.Context, af.JobQuery) (af.JobPage, error) {
	return af.JobPage{Jobs: s.jobs}, nil
}

func (s *system) Fires(_ context.Context, q af.FireQuery) (af.FirePage, error) {
	page := af.FirePage{}
	for _, f := range s.fires {
		if !f.At.Before(q.After) && q.Skipped != nil && *q.Skipped == (f.Skipped != "") {
			page.Fires = append(page.Fires, f)
		}
	}
	return page, nil
}

var now = time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

// well is a system without problems.
func well() *system {
	in := func(id, ip string) af.Instance { return af.Instance{ID: id, IP: ip, Version: "v1"} }
	info := func(id, ip string) af.InstanceInfo {
		return af.InstanceInfo{Instance: in(id, ip), Host: "web-" + id, Services: []string{"shop"}, Queues: []string{"mails"}}
	}
	worker := func(id, ip string) af.WorkerInfo {
		return af.WorkerInfo{Queue: "mails", Instance: in(id, ip), Wanted: 2, Applied: 2, Own: 2, Claims: true,
			Fingerprint: "f1"}
	}
	node := func(id string) af.Node {
		return af.Node{ID: id, MemoryTotal: 8 << 30, DiskTotal: 100 << 30, NodeSample: af.NodeSample{
			Time: ago(20 * time.Second), MemoryUsed: 2 << 30, DiskUsed: 50 << 30}}
	}
	return &system{
		overview: admin.Overview{
			Health: af.Health{Ready: true, Instance: in("a", "10.0.0.1"), Conditions: []af.Condition{{Name: "redis", Up: true}}},
			Queues: []af.QueueInfo{{Name: "mails", Workers: 2, Slots: 4, Running: 1, Oldest: ago(time.Minute),
				Counts: map[af.Status]af.Count{af.StatusWaiting: {N: 1}, af.StatusFailed: {N: 9}}}},
		},
		instances: []af.InstanceInfo{info("a", "10.0.0.1"), info("b", "10.0.0.2")},
		workers:   []af.WorkerInfo{worker("a", "10.0.0.1"), worker("b", "10.0.0.2")},
		services: []af.ServiceInfo{{Name: "shop", Instances: []af.ServiceInstance{{Instance: in("a", "10.0.0.1"),
			Contract: "c1"}, {Instance: in("b", "10.0.0.2"), Contract: "c1"}}}},
		nodes: []af.Node{node("web-a"), node("web-b"), {ID: "starts"}},
		jobs: []af.Job{
			{ID: "daily", Queue: "mails", Next: now.Add(time.Hour), Allow: []string{"10.0.0.0/30"}},
			{ID: "off", Queue: "mails", Disabled: true, Changed: ago(time.Hour)},
		},
		fires: []af.Fire{{Job: "daily", At: ago(time.Minute)},
			{Job: "daily", At: ago(2 * time.Hour), Skipped: af.SkippedOverlap}},
	}
}

func examine(t *testing.T, s *system, file string, clock time.Duration) Report {
	t.Helper()
	r, err := Examine(t.Context(), System{
		API: s, File: file, Now: func() time.Time { return now }, Late: 5 * time.Minute,
		StoreTime:      func(context.Context) (time.Time, error) { return now.Add(clock), nil },
		MissingIndexes: func(context.Context) ([]string, error) { return s.missing, s.down },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// private returns an embedded file that only its user can access.
func private(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "private")
	file := filepath.Join(dir, "af.db")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestSystemWithoutProblems(t *testing.T) {
	r := examine(t, well(), private(t), time.Second)
	for i, f := range r.Findings {
		if f.Verdict != OK || f.Check != checks[i].name || f.Text == "" {
			t.Errorf("%+v", f)
		}
	}
	if len(r.Findings) != len(checks) || r.Problems != 0 || r.Unknown != 0 {
		t.Errorf("%+v", r)
	}
	lines := r.Lines(&text.Printer{})
	if len(lines) != len(checks)+1 || lines[len(checks)] != "no problems" {
		t.Errorf("%q", lines)
	}
}

// Each check finds its problems, and no other check finds any.
func TestChecks(t *testing.T) {
	two := 0
	queue := func(s *system) *af.QueueInfo { return &s.overview.Queues[0] }
	found := map[string]bool{}
	for _, test := range []struct {
		check  string
		change func(*system)
		text   string // in the sentence
		help   string // in what helps
	}{
		{"health", func(s *system) {
			s.overview.Health.Conditions[0] = af.Condition{Name: "redis", Mode: "without-redis", Since: ago(time.Minute),
				Cause: "connection refused", Lost: "RequireWorker"}
		}, "degraded mode without-redis for 1m00s: connection refused; lost: RequireWorker", "docs/servers.md"},
		{"health", func(s *system) { s.overview.Health.Ready, s.overview.Health.Reason = false, "stopping" },
			"not ready: stopping", ""},
		{"results", func(s *system) { s.overview.Health.Unwritten, s.overview.Health.UnwrittenSince = 3, ago(time.Second) },
			"3 results of a (10.0.0.1) are not stored", "Don't end"},
		{"instances", func(s *system) { s.instances[1].Degraded = []string{"not-claiming: no heartbeat is accepted"} },
			"instance b (10.0.0.2) on web-b: not-claiming", "af instances"},
		{"instances", func(s *system) { s.instances = nil }, "no instance is running", "Start"},
		{"instances", func(s *system) {
			s.instances[1].LastBeat, s.instances[1].Expires = ago(8*time.Second), now.Add(12*time.Second)
		}, "instance b (10.0.0.2) on web-b has sent no heartbeat for 8.0s; its lease expires in 12s", "af ps"},
		{"workers", func(s *system) { queue(s).Workers, queue(s).Slots, queue(s).Running = 0, 0, 0 },
			`queue "mails" has 1 waiting task, and no instance runs its worker; none is known`, "af ls queue:mails"},
		{"workers", func(s *system) { queue(s).Name, queue(s).Workers, queue(s).Served = "it's $(me)", 0, ago(48*time.Hour) },
			"seen on 2026-11-28", `af ls 'queue:it'\''s $(me)'`},
		{"paused", func(s *system) {
			queue(s).Limits = af.Limits{Paused: true, Changed: ago(3 * time.Hour), By: "ann", Reason: "deploy."}
		}, `queue "mails" is paused for 3h00m by ann: deploy`, "af resume mails"},
		{"paused", func(s *system) { queue(s).Limits = af.Limits{Max: &two, Changed: ago(3 * time.Hour)} },
			`queue "mails" is limited to 0 tasks for 3h00m`, "af max mails -reset"},
		{"limits", func(s *system) { queue(s).Limits.Changed, s.workers[1].Wanted = ago(time.Minute), 1 },
			`instance b (10.0.0.2) runs up to 2 tasks of queue "mails", but its limit is 1 for 1m00s`, "af instances"},
		{"claims", func(s *system) { s.workers[1].Refusal = "no heartbeat is accepted" },
			`instance b (10.0.0.2) claims no tasks of queue "mails": no heartbeat is accepted`, "af instances"},
		{"handlers", func(s *system) { s.workers[0].Abandoned = 1 },
			`1 abandoned handler of queue "mails" on instance a (10.0.0.1)`, "Restart"},
		{"late", func(s *system) { queue(s).Oldest = ago(12 * time.Minute) },
			`a task of queue "mails" has been ready for 12m00s although 3 of 4 slots are free`,
			"af ls queue:mails status:waiting"},
		{"versions", func(s *system) { s.instances[1].Version = "v2" },
			"instances of queue mails, service shop differ in their versions: 1 × v1, 1 × v2", "af instances"},
		{"contracts", func(s *system) { s.services[0].Instances[1].Contract = "c2" }, "1 × c1, 1 × c2", "af services"},
		{"contracts", func(s *system) { s.workers[1].Fingerprint = "f2" },
			`workers of queue "mails" differ in their payload types: 1 × f1, 1 × f2`, "af instances"},
		{"jobs", func(s *system) { s.jobs[1].Changed, s.jobs[1].By = ago(72*time.Hour), "bo" },
			`job "off" is disabled for 3d by bo`, "af enable off"},
		{"jobs", func(s *system) { s.jobs[0].Next, s.jobs[0].Cron, s.jobs[0].Zone = time.Time{}, "0 0 30 2 *", "UTC" },
			`job "daily" never fires`, "af jobs"},
		{"jobs", func(s *system) { s.jobs[0].Allow = []string{"10.0.0.9"} },
			`job "daily" may run only at 10.0.0.9, and no instance`, "af instances"},
		{"fires", func(s *system) {
			for range 3 {
				s.fires = append(s.fires, af.Fire{Job: "daily", At: ago(time.Minute), Skipped: af.SkippedOverlap, More: 1})
			}
		}, `job "daily" has skipped 6 due times in the last hour: the task of an earlier one`, "af fires daily"},
		{"clocks", func(s *system) { s.nodes[0].Time = now.Add(30 * time.Second) },
			"machine web-a is at least 30s ahead", "NTP"},
		{"clocks", func(s *system) { s.nodes[0].Time = ago(5 * time.Minute) },
			"web-a has not reported for 5m00s", "af nodes"},
		{"machines", func(s *system) { s.nodes[0].DiskUsed = 99 << 30 },
			"disk of machine web-a is 99 % full: 1.0 GiB free", "af nodes"},
		{"machines", func(s *system) { s.nodes[0].MemoryUsed = 8<<30 - 1<<20 },
			"memory of machine web-a is 99 % full", "af nodes"},
		{"indexes", func(s *system) { s.missing = []string{"waiting", "list"} },
			"MongoDB lacks indexes on tasks, without which lists fail or claims are slow: waiting, list", "Restart"},
	} {
		s := well()
		test.change(s)
		r := examine(t, s, "", 0)
		found[test.check] = true
		var problems []Finding
		for _, f := range r.Findings {
			if f.Verdict != OK {
				problems = append(problems, f)
			}
		}
		if len(problems) != 1 || r.Problems != 1 || problems[0].Check != test.check || !strings.Contains(problems[0].Text,
			test.text) || !strings.Contains(problems[0].Help, test.help) {
			t.Errorf("%s: %+v, want %q and %q", test.check, problems, test.text, test.help)
		}
	}
	for _, c := range checks {
		if !found[c.name] && c.name != "file" {
			t.Errorf("check %s has no test", c.name)
		}
	}
}

func TestClockOfStore(t *testing.T) {
	r := examine(t, well(), "", 10*time.Second)
	if r.Problems != 1 || r.Findings[13].Check != "clocks" || !strings.Contains(r.Findings[13].Text, "differ by 10s") {
		t.Errorf("%+v", r)
	}
}

// While the instances can't be read, what needs them is unknown, and the rest is checked.
func TestUnknown(t *testing.T) {
	s := well()
	s.down = af.NewError(af.ErrUnavailable, "redis is unavailable")
	s.fires[0].Skipped = af.SkippedMissed
	r := examine(t, s, "", 0)
	var unknown []string
	for _, f := range r.Findings {
		if f.Verdict == Unknown {
			unknown = append(unknown, f.Check)
			if !strings.Contains(f.Text, "redis is unavailable") {
				t.Errorf("%+v", f)
			}
		}
	}
	want := []string{"instances", "limits", "claims", "handlers", "versions", "contracts", "jobs", "clocks", "machines",
		"indexes"}
	if d := cmp.Diff(want, unknown); d != "" || r.Unknown != len(want) || r.Problems != 1 {
		t.Errorf("%d problems, unknown (- want):\n%s", r.Problems, d)
	}
}

func TestFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // other permissions
	}
	for _, test := range []struct {
		mode, directory fs.FileMode
		free            uint64
		text            string
	}{
		{0o600, 0o700, 1 << 40, ""},
		{0o644, 0o755, 1 << 40, "other users can access /x/af.db (mode 0644)"},
		{0o400, 0o755, 1 << 40, "read-only"},
		{0o600, 0o775, 1 << 40, "other users can replace /x/af.db: the mode of its directory is 0775"},
		{0o600, 0o700, 1 << 20, "the disk of /x/af.db has 1.0 MiB free"},
	} {
		f := facts{embedded: fileFacts{path: "/x/af.db", mode: test.mode, directory: test.directory, free: test.free}}
		switch found := f.file(); {
		case test.text == "" && len(found) > 0:
			t.Errorf("%+v", found)
		case test.text != "" && (len(found) != 1 || !strings.Contains(found[0].Text, test.text)):
			t.Errorf("%+v, want %s", found, test.text)
		}
	}
	r := examine(t, well(), filepath.Join(t.TempDir(), "none"), 0)
	if f := r.Findings[len(r.Findings)-1]; f.Check != "file" || f.Verdict != Unknown {
		t.Errorf("a file that does not exist: %+v", f)
	}
}

// Many problems of a kind are counted, and ten are listed.
func TestManyProblems(t *testing.T) {
	s := well()
	for range 30 {
		s.overview.Queues = append(s.overview.Queues, af.QueueInfo{Name: "q", Counts: map[af.Status]af.Count{
			af.StatusWaiting: {N: 1}}})
	}
	r := examine(t, s, "", 0)
	listed := 0
	for _, f := range r.Findings {
		if f.Check == "workers" {
			listed++
		}
	}
	if r.Problems != 30 || listed != 11 {
		t.Errorf("%d problems, %d listed", r.Problems, listed)
	}
}

func TestLines(t *testing.T) {
	r := Report{Problems: 1, Unknown: 1, Findings: []Finding{
		{"workers", OK, "every queue has a worker", ""},
		{"jobs", Problem, "job \"a\x1b[31m\" may run only at 10.0.0.9, and no instance has such an address",
			"af fires a-very-long-name-of-a-job"},
		{"clocks", Unknown, "the machines can't be read", "Start Redis, and wait until it has recovered."},
	}}
	want := []string{
		`problem  jobs       job "a�[31m" may run`,
		`                    only at 10.0.0.9, and`,
		`                    no instance has such`,
		`                    an address`,
		`                    → af fires a-very-long-name-of-a-job`,
		`unknown  clocks     the machines can't be`,
		`                    read`,
		`                    → Start Redis, and`,
		`                      wait until it has`,
		`                      recovered.`,
		`ok       workers    every queue has a`,
		`                    worker`,
		`1 problem, 1 check not made`,
	}
	if d := cmp.Diff(want, r.Lines(&text.Printer{Width: 42})); d != "" {
		t.Errorf("(- want)\n%s", d)
	}
	colored := r.Lines(&text.Printer{Color: true})
	if !strings.HasPrefix(colored[0], "\x1b[31mproblem\x1b[0m  jobs       job") {
		t.Errorf("%q", colored)
	}
}

// docs/operations.md has a row for each check, in their order.
func TestDocumentOfChecks(t *testing.T) {
	raw, err := os.ReadFile(filepath.FromSlash("../../../../docs/operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	var rows, names []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z]+)` \\|").FindAllSubmatch(raw, -1) {
		rows = append(rows, string(row[1]))
	}
	for _, c := range checks {
		names = append(names, c.name)
	}
	if d := cmp.Diff(names, rows); d != "" {
		t.Errorf("the document (- checks)\n%s", d)
	}
}
