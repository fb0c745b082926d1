package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
)

// machinesAPI is a system with everything that lists show.
func machinesAPI() *liveAPI {
	instance := func(n int) af.Instance {
		return af.Instance{ID: fmt.Sprintf("K3F7QZ2M4N5P6R7S8T9V2W3X%02d", n),
			IP: fmt.Sprint("10.0.0.", n), Version: "v1.4.2"}
	}
	methods := []af.MethodInfo{
		{Name: "Add", Doc: "Add adds x and y. It never fails, whatever the numbers are.",
			Signature: "(x int, y int) (int, error)", Fingerprint: "9f3c", Idempotent: true},
		{Name: "Div", Signature: "(x int, y int) (int, error)", Fingerprint: "77aa"}}
	return &liveAPI{
		instances: []af.InstanceInfo{
			{Instance: instance(1), Node: "web-1-3fd2", Host: "web-1", PID: 4711, Started: ago(49 * time.Hour),
				Services: []string{"calc"}, Queues: []string{"mail", "resize"}},
			{Instance: instance(2), Node: "web-2-77a1", Host: "web-2", PID: 12, Started: ago(3 * time.Minute), Draining: true,
				Services: []string{}, Queues: []string{"mail"}},
			{Instance: instance(3), Node: "web-2-77a1", Host: "web-2\x1b[2J", PID: 13, Started: ago(3 * time.Minute),
				Services: []string{}, Queues: []string{}, Degraded: []string{"not-claiming: no heartbeat is accepted"}},
		},
		nodes: []af.Node{
			{ID: "web-1-3fd2", Host: "web-1", IPs: []string{"10.0.0.1", "192.168.1.1"}, OS: "linux", Arch: "amd64", CPUs: 8,
				MemoryTotal: 16 << 30, DiskTotal: 100 << 30, Kernel: "6.12", Instances: []string{"a"},
				NodeSample: af.NodeSample{Time: ago(5 * time.Second), CPU: 0.42, Load1: 3.5, MemoryUsed: 8 << 30,
					DiskUsed: 97 << 30}},
			{ID: "web-2-77a1", Host: "web-2", IPs: []string{"10.0.0.2"}, OS: "windows", Arch: "amd64", CPUs: 4,
				Instances: []string{"b", "c"}, NodeSample: af.NodeSample{Time: ago(5 * time.Second)}},
			{ID: "old-1", Host: "old"},
		},
		services: []af.ServiceInfo{
			{Name: "calc", Doc: "Calc calculates\x1b[2J.", Methods: methods, Load: af.ServiceLoad{InFlight: 3, Calls: 12_345, Errors: 17},
				Instances: []af.ServiceInstance{
					{Instance: instance(1), Started: ago(49 * time.Hour), Contract: "aaaa", Concurrency: 100, Methods: methods[:1],
						Load: af.ServiceLoad{InFlight: 1, Calls: 12_000, Errors: 17}},
					{Instance: instance(2), Started: ago(3 * time.Minute), Contract: "bbbb", Concurrency: 100, Methods: methods,
						Load: af.ServiceLoad{InFlight: 2, Calls: 345}},
				}},
			{Name: "ending", Instances: []af.ServiceInstance{{Instance: instance(2), Draining: true}}},
			{Name: "shop", Instances: []af.ServiceInstance{{Instance: instance(1)}}},
		},
		jobs: []af.Job{
			{ID: "backup", Cron: "30 3 * * *", Zone: "Europe/Berlin", Queue: "backup", Next: now.Add(90 * time.Minute),
				Fired: ago(23 * time.Hour), Overlap: af.OverlapQueue, Waiting: 3, Allow: []string{"10.1.0.0/16"}},
			{ID: "late", Cron: "* * * * *", Zone: "UTC", Queue: "late", Next: ago(time.Second), Missed: af.MissedAll},
			{ID: "nightly", Cron: "0 0 2 * * *", Zone: "Mars/Olympus", Queue: "report", Disabled: true, By: "ann@web-1",
				Reason: "too slow\x1b[2J", Fired: ago(40 * 24 * time.Hour)},
		},
		fires: []af.Fire{
			{Job: "backup", Due: ago(time.Minute), At: ago(time.Minute), TaskID: "backup-1780000000"},
			{Job: "backup", Due: ago(25 * time.Hour), At: ago(25 * time.Hour), Skipped: af.SkippedOverlap},
			{Job: "late", Due: ago(26 * time.Hour), At: ago(26 * time.Hour), Skipped: af.SkippedMissed, More: 12},
			{Job: "late", At: ago(27 * time.Hour), TaskID: testTaskID(7)},
			{Job: "late", Due: ago(28 * time.Hour), At: ago(28 * time.Hour), Skipped: "a reason of tomorrow", More: 1},
		},
		tasks: nightAPI().tasks,
	}
}

var listCommands = [][]string{
	{"instances"}, {"nodes", "-gone"}, {"services"}, {"services", "calc"}, {"jobs"}, {"fires"}, {"ps"},
}

func TestLists(t *testing.T) {
	for _, args := range listCommands {
		name := strings.ReplaceAll(strings.Join(args, "_"), "-", "")
		t.Run(name, func(t *testing.T) {
			for suffix, on := range map[string]terminal{
				"80": {width: 80}, "120.color": {width: 120, color: true}, "pipe": {},
			} {
				got := runOn(t, machinesAPI(), on, args...)
				if got.code != exitDone || got.err != "" {
					t.Errorf("exit code %d: %s", got.code, got.err)
				}
				checkGolden(t, "lists/"+name+"."+suffix+".txt", got.out)
			}
			got := runOn(t, machinesAPI(), terminal{}, append(args, "-o", "wide")...)
			checkGolden(t, "lists/"+name+".wide.txt", got.out)
			got = runOn(t, machinesAPI(), terminal{}, append(args, "-o", "json")...)
			if got.code != exitDone || got.err != "" || !json.Valid([]byte(got.out)) {
				t.Errorf("exit code %d: %s%s", got.code, got.out, got.err)
			}
			checkGolden(t, "lists/"+name+".json", got.out)
		})
	}
}

// An empty list is no error; a person is told what to do. Its JSON has an empty list.
func TestEmptyLists(t *testing.T) {
	for _, args := range listCommands {
		if len(args) == 2 && args[0] == "services" {
			continue
		}
		t.Run(args[0], func(t *testing.T) {
			got := runOn(t, &liveAPI{}, terminal{}, args...)
			if got.code != exitDone || got.out != "" || !strings.HasPrefix(got.err, "af: no") {
				t.Errorf("%+v", got)
			}
			got = runOn(t, &liveAPI{}, terminal{}, append(args, "-o", "json")...)
			if got.code != exitDone || !strings.Contains(got.out, ": []") || got.err != "" {
				t.Errorf("%+v", got)
			}
		})
	}
	got := runOn(t, &liveAPI{}, terminal{}, "services", "clac")
	if got.code != exitProblem || !strings.Contains(got.err, `no running instance serves "clac"`) {
		t.Errorf("%+v", got)
	}
}

// A list that is cut tells how many more there are; its JSON has the total.
func TestLimit(t *testing.T) {
	for _, command := range []string{"instances", "nodes", "services", "jobs", "fires", "ps"} {
		t.Run(command, func(t *testing.T) {
			got := runOn(t, machinesAPI(), terminal{}, command, "-limit", "1")
			if got.code != exitDone || strings.Count(got.out, "\n") != 2 || !strings.Contains(got.err, "af: 1 of ") {
				t.Errorf("%+v", got)
			}
			for _, n := range []string{"0", "-1", "100001"} {
				if got := runOn(t, machinesAPI(), terminal{}, command, "-limit="+n); got.code != exitUsage {
					t.Errorf("%s: %+v", n, got)
				}
			}
		})
	}
}

func TestFireFilters(t *testing.T) {
	for _, c := range []struct {
		args  string
		lines int
	}{
		{"fires late", 3}, {"fires -skipped", 3}, {"fires -skipped=false", 2}, {"fires -since 25h30m", 2},
	} {
		got := runOn(t, machinesAPI(), terminal{}, strings.Fields(c.args)...)
		if got.code != exitDone || strings.Count(got.out, "\n") != c.lines+1 {
			t.Errorf("%s: %+v", c.args, got)
		}
	}
}

// af ps -w redraws a page on a terminal only.
func TestPsWatch(t *testing.T) {
	for _, args := range [][]string{{"ps", "-w"}, {"ps", "-w", "-o", "json"}} {
		if got := runOn(t, machinesAPI(), terminal{}, args...); got.code != exitUsage || !strings.Contains(got.err, "-w ") {
			t.Errorf("%+v", got)
		}
	}
	dumb := terminal{width: 80, env: map[string]string{"TERM": "dumb"}}
	if got := runOn(t, machinesAPI(), dumb, "ps", "-w"); got.code != exitUsage {
		t.Errorf("%+v", got)
	}
	c := &invocation{Environment: Environment{Now: func() time.Time { return now }}}
	page, err := runningTasks(t.Context(), machinesAPI(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	lines := c.psLines(page, &view{Printer: text.Printer{Width: 80}, Height: 6, Now: now, Paused: true})
	checkGolden(t, "lists/ps_watch.txt", strings.Join(lines, "\n")+"\n")
}

func TestLogs(t *testing.T) {
	api := &liveAPI{tasks: []af.Task{{ID: "k", Status: af.StatusSuccess, Log: []string{"one", "two\x1b[2J"}},
		{ID: "none", Status: af.StatusStopped},
		{ID: "runs", Status: af.StatusRunning, Log: []string{"old"}}}, lines: [][]string{{"old"}, {"new <1>", "newer"}}}
	for _, c := range []struct{ args, out, err string }{
		{"logs k", "one\ntwo\ufffd[2J\n", ""},
		{"logs none", "", "af: task none is stopped and has no log\n"},
		{"logs runs", "old\n", "af: task runs runs: af logs runs -f shows what this attempt writes\n"},
		{"logs runs -f", "old\nnew <1>\nnewer\n", ""},
		{"logs runs -follow -o json", `{"line":"old"}` + "\n" + `{"line":"new <1>"}` + "\n" + `{"line":"newer"}` + "\n", ""},
	} {
		got := runOn(t, api, terminal{}, strings.Fields(c.args)...)
		if got.code != exitDone || got.out != c.out || got.err != c.err {
			t.Errorf("%s: %+v", c.args, got)
		}
	}
	if got := runOn(t, api, terminal{}, "logs", "x"); got.code != exitProblem {
		t.Errorf("%+v", got)
	}
	got := runOn(t, api, terminal{}, "logs", "none", "-o", "json")
	if got.code != exitDone || !strings.Contains(got.out, `"log": []`) {
		t.Errorf("%+v", got)
	}
	api.logErr = af.NewError(af.ErrUnavailable, "the stream is lost")
	if got := runOn(t, api, terminal{}, "logs", "runs", "-f"); got.code != exitUnavailable {
		t.Errorf("%+v", got)
	}
}
