package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

const theTask = "2JB7ESTFX4XJHNQKYDRXW3AAAA"

func explained(status af.Status, rules ...admin.Finding) *fakeAPI {
	return &fakeAPI{whys: map[string]admin.Explanation{
		theTask: {Task: theTask, Queue: "resize", Status: status, At: now, Rules: rules},
	}}
}

func TestWhy(t *testing.T) {
	api := explained(af.StatusWaiting,
		admin.Finding{
			Rule: admin.RulePaused, Text: "The queue is paused since 02:40:00 by ann@host: the image server is full.",
			Evidence: admin.Evidence{Since: ago(20 * time.Minute), By: "ann@host", Reason: "the image server is full"},
			Help:     []string{"App.ResumeQueue resumes it."},
		},
		admin.Finding{
			Rule: admin.RuleBusy, Text: "All 4 slots of all 2 instances are taken, and the oldest task in them runs since " +
				"02:01:10; 12 tasks are before it, and at the present rate its turn is in about 6m0s.",
			Evidence: admin.Evidence{
				Slots: 4, Taken: 4, Oldest: ago(58*time.Minute + 50*time.Second), Ahead: &af.Count{N: 12}, PerMinute: 2.2,
				Workers: []admin.Place{
					{Instance: "K3F6Y2-1", IP: "10.0.0.7", Version: "9f2c61d0"}, {Instance: "K3F6Y2-2", IP: "10.0.0.8"},
				},
			},
			Help: []string{
				"More instances, or App.UpdateMaxWorkers, give the queue more slots.", "App.Reweigh lets it go first.",
			},
		},
	)
	widths(t, api, "why", "why", theTask)
}

// Of a task in a zone, the times of day in sentences are told to be UTC. Nothing that comes from the system reaches the
// terminal as it is.
func TestWhyIsSafe(t *testing.T) {
	api := explained(af.StatusRetrying, admin.Finding{
		Rule: admin.RuleNotDue, Text: "Attempt 1 failed. The error was internal: \x1b[2Joh\nno.",
		Evidence: admin.Evidence{Code: af.ErrInternal, Message: "\x1b[2Joh\nno",
			Progress: json.RawMessage("{\"done\": \"\u009b\"}")},
		Help: []string{"App.RunNow makes it due now."},
	})
	got := runOn(t, api, terminal{zone: time.FixedZone("", 3600)}, "why", theTask)
	if strings.Contains(got.out, "\x1b") || strings.Contains(got.out, "\u009b") {
		t.Errorf("%q", got.out)
	}
	for _, want := range []string{"UTC", "`af run " + theTask + "` makes it due now.", `{"done": "`,
		"internal: \ufffd[2Joh no"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("%s\nlacks %s", got.out, want)
		}
	}
}

func TestWhyJSON(t *testing.T) {
	api := explained(af.StatusWaiting, admin.Finding{Rule: admin.RuleDue, Text: "It is due."})
	var e admin.Explanation
	got := runOn(t, api, terminal{}, "why", theTask, "-o", "json")
	if err := json.Unmarshal([]byte(got.out), &e); err != nil || e.Rules[0].Rule != admin.RuleDue || e.Task != theTask {
		t.Error(err, got.out)
	}
	got = runOn(t, api, terminal{}, "why", "x")
	if got.code != exitProblem || !strings.Contains(got.err, "does not exist") {
		t.Errorf("exit code %d, %s", got.code, got.err)
	}
}

// Every method of App that an explanation of package admin names has a command.
func TestEveryHelpHasCommand(t *testing.T) {
	files, err := filepath.Glob("../../../../runtime/admin/why*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range regexp.MustCompile(`"[^"\n]*\bApp\.[A-Z][^"\n]*"`).FindAllString(string(raw), -1) {
			found++
			if got := commands(text, "ID", "QUEUE"); strings.Contains(got, "App.") {
				t.Errorf("%s: %s has no command", file, got)
			}
		}
	}
	if found < 5 {
		t.Errorf("%d texts found", found)
	}
}

func TestCommandsAreQuoted(t *testing.T) {
	for _, c := range []struct{ task, want string }{
		{"a-b.c:1", "`af run a-b.c:1` makes it due."},
		{"a b", "`af run 'a b'` makes it due."},
		{"$(rm -r ~)", "`af run '$(rm -r ~)'` makes it due."},
		{"it's", `` + "`" + `af run 'it'\''s'` + "` makes it due."},
		{"-all", "`af run -- '-all'` makes it due."},
	} {
		if got := commands("App.RunNow makes it due.", c.task, "q"); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

// Every kind of evidence is printed.
func TestAllEvidenceIsShown(t *testing.T) {
	full := admin.Evidence{
		Since: now, Until: now, Instance: "instance", IP: "ip", Progress: json.RawMessage(`"progress"`), Attempt: 1,
		Attempts: 2, Code: "code", Message: "message", Source: "source", SourceStatus: af.StatusRunning,
		Conditions: []af.Condition{{Name: "condition"}}, By: "by", Reason: "reason",
		Workers: []admin.Place{{Instance: "worker", Refusal: "refusal"}}, Served: now, Version: "version",
		Allow: []string{"allow"}, Slots: 3, Taken: 2, Oldest: now, Ahead: &af.Count{N: 4}, PerMinute: 5.5, Losses: 6,
		Crashes: 7, MaxCrashes: 8, LastBeat: now, Expires: now, Progressed: now,
	}
	c := &invocation{Environment: Environment{Now: func() time.Time { return now }}}
	rendered := func(e admin.Evidence) string {
		var d details
		c.addEvidence(&d, &e)
		return strings.Join(d.lines(&c.Out, 0), "\n")
	}
	all := rendered(full)
	v := reflect.ValueOf(full)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if v.Field(i).IsZero() {
			t.Errorf("the test does not set %s", name)
		}
		without := full
		reflect.ValueOf(&without).Elem().Field(i).SetZero()
		if rendered(without) == all {
			t.Errorf("%s is not shown", name)
		}
	}
}
