//go:build unix

package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// gone reports whether a process has ended. A zombie counts as ended.
func gone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(stat), ") Z ")
}

// wantGone waits until processes have ended. It kills those that have not.
func wantGone(t *testing.T, pids ...int) {
	t.Helper()
	stays := func(pid int) bool { return !gone(pid) }
	if len(pids) == 0 || slices.Min(pids) <= 0 {
		t.Fatalf("no processes: %v", pids)
	}
	defer func() {
		for _, pid := range pids {
			if stays(pid) {
				_ = syscall.Kill(pid, syscall.SIGKILL) // fails if it has just ended
			}
		}
	}()
	testkit.Eventually(t, fmt.Sprint("the end of ", pids), func() bool { return !slices.ContainsFunc(pids, stays) })
}

func TestCrashOfChildFailsTheAttempt(t *testing.T) {
	_, q := isolate(t, nil)
	for _, c := range []struct {
		action action
		want   []string
	}{
		{action{Do: "exit", N: 3}, []string{"exit status 3", "chatter last words"}},
		{action{Do: "crash elsewhere"}, []string{"exit status 2", "panic: boom in another goroutine", "goroutine"}},
		{action{Do: "segfault"}, []string{"SIGSEGV"}},
	} {
		_, err := do(t, q, c.action)
		wantError(t, err, af.ErrInternal, af.OutcomeAnswered, "child process ended: ")
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: missing %q in %v", c.action.Do, want, err)
			}
		}
		if len(err.Error()) > 5000 {
			t.Errorf("%s: an error of %d bytes", c.action.Do, len(err.Error()))
		}
	}
	if _, err := do(t, q, action{Do: "say"}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestErrorOfKilledChildHasTheSignal(t *testing.T) {
	app, q := isolate(t, nil)
	id := must(q.Submit(t.Context(), action{Do: "hang"}))(t)
	pids := progress[[]int](t, app, id)
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_, err := q.Wait(t.Context(), id)
	wantError(t, err, af.ErrInternal, af.OutcomeAnswered, "signal: killed")
	wantGone(t, pids...)
}

// timed runs a task with a timeout long enough for its child process to begin. It returns the id and the processes that
// the task has reported.
func timed(t *testing.T, app *af.App, q af.Queue[action, report], d action) (id string, pids []int) {
	t.Helper()
	for timeout := time.Second; ; timeout *= 4 {
		id := must(q.Submit(t.Context(), d, af.Timeout(timeout)))(t)
		await(t, app, id, "it begins or ends", func(task af.Task) bool {
			return len(task.Progress) > 0 && json.Unmarshal(task.Progress, &pids) == nil || task.Status.Final()
		})
		if len(pids) > 0 {
			return id, pids
		}
		if timeout > time.Minute {
			t.Fatalf("%s does not begin", d.Do)
		}
	}
}

func TestTimeoutEndsContextInChild(t *testing.T) {
	app, q := isolate(t, nil, af.ChildGrace(time.Minute))
	id, pids := timed(t, app, q, action{Do: "wait"})
	_, err := q.Wait(t.Context(), id)
	// the text is from the handler
	wantError(t, err, af.ErrDataLoss, af.OutcomeAnswered, "timed out; stopped: false")
	wantGone(t, pids...)
}

func TestHandlerThatIgnoresItsTimeoutIsKilled(t *testing.T) {
	var lines log
	app, q := isolate(t, nil, af.ChildGrace(50*time.Millisecond), lines.option())
	id, pids := timed(t, app, q, action{Do: "hang"})
	_, err := q.Wait(t.Context(), id)
	wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeAnswered,
		"process killed: deadline_exceeded: attempt timed out")
	r := lines.record(t, "handler did not return after its context ended, process killed")
	stack, _ := r["stack"].(string)
	header, frames, _ := strings.Cut(stack, "\n")
	if r["task"] != id || !strings.HasSuffix(header, "[select (no cases)]:") ||
		!strings.HasPrefix(frames, "github.com/afgen/afgen/runtime_test.(*isolated).Run(") ||
		strings.Contains(stack, "afgen/runtime.") {
		t.Errorf("task %v hung at\n%s", r["task"], stack)
	}
	if !gone(pids[0]) {
		t.Error("the task has ended, but its process has not")
	}
	wantGone(t, pids...)
}

// A child process that is stopped by SIGSTOP neither reads nor writes. It delays no others.
func TestStoppedChildIsKilledAfterItsTimeout(t *testing.T) {
	app, q := isolate(t, nil, af.ChildGrace(50*time.Millisecond))
	id, pids := timed(t, app, q, action{Do: "wait"})
	if err := syscall.Kill(pids[0], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	_, err := q.Wait(t.Context(), id)
	wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeAnswered, "process killed")
	wantGone(t, pids...)
}

func TestStopTaskCancelsHandlerInChild(t *testing.T) {
	var lines log
	app, q := isolate(t, nil, lines.option())
	var ids []string
	var pids []int
	for _, what := range []string{"wait", "wait"} {
		id := must(q.Submit(t.Context(), action{Do: what}))(t)
		ids, pids = append(ids, id), append(pids, progress[[]int](t, app, id)...)
	}
	for _, id := range ids {
		if err := app.StopTask(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range ids {
		_, err := q.Wait(t.Context(), id)
		wantError(t, err, af.ErrAborted, af.OutcomeAnswered, "stopped on request")
	}
	wantGone(t, pids...)
	if n := strings.Count(lines.String(), `"msg":"ended"`); n != 2 ||
		n != strings.Count(lines.String(), `"stopped":true,"lost":false`) {
		t.Errorf("%d handlers were cancelled: %s", n, lines.String())
	}
}

func TestProcessesStartedByAHandlerAreKilled(t *testing.T) {
	app, q := isolate(t, nil)
	id := must(q.Submit(t.Context(), action{Do: "leave"}))(t)
	if _, err := q.Wait(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	wantGone(t, progress[[]int](t, app, id)...)
}

func TestShutdownKillsChildrenWithoutCharge(t *testing.T) {
	world := memory.New()
	app, other := open(t, world), open(t, world)
	registerIsolated(app, nil)
	start(t, app)
	start(t, other)
	q := af.NewQueue[action, report](app, isoWorker)
	var pids []int
	var ids []string
	for _, what := range []string{"wait", "hang", "hang"} {
		id := must(q.Submit(t.Context(), action{Do: what}))(t)
		ids, pids = append(ids, id), append(pids, progress[[]int](t, app, id)...)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := app.Shutdown(ctx); err == nil || !strings.Contains(err.Error(), "3 tasks") {
		t.Errorf("Shutdown: %v", err)
	}
	for _, pid := range []int{pids[0], pids[2], pids[4]} {
		if !gone(pid) {
			t.Errorf("child %d outlives Shutdown", pid)
		}
	}
	wantGone(t, pids...) // the processes that they started were killed, too, but may take a moment to end
	for _, id := range ids {
		task, err := other.GetTask(t.Context(), id)
		if err != nil || task.Status != backend.StatusWaiting || task.Attempt != 0 {
			t.Errorf("task %+v, %v", task, err)
		}
	}
}

// A handler in a child process is notified of the drain and has the drain timeout to finish.
func TestDrainingInChild(t *testing.T) {
	app, q := isolate(t, nil)
	id := must(q.Submit(t.Context(), action{Do: "drain"}))(t)
	pids := progress[[]int](t, app, id)
	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	result := make(chan report, 1)
	go func() {
		got, _ := q.Wait(context.WithoutCancel(ctx), id)
		result <- got
	}()
	if err := app.Shutdown(ctx); err != nil || time.Since(begun) > 30*time.Second {
		t.Errorf("Shutdown: %v after %v", err, time.Since(begun))
	}
	if got := <-result; got.Text != "drained" {
		t.Errorf("got %+v", got)
	}
	wantGone(t, pids...)
}

// A supervisor may send SIGTERM to every process of a service, so that child processes end before their parent begins
// to drain. Their tasks are not charged.
func TestSignalToAllProcessesIsNotCharged(t *testing.T) {
	world := memory.New()
	app, other := open(t, world), open(t, world)
	registerIsolated(app, nil)
	start(t, app)
	start(t, other)
	id := must(af.NewQueue[action, report](app, isoWorker).Submit(t.Context(), action{Do: "hang"}))(t)
	pids := progress[[]int](t, app, id)
	if err := syscall.Kill(pids[0], syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := app.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	task, err := other.GetTask(t.Context(), id)
	if err != nil || task.Status != backend.StatusWaiting || task.Attempt != 0 || task.Crashes != 0 {
		t.Errorf("task %+v, %v", task, err)
	}
}
