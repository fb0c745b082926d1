package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/cmd/af/internal/text"
	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
)

// runTail runs af tail in a bubble until test returns, and passes a function that waits and returns the lines since.
func runTail(
	t *testing.T, api *liveAPI, q af.TaskQuery, last int, output string, test func(after func(time.Duration) []string),
) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var out, errs bytes.Buffer
		c := &invocation{output: output, Environment: Environment{
			Out: text.Printer{Writer: &out}, Err: text.Printer{Writer: &errs}, Now: time.Now}}
		done := make(chan error)
		go func() { done <- newTailer(c, api, q, last).run(ctx) }()
		test(func(d time.Duration) []string {
			time.Sleep(d)
			synctest.Wait()
			defer out.Reset()
			defer errs.Reset()
			return strings.FieldsFunc(out.String()+errs.String(), func(r rune) bool { return r == '\n' })
		})
		cancel()
		if err := <-done; err != context.Canceled {
			t.Errorf("it ended with %v", err)
		}
	})
}

// endedTask returns a task that has ended at a second.
func endedTask(id string, s af.Status, second float64) af.Task {
	at := now.Add(time.Duration(second * float64(time.Second)))
	t := af.Task{ID: id, Queue: "mail", Status: s, Attempt: 1, Created: now, Started: at.Add(-time.Second), Ended: at}
	if s == af.StatusFailed {
		t.Error = &af.TaskError{Code: af.ErrDataLoss, Message: "broken\x1b[2J"}
	}
	return t
}

func expectLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTail(t *testing.T) {
	api := &liveAPI{tasks: []af.Task{
		endedTask("a", af.StatusSuccess, 1), endedTask("b", af.StatusFailed, 2), endedTask("c", af.StatusStopped, 3),
		{ID: "w", Queue: "mail", Status: af.StatusWaiting},
	}}
	runTail(t, api, af.TaskQuery{}, 2, "table", func(after func(time.Duration) []string) {
		// The last ones at first, and nothing twice.
		expectLines(t, after(0), "03:00:02  failed    b  mail  after 1.0s  data_loss: broken\ufffd[2J",
			"03:00:03  stopped   c  mail  after 1.0s")
		expectLines(t, after(10*time.Second))
		// In the order of ends, also one that ended before another that was seen.
		api.set(func() {
			api.tasks = append(api.tasks, endedTask("e", af.StatusSuccess, 5), endedTask("d", af.StatusSuccess, 4))
		})
		expectLines(t, after(2*time.Second), "03:00:04  success   d  mail  after 1.0s",
			"03:00:05  success   e  mail  after 1.0s")
		api.set(func() { api.tasks = append(api.tasks, endedTask("late", af.StatusSuccess, 4.5)) })
		expectLines(t, after(5*time.Second), "03:00:04  success   late  mail  after 1.0s")
		expectLines(t, after(5*time.Second))
		// It waits while the store is unavailable, and tells once.
		api.set(func() { api.err = af.NewError(af.ErrUnavailable, "the store is down") })
		expectLines(t, after(10*time.Second), "af: still waiting: the store is down")
		api.set(func() { api.err = nil; api.tasks = append(api.tasks, endedTask("f", af.StatusSuccess, 30)) })
		expectLines(t, after(5*time.Second), "03:00:30  success   f  mail  after 1.0s")
	})
}

// Each failed attempt is shown once: while its task waits for the next one, runs again, or after it ended.
func TestTailShowsFailedAttempts(t *testing.T) {
	attempt := func(n int, second int, outcome af.AttemptOutcome) af.Attempt {
		at := now.Add(time.Duration(second) * time.Second)
		return af.Attempt{Attempt: n, Fence: int64(n), Started: at.Add(-time.Second), Ended: at, Outcome: outcome,
			Code: af.ErrUnavailable, Message: fmt.Sprint("failure ", n)}
	}
	k := af.Task{ID: "k", Queue: "mail", Status: af.StatusRetrying, Attempt: 1,
		Attempts: []af.Attempt{attempt(1, 1, af.AttemptFailed)}}
	api := &liveAPI{tasks: []af.Task{k}}
	change := func(s af.Status, more ...af.Attempt) {
		api.set(func() {
			api.tasks[0].Status = s
			api.tasks[0].Attempts = append(api.tasks[0].Attempts, more...)
		})
	}
	runTail(t, api, af.TaskQuery{}, 0, "table", func(after func(time.Duration) []string) {
		expectLines(t, after(2*time.Second)) // from before
		change(af.StatusRetrying, attempt(2, 5, af.AttemptFailed))
		expectLines(t, after(2*time.Second), "03:00:05  retrying  k  mail  after 1.0s  attempt 2  unavailable: failure 2")
		change(af.StatusRunning, attempt(3, 9, af.AttemptFailed))
		expectLines(t, after(2*time.Second), "03:00:09  retrying  k  mail  after 1.0s  attempt 3  unavailable: failure 3")
		last := endedTask("k", af.StatusFailed, 12)
		last.Attempt = 5
		last.Attempts = append(api.tasks[0].Attempts, attempt(4, 11, af.AttemptLost), attempt(5, 12, af.AttemptFailed))
		api.set(func() { api.tasks[0] = last })
		expectLines(t, after(2*time.Second), "03:00:11  retrying  k  mail  after 1.0s  attempt 4  unavailable: failure 4",
			"03:00:12  failed    k  mail  after 1.0s  attempt 5  data_loss: broken\ufffd[2J")
		expectLines(t, after(10*time.Second))
	})
}

func TestTailFilters(t *testing.T) {
	other := endedTask("other", af.StatusFailed, 2)
	other.Queue = "other"
	match := endedTask("match", af.StatusFailed, 3)
	match.Payload = json.RawMessage(`{"user":7}`)
	tasks := []af.Task{endedTask("a", af.StatusSuccess, 1), other, match}
	for name, c := range map[string]struct {
		query af.TaskQuery
		want  []string
	}{
		"queue":  {af.TaskQuery{Queue: "other"}, []string{"other"}},
		"status": {af.TaskQuery{Statuses: []af.Status{af.StatusFailed}}, []string{"other", "match"}},
		"code":   {af.TaskQuery{Code: af.ErrDataLoss}, []string{"other", "match"}},
		"text":   {af.TaskQuery{Filter: af.TaskFilter{Text: "BROKEN"}}, []string{"other", "match"}},
		"payload": {af.TaskQuery{Filter: af.TaskFilter{Payload: []af.PayloadMatch{{Path: "user", Value: "7"}}}},
			[]string{"match"}},
	} {
		t.Run(name, func(t *testing.T) {
			runTail(t, &liveAPI{tasks: tasks}, c.query, 10, "json", func(after func(time.Duration) []string) {
				var ids []string
				for _, line := range after(0) {
					var k af.Task
					if err := json.Unmarshal([]byte(line), &k); err != nil {
						t.Errorf("%v: %s", err, line)
					}
					ids = append(ids, k.ID)
				}
				expectLines(t, ids, c.want...)
			})
		})
	}
	c := &invocation{Environment: Environment{Now: time.Now}}
	err := newTailer(c, &liveAPI{}, af.TaskQuery{Statuses: []af.Status{af.StatusWaiting}}, 0).run(t.Context())
	if af.CodeOf(err) != af.ErrInvalidArgument {
		t.Error(err)
	}
}

// A storm is read in bounded steps, and what is left out is told.
func TestTailIsBounded(t *testing.T) {
	api := &liveAPI{tasks: []af.Task{endedTask("first", af.StatusSuccess, 0)}}
	runTail(t, api, af.TaskQuery{}, 0, "table", func(after func(time.Duration) []string) {
		after(0)
		api.set(func() {
			for i := range 2 * tailEnds {
				api.tasks = append(api.tasks, endedTask(fmt.Sprint("k", i), af.StatusSuccess, 10+float64(i)/100))
			}
			api.reads = 0
		})
		got := after(1500 * time.Millisecond)
		if n := len(got); n != tailEnds+1 || !strings.HasPrefix(got[n-1], "af: more than 5,000 tasks ended") {
			t.Errorf("%d lines, the last one: %s", n, got[n-1])
		}
		if api.reads > tailEnds/listPage+2 {
			t.Errorf("%d pages were read", api.reads)
		}
	})
}
