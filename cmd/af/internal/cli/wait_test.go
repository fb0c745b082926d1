package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/cmd/af/internal/text"
	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
)

func waiting3() *liveAPI {
	return &liveAPI{tasks: []af.Task{
		endedTask("a", af.StatusSuccess, 1), {ID: "b", Status: af.StatusRunning}, {ID: "c", Status: af.StatusWaiting},
	}}
}

// waitOutcome is the result of af wait in a bubble.
type waitOutcome struct {
	out, errs string
	code      int
	err       error
	took      time.Duration
}

func runWait(t *testing.T, api *liveAPI, timeout time.Duration, ids []string, meanwhile func()) waitOutcome {
	t.Helper()
	var got waitOutcome
	bubble.Test(t, func(t *testing.T) {
		var out, errs bytes.Buffer
		c := &invocation{output: "table", Environment: Environment{
			Out: text.Printer{Writer: &out}, Err: text.Printer{Writer: &errs}, Now: time.Now}}
		begun := time.Now()
		done := make(chan error)
		go func() { done <- c.waitFor(t.Context(), api, ids, timeout) }()
		synctest.Wait()
		meanwhile()
		err := <-done
		got = waitOutcome{out.String(), errs.String(), c.code, err, time.Since(begun)}
	})
	return got
}

func TestWait(t *testing.T) {
	for name, c := range map[string]struct {
		status af.Status // of the task that ends last
		code   int
		line   string
	}{
		"success": {af.StatusSuccess, exitDone, "c  success  after 1.0s"},
		"failed":  {af.StatusFailed, exitProblem, "c  failed  after 1.0s  data_loss: broken\ufffd[2J"},
		"stopped": {af.StatusStopped, exitProblem, "c  stopped  after 1.0s"},
	} {
		t.Run(name, func(t *testing.T) {
			api := waiting3()
			got := runWait(t, api, 0, []string{"a", "b", "c", "b"}, func() {
				time.Sleep(10 * time.Second)
				api.set(func() { api.tasks[1] = endedTask("b", af.StatusSuccess, 2) })
				time.Sleep(10 * time.Second)
				api.set(func() { api.tasks[2] = endedTask("c", c.status, 3) })
			})
			want := "a  success  after 1.0s\nb  success  after 1.0s\n" + c.line + "\n"
			if got.err != nil || got.code != c.code || got.out != want || got.errs != "" || got.took > 22*time.Second {
				t.Errorf("%+v, want code %d and:\n%s", got, c.code, want)
			}
		})
	}
}

func TestWaitTimesOut(t *testing.T) {
	got := runWait(t, waiting3(), 3*time.Second, []string{"a", "b", "c"}, func() {})
	if exitCode(got.err) != exitUnavailable || got.took != 3*time.Second ||
		!strings.Contains(fmt.Sprint(got.err), "2 of 3 tasks have not ended after 3.0s: b, c") {
		t.Errorf("%+v", got)
	}
}

func TestWaitForUnknownTask(t *testing.T) {
	got := runWait(t, waiting3(), 0, []string{"x"}, func() {})
	if af.CodeOf(got.err) != af.ErrNotFound || exitCode(got.err) != exitProblem {
		t.Errorf("%+v", got)
	}
}

// It waits while the store is unavailable, but not if it never was available.
func TestWaitOutlastsOutages(t *testing.T) {
	api := waiting3()
	down := af.NewError(af.ErrUnavailable, "the store is down")
	got := runWait(t, api, 0, []string{"b"}, func() {
		api.set(func() { api.err = down })
		time.Sleep(time.Minute)
		api.set(func() { api.err = nil; api.tasks[1] = endedTask("b", af.StatusSuccess, 2) })
	})
	if got.err != nil || got.code != exitDone || got.errs != "af: still waiting: the store is down\n" {
		t.Errorf("%+v", got)
	}
	if got := runWait(t, &liveAPI{err: down}, 0, []string{"b"}, func() {}); exitCode(got.err) != exitUnavailable {
		t.Errorf("%+v", got)
	}
}

// Any number of tasks can be waited for, of which a few are watched at once.
func TestWaitForMany(t *testing.T) {
	api := &liveAPI{}
	var ids []string
	for i := range 5 * maxAwaited {
		id := fmt.Sprint("t", i)
		ids = append(ids, id)
		api.tasks = append(api.tasks, af.Task{ID: id, Status: af.StatusRunning})
	}
	got := runWait(t, api, 0, ids, func() {
		for i := range ids {
			time.Sleep(100 * time.Millisecond)
			api.set(func() { api.tasks[i] = endedTask(ids[i], af.StatusSuccess, 1) })
		}
	})
	if got.err != nil || strings.Count(got.out, "success") != len(ids) {
		t.Errorf("%+v", got)
	}
	for _, w := range api.watched {
		if len(w) > maxAwaited {
			t.Errorf("%d tasks were watched at once", len(w))
		}
	}
}

func TestWaitIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := &invocation{Environment: Environment{Now: time.Now}}
	if err := c.waitFor(ctx, waiting3(), []string{"b"}, 0); err != context.Canceled {
		t.Error(err)
	}
}
