package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/cmd/af/internal/text"
	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// testTaskID returns a task's id, as long as those that the runtime makes.
func testTaskID(n int) string { return fmt.Sprintf("01J2ABCDEFGHJKMNPQRSTV%04d", n) }

// hourOf returns the last hour, in which each minute is m, but for the last two, which are not complete.
func hourOf(m af.HistoryPoint) []af.HistoryPoint {
	points := make([]af.HistoryPoint, 61)
	for i := range points {
		if i < 59 {
			points[i] = m
		}
		points[i].Start = now.Add(time.Duration(i-60) * time.Minute)
	}
	return points
}

// nightOverview is the state of a system that has every trouble.
func nightOverview() admin.Overview {
	queue := func(name string, waits, runs, retries, slots, workers int, oldest time.Duration) af.QueueInfo {
		q := af.QueueInfo{Name: name, Workers: workers, Slots: slots, Running: runs, Counts: map[af.Status]af.Count{
			af.StatusWaiting: {N: waits}, af.StatusRunning: {N: runs}, af.StatusRetrying: {N: retries}}}
		if oldest > 0 {
			q.Oldest = ago(oldest)
		}
		return q
	}
	paused := queue("billing", 40, 0, 0, 0, 2, time.Hour)
	paused.Limits.Paused = true
	many := queue("mail", 10_000, 8, 12, 8, 2, 90*time.Second)
	many.Counts[af.StatusWaiting] = af.Count{N: 10_000, AtLeast: true}
	return admin.Overview{
		Health: af.Health{State: "running", Conditions: []af.Condition{
			{Name: "mongodb", Up: true, Since: ago(time.Hour)},
			{Name: "rabbitmq", Since: ago(200 * time.Second), Cause: "dial tcp 10.0.0.9:5672: connection refused",
				Mode: "no-broker", Works: "tasks run, found by polling within 5 s", Lost: "calls"},
		}},
		Queues: []af.QueueInfo{queue("idle", 0, 0, 0, 4, 1, 0), many, paused, queue("orphan", 3, 0, 0, 0, 0, 20*time.Minute),
			queue("resize", 0, 2, 0, 4, 1, 0)},
		Counts: map[af.Status]af.Count{af.StatusWaiting: {N: 10_043, AtLeast: true}, af.StatusRunning: {N: 10},
			af.StatusRetrying: {N: 12}},
		Oldest: ago(time.Hour), Instances: 3, Nodes: 2, Jobs: 4,
		Hour: hourOf(af.HistoryPoint{Submitted: 1200, Started: 1190, Succeeded: 1180, Failed: 2, Retried: 5,
			Codes: map[af.Code]int64{af.ErrUnavailable: 6, af.ErrDataLoss: 1},
			Wait:  af.Distribution{Count: 1190, P50: 12 * time.Millisecond, P99: 1200 * time.Millisecond}}),
		Missing: map[string]*admin.MissingPart{"nodes": {Code: af.ErrUnavailable, Message: "redis is down\x1b[2J"}},
	}
}

func nightAPI() *liveAPI {
	running := func(n int, queue string, since time.Duration, progress string) af.Task {
		return af.Task{ID: testTaskID(n), Queue: queue, Status: af.StatusRunning, Instance: "I", IP: "10.0.0.7", Attempt: 1,
			Started: ago(since), Created: ago(2 * since), Progress: json.RawMessage(progress), Payload: json.RawMessage(`"big"`)}
	}
	hung := running(1, "resize", 5*time.Hour, "")
	hung.Stopping = true
	failed := af.Task{ID: testTaskID(9), Queue: "mail", Status: af.StatusFailed, Attempt: 3, Ended: ago(20 * time.Second),
		Error: &af.TaskError{Code: af.ErrUnavailable, Message: "the mail server\nis down \u202e"}}
	hung.Progress, hung.Progressed = json.RawMessage(`"page 7"`), ago(4*time.Hour)
	return &liveAPI{
		overview: func() (admin.Overview, error) { return nightOverview(), nil },
		tasks: []af.Task{running(3, "mail", 3*time.Second, `"sending 日本語"`), hung,
			running(2, "resize", 4*time.Minute, `{"done":12,"of":40}`), failed},
		instances: []af.InstanceInfo{
			{Instance: af.Instance{ID: "A"}}, {Instance: af.Instance{ID: "B"}, Degraded: []string{"not-claiming: no heartbeat"}},
			{Instance: af.Instance{ID: "C"}, Degraded: []string{"not-claiming: no heartbeat"}},
		},
	}
}

func TestTopPage(t *testing.T) {
	fresh := &liveAPI{overview: func() (admin.Overview, error) {
		return admin.Overview{Health: af.Health{State: "running"}, Hour: hourOf(af.HistoryPoint{})}, nil
	}}
	for _, c := range []struct {
		name   string
		api    *liveAPI
		view   view
		golden string
	}{
		{"80", nightAPI(), view{Printer: text.Printer{Width: 80}, Height: 40, Keys: true}, "top.80.txt"},
		{"80_color", nightAPI(), view{Printer: text.Printer{Width: 80, Color: true}, Height: 40, Keys: true},
			"top.80.color.txt"},
		{"120", nightAPI(), view{Printer: text.Printer{Width: 120}, Height: 40, Keys: true}, "top.120.txt"},
		{"120_color", nightAPI(), view{Printer: text.Printer{Width: 120, Color: true}, Height: 40, Keys: true},
			"top.120.color.txt"},
		{"low", nightAPI(), view{Printer: text.Printer{Width: 80}, Height: 24, Keys: true}, "top.low.txt"},
		{"paused", nightAPI(), view{Printer: text.Printer{Width: 80}, Height: 24, Paused: true,
			Err: af.NewError(af.ErrUnavailable, "the store is down")}, "top.paused.txt"},
		{"once", nightAPI(), view{}, "top.once.txt"},
		{"fresh", fresh, view{Printer: text.Printer{Width: 80}, Height: 24, Keys: true}, "top.fresh.txt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := readTop(t.Context(), c.api, ".af/af.db", now)
			if err != nil {
				t.Fatal(err)
			}
			c.view.Now = now
			lines := s.lines(&c.view, byUrgency)
			if c.view.Height > 0 && len(lines) > c.view.Height {
				t.Errorf("%d lines on a terminal of %d", len(lines), c.view.Height)
			}
			for _, line := range lines {
				if w := text.Width(line); !c.view.Color && c.view.Width > 0 && w > c.view.Width {
					t.Errorf("%d columns: %q", w, line)
				}
			}
			checkGolden(t, c.golden, strings.Join(lines, "\n")+"\n")
		})
	}
}

// However low and narrow the terminal is, the page fits it.
func TestTopPageFits(t *testing.T) {
	s, err := readTop(t.Context(), nightAPI(), "x", now)
	if err != nil {
		t.Fatal(err)
	}
	for height := 1; height < 50; height++ {
		for _, width := range []int{1, 20, 79} {
			v := &view{Printer: text.Printer{Width: width}, Height: height, Now: now, Keys: height%2 == 0}
			if n := len(s.lines(v, byUrgency)); n > height {
				t.Errorf("%d lines on a terminal of %d", n, height)
			}
		}
	}
}

func TestQueueOrders(t *testing.T) {
	s, err := readTop(t.Context(), nightAPI(), "x", now)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[byte]string{
		'u': "orphan billing mail resize idle", 'w': "mail billing orphan idle resize",
		'r': "mail resize billing idle orphan",
		'n': "billing idle mail orphan resize",
	} {
		var got []string
		for _, row := range s.queues(&view{Now: now}, queueOrders[key]).table.Rows {
			got = append(got, row[0].Text)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("by %c: %v, want %s", key, got, want)
		}
	}
}

func TestLastMinute(t *testing.T) {
	busy, quiet := af.HistoryPoint{Submitted: 1}, af.HistoryPoint{}
	for name, c := range map[string]struct {
		hour []af.HistoryPoint
		want int // -1 for none
	}{
		"complete":    {[]af.HistoryPoint{busy, busy, busy, busy}, 1},
		"quiet":       {[]af.HistoryPoint{quiet, quiet, quiet, quiet}, 1},
		"stopped":     {[]af.HistoryPoint{busy, quiet, busy, quiet}, 1},
		"just_begun":  {[]af.HistoryPoint{quiet, quiet, quiet, busy}, 3},
		"begun":       {[]af.HistoryPoint{quiet, quiet, busy, quiet}, 2},
		"no_history":  {nil, -1},
		"two_minutes": {[]af.HistoryPoint{busy, busy}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			got := lastMinute(c.hour)
			if c.want < 0 && got != nil || c.want >= 0 && got != &c.hour[c.want] {
				t.Errorf("lastMinute = %v", got)
			}
		})
	}
}

// Without a terminal, af top prints the page once; parts that can't be read do not prevent it.
func TestTopOnce(t *testing.T) {
	api := nightAPI()
	api.err = af.NewError(af.ErrUnavailable, "the store is down")
	got := runOn(t, api, terminal{}, "top")
	if got.code != exitDone || !strings.Contains(got.out, "unknown: failures  the store is down") ||
		!strings.Contains(got.out, "unknown: running") || strings.Contains(got.out, "\x1b") {
		t.Errorf("code %d: %s%s", got.code, got.out, got.err)
	}
	api.overview = func() (admin.Overview, error) { return admin.Overview{}, api.err }
	if got := runOn(t, api, terminal{}, "top"); got.code != exitUnavailable || got.out != "" {
		t.Errorf("code %d: %s%s", got.code, got.out, got.err)
	}
}

func TestTopJSON(t *testing.T) {
	got := runOn(t, nightAPI(), terminal{}, "top", "-o", "json", "-once")
	var s topState
	if err := json.Unmarshal([]byte(got.out), &s); err != nil || got.code != exitDone {
		t.Fatal(err, got)
	}
	if s.Minute == nil || s.Minute.Submitted != 1200 || len(s.Running) != 3 || s.Running[0].ID != testTaskID(1) ||
		s.Running[0].Payload != nil || len(s.Failures) != 2 || s.Failures[0].Count != 59*6 || s.Failures[0].Last == nil ||
		len(s.Degraded) != 1 || s.Degraded[0].Instances != 2 {
		t.Errorf("%s", got.out)
	}
}

// With -o json, an object is printed each second, on a line.
func TestTopStream(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		var out strings.Builder
		c := &invocation{output: "json", Environment: Environment{Out: text.Printer{Writer: &out}, Now: time.Now}}
		err := c.topStream(ctx, func(ctx context.Context) (*topState, error) {
			return readTop(ctx, nightAPI(), "x", c.Now())
		})
		if err != context.DeadlineExceeded {
			t.Error(err)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		for _, line := range lines {
			if !json.Valid([]byte(line)) {
				t.Errorf("%s", line)
			}
		}
		if len(lines) != 3 {
			t.Errorf("%d lines in 2.5 s", len(lines))
		}
	})
}
