package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// aFailure is a task with everything that af get shows.
func aFailure() admin.Task {
	t := failedTask(theTask, "resize", 2*time.Hour, af.ErrUnavailable, "the image server does not answer within 10 seconds")
	t.Payload = json.RawMessage(`{"image":"a.png","sizes":[100,200],"user":{"id":7},"tags":[]}`)
	t.Progress = json.RawMessage(`{"done":1}`)
	t.Progressed = ago(121 * time.Minute)
	t.Fingerprint, t.UniqueKey, t.Source = "9f2c61d0", "resize-a.png", "2JB7ESTFX4XJHNQKYDRXW3BBBB"
	t.RetriedBy, t.Trace = "2JB7ESTFX4XJHNQKYDRXW3CCCC", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	t.RunAt, t.Deadline, t.Timeout = ago(90*time.Minute), now.Add(time.Hour), 10*time.Second
	t.Metadata = map[string]string{"tenant": "blue", "by": "ann"}
	t.Log = []string{"one", "two"}
	t.Allow = []string{"10.0.0.0/8"}
	t.Attempts = []af.Attempt{
		{Attempt: 1, Instance: "K3F6Y2-1", IP: "10.0.0.7", Started: ago(90 * time.Minute), Ended: ago(89 * time.Minute),
			Outcome: af.AttemptLost},
		{Attempt: 1, Instance: "K3F6Y2-1", IP: "10.0.0.7", Started: ago(80 * time.Minute), Ended: ago(79 * time.Minute),
			Outcome: af.AttemptReturned},
		{Attempt: 2, Instance: "K3F6Y2-2", IP: "10.0.0.8", Started: ago(time.Minute + 1500*time.Millisecond),
			Ended: ago(time.Minute), Outcome: af.AttemptFailed, Code: af.ErrUnavailable, Message: t.Error.Message,
			Trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-b7ad6b7169203331-01"},
	}
	return admin.Task{Task: t,
		Children: map[af.Status]af.Count{af.StatusSuccess: {N: 3}, af.StatusFailed: {N: 10000, AtLeast: true}},
		Why: &admin.Explanation{Task: theTask, Queue: "resize", Status: af.StatusFailed, At: now, Rules: []admin.Finding{{
			Rule: admin.RuleEnded, Text: "It failed at 02:59:00 with the error unavailable: the image server does not answer " +
				"within 10 seconds.", Help: []string{"App.RetryTask submits it again."},
		}}},
	}
}

func TestGet(t *testing.T) {
	api := &fakeAPI{tasks: []admin.Task{aFailure()}}
	widths(t, api, "get", "get", theTask)
	t.Run("pipe", func(t *testing.T) {
		on := terminal{zone: time.FixedZone("", -5*60*60)}
		checkGolden(t, "get.pipe.txt", runOn(t, api, on, "get", theTask).out)
	})
}

// The traces of attempts are shown only with -o wide. They come from other processes.
func TestGetTraces(t *testing.T) {
	task := aFailure()
	trace := task.Attempts[2].Trace
	task.Attempts[0].Trace = "\x1b[2J"
	api := &fakeAPI{tasks: []admin.Task{task}}
	wide, plain := runOn(t, api, terminal{}, "get", theTask, "-o", "wide"), runOn(t, api, terminal{}, "get", theTask)
	if !strings.Contains(wide.out, trace) || !strings.Contains(wide.out, "TRACE") || strings.Contains(wide.out, "\x1b[2J") {
		t.Error(wide.out)
	}
	if strings.Contains(plain.out, trace) || strings.Contains(plain.out, "TRACE") {
		t.Error(plain.out)
	}
}

func TestGetJSON(t *testing.T) {
	api := &fakeAPI{tasks: []admin.Task{aFailure()}}
	var got admin.Task
	o := runOn(t, api, terminal{}, "get", theTask, "-o", "json")
	if err := json.Unmarshal([]byte(o.out), &got); err != nil || got.ID != theTask ||
		got.Why.Rules[0].Rule != admin.RuleEnded {
		t.Error(err, o.out)
	}
	if o = runOn(t, api, terminal{}, "get", "x"); o.code != exitProblem || !strings.Contains(o.err, "does not exist") {
		t.Errorf("exit code %d, %s", o.code, o.err)
	}
	if o = runOn(t, api, terminal{}, "get"); o.code != exitUsage {
		t.Errorf("exit code %d, %s", o.code, o.err)
	}
}

// Large JSON is cut unless -full is given; what is hostile is shown and does nothing.
func TestGetPayloads(t *testing.T) {
	for _, c := range []struct {
		name    string
		payload string
		lines   int // of the payload; with -full
		full    int
	}{
		{"small", `{"a":1}`, 3, 3},
		{"many_lines", "[" + strings.Repeat("1,", 99) + "1]", getLines, 102},
		{"long_line", `"` + strings.Repeat("x", 1000) + `"`, 1, 1},
		{"deep", strings.Repeat("[", 9000) + strings.Repeat("]", 9000), getLines, 17999},
		{"no_json", "\x1b[2J\nhello", 2, 2},
		{"controls", `{"a":"` + "\u009b\u202e" + `"}`, 3, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			task := aFailure()
			task.Payload, task.Result, task.Progress = []byte(c.payload), nil, nil
			api := &fakeAPI{tasks: []admin.Task{task}}
			for _, args := range [][]string{{"get", theTask}, {"get", theTask, "-full"}} {
				got := runOn(t, api, terminal{width: 80}, args...)
				if strings.ContainsAny(got.out, "\x1b\u009b\u202e") {
					t.Errorf("%.200q", got.out)
				}
				_, value, ok := strings.Cut(got.out, "\nPayload (")
				lines := strings.Count(value, "\n") - 1 // without the title
				if cut := strings.Contains(value, "cut; -full"); cut {
					lines--
				}
				want := c.lines
				if len(args) > 2 {
					want = c.full
				}
				if !ok || lines != want || len(got.out) > 3<<20 {
					t.Errorf("%q: %d lines, want %d; %d bytes\n%.500s", args[2:], lines, want, len(got.out), value)
				}
			}
		})
	}
}

func TestGetRedacted(t *testing.T) {
	task := aFailure()
	task.Payload, task.Progress, task.Metadata, task.Log, task.Redacted = nil, nil, nil, nil, true
	got := runOn(t, &fakeAPI{tasks: []admin.Task{task}}, terminal{}, "get", theTask)
	if !strings.Contains(got.out, `you do not have the right "payloads"`) {
		t.Error(got.out)
	}
}
