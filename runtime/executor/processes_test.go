package executor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/executor"
)

// An action is the argument of a job in a child process, and a report its result.
type action struct {
	Do string
	N  int
}

type report struct {
	PID, PPID, N int
	Text         string
}

type detail struct{ Why string }

var actions = executor.Register("actions", runAction)

func runAction(ctx context.Context, e action) (report, error) {
	me := report{PID: os.Getpid(), PPID: os.Getppid(), N: e.N}
	switch e.Do {
	case "":
		return me, nil
	case "meet": // wait until N processes are running
		if err := os.WriteFile(fmt.Sprintf("%s/%d", os.Getenv("AF_TEST_DIR"), os.Getpid()), nil, 0o600); err != nil {
			return me, err
		}
		for {
			if here, err := os.ReadDir(os.Getenv("AF_TEST_DIR")); err != nil || len(here) >= e.N {
				return me, err
			}
			time.Sleep(time.Millisecond)
		}
	case "coded":
		return me, fmt.Errorf("around: %w", backend.NewError(backend.ErrNotFound, "missing", detail{"moved"}))
	case "panic":
		panic(fmt.Sprint("boom ", e.N))
	case "goexit":
		runtime.Goexit()
	case "exit":
		fmt.Fprintln(os.Stderr, "last words")
		os.Exit(e.N)
	case "once": // crashes the first time
		name := os.Getenv("AF_TEST_DIR") + "/once"
		if _, err := os.Stat(name); err == nil {
			return me, nil
		}
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			return me, err
		}
		os.Exit(1)
	case "wait":
		<-ctx.Done()
		_, has := ctx.Deadline()
		cause := context.Cause(ctx)
		me.Text = fmt.Sprint(cause == error(executor.ErrTimeout), errors.Is(cause, executor.ErrShutdown), has)
		return me, nil
	case "hang":
		if err := os.WriteFile(os.Getenv("AF_TEST_DIR")+"/hang", nil, 0o600); err != nil {
			return me, err
		}
		select {}
	}
	return me, fmt.Errorf("no action %q", e.Do)
}

var odd = executor.Register("odd", func(context.Context, int) (func(), error) { return func() {}, nil })

var echo = executor.Register("echo", func(_ context.Context, v any) (any, error) { return v, nil })

// An integer that a float64 can't represent is not rounded on its way to a child process and back.
func TestIntegersInAnyAreExact(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	p := executor.Processes(echo)
	check(t, "Start", p.Start(context.Background()))
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const n = int64(1)<<53 + 1
	must(p.Submit(ctx, n))(t)
	check(t, "Wait", p.Wait(ctx))
	if all := p.Take(); len(all) != 1 || all[0].Err != nil || all[0].Value != n {
		t.Errorf("%+v", all)
	}
}

func processes(t *testing.T, opts ...executor.Option) *executor.Pool[action, report] {
	t.Helper()
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	t.Setenv("AF_TEST_DIR", t.TempDir())
	p := executor.Processes(actions, opts...)
	check(t, "Start", p.Start(context.Background()))
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// run submits actions, waits for all and returns their results.
func run(t *testing.T, p *executor.Pool[action, report], es ...action) []executor.Result[action, report] {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(p.SubmitBatch(ctx, es))(t)
	check(t, "Wait", p.Wait(ctx))
	return p.Take()
}

func TestChildProcessesAreReused(t *testing.T) {
	p := processes(t, executor.Workers(2))
	pids := map[int]bool{}
	for _, r := range append(run(t, p, action{"meet", 2}, action{"meet", 2}), run(t, p, make([]action, 10)...)...) {
		if r.Err != nil || r.Value.PPID != os.Getpid() {
			t.Errorf("%+v", r)
		}
		pids[r.Value.PID] = true
	}
	if len(pids) != 2 || pids[os.Getpid()] {
		t.Errorf("ran in %v; this is %d", pids, os.Getpid())
	}
	check(t, "Shutdown", p.Shutdown(t.Context()))
}

func TestRecycleReplacesChildProcesses(t *testing.T) {
	p := processes(t, executor.Workers(1), executor.Recycle(2))
	var pids []int
	for _, r := range run(t, p, make([]action, 4)...) {
		pids = append(pids, r.Value.PID)
	}
	if pids[0] != pids[1] || pids[1] == pids[2] || pids[2] != pids[3] {
		t.Errorf("ran in %v", pids)
	}
}

func TestErrorsKeepCodeAndDetails(t *testing.T) {
	p := processes(t, executor.Workers(1))
	r := run(t, p, action{Do: "coded"}, action{Do: "panic", N: 4}, action{Do: "goexit"}, action{Do: ""})
	if d, ok := backend.Detail[detail](r[0].Err); !errors.Is(r[0].Err, backend.ErrNotFound) || !ok || d.Why != "moved" {
		t.Errorf("coded: %v", r[0].Err)
	}
	if p, ok := errors.AsType[*executor.PanicError](r[1].Err); !ok || p.Value != "boom 4" ||
		!strings.Contains(string(p.Stack), "processes_test.go") {
		t.Errorf("panic: %v", r[1].Err)
	}
	if !errors.Is(r[2].Err, backend.ErrInternal) || !strings.Contains(r[2].Err.Error(), "ended its goroutine") ||
		r[3].Err != nil {
		t.Errorf("goexit: %v; the next: %v", r[2].Err, r[3].Err)
	}
}

func TestCrashedChildProcessIsReplaced(t *testing.T) {
	p := processes(t, executor.Workers(1), executor.Retries(1), executor.Delay(0))
	r := run(t, p, action{Do: ""}, action{Do: "exit", N: 5}, action{Do: "once"}, action{Do: ""})
	exit, ok := errors.AsType[*executor.ExitError](r[1].Err)
	if !ok || exit.State != "exit status 5" || exit.Stderr != "last words" || exit.Killed || r[1].Attempts != 2 {
		t.Errorf("%+v", r[1])
	}
	if r[2].Err != nil || r[2].Attempts != 2 || r[3].Err != nil || r[0].Value.PID == r[3].Value.PID {
		t.Errorf("%+v\n%+v", r[2], r[3])
	}
}

// timed returns a pool with a timeout of a second whose child processes have started.
func timed(t *testing.T, grace time.Duration) *executor.Pool[action, report] {
	retryIf := func(err error) bool { return !strings.Contains(err.Error(), "process killed") }
	p := processes(t, executor.Workers(2), executor.Timeout(time.Second), executor.Grace(grace),
		executor.Retries(50), executor.Delay(0), executor.RetryIf(retryIf))
	run(t, p, action{"meet", 2}, action{"meet", 2})
	return p
}

func TestTimeoutReachesTheChild(t *testing.T) {
	if r := run(t, timed(t, time.Minute), action{Do: "wait"}); r[0].Err != nil || r[0].Value.Text != "true false true" {
		t.Errorf("wait: %+v", r[0])
	}
}

func TestTimeoutKillsAHangingChildProcess(t *testing.T) {
	r := run(t, timed(t, 50*time.Millisecond), action{Do: "hang"})
	if !errors.Is(r[0].Err, executor.ErrTimeout) || !errors.Is(r[0].Err, backend.ErrDeadlineExceeded) ||
		!strings.Contains(r[0].Err.Error(), "process killed") {
		t.Errorf("hang: %v", r[0].Err)
	}
}

func TestCloseKillsAHangingChildProcess(t *testing.T) {
	p := processes(t, executor.Workers(1), executor.Grace(0))
	must(p.SubmitBatch(t.Context(), []action{{Do: "hang"}, {Do: ""}}))(t)
	testkit.Succeeds(t, "the job hangs", func() error {
		_, err := os.Stat(os.Getenv("AF_TEST_DIR") + "/hang")
		return err
	})
	check(t, "Close", p.Close())
	r := p.Results()
	if len(r) != 2 || !errors.Is(r[0].Err, executor.ErrShutdown) || r[0].Attempts != 1 ||
		!errors.Is(r[1].Err, executor.ErrShutdown) || r[1].Attempts != 0 {
		t.Errorf("%+v", r)
	}
}

func TestEncodingErrorFailsTheJob(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	p := executor.Processes(odd, executor.Workers(1))
	check(t, "Start", p.Start(t.Context()))
	must(p.Submit(t.Context(), 1))(t)
	check(t, "Shutdown", p.Shutdown(t.Context()))
	if f := p.Failed(); len(f) != 1 || !strings.Contains(f[0].Err.Error(), "func()") {
		t.Errorf("%+v", f)
	}
}

func TestMissingCallOfMainIsAnError(t *testing.T) {
	t.Setenv("AF_TEST_LOST", "1") // TestMain doesn't call executor.Main
	r := run(t, processes(t), action{})
	if !errors.Is(r[0].Err, backend.ErrInternal) || !strings.Contains(r[0].Err.Error(), "main must call executor.Main") {
		t.Errorf("%v", r[0].Err)
	}
}

func TestStartRunsJobsIfMainWasNotCalled(t *testing.T) {
	t.Setenv("AF_TEST_LOST", "starts")
	if r := run(t, processes(t), action{}); r[0].Err != nil {
		t.Error(r[0].Err)
	}
}

func TestInvalidRegistrations(t *testing.T) {
	for what, f := range map[string]*executor.Function[action, report]{
		"twice":      executor.Register("actions", func(context.Context, action) (report, error) { return report{}, nil }),
		"no name":    executor.Register("", func(context.Context, action) (report, error) { return report{}, nil }),
		"no func":    executor.Register[action, report]("none", nil),
		"no nothing": nil,
	} {
		err := executor.Processes(f).Start(t.Context())
		if !slices.Contains([]backend.Code{backend.ErrAlreadyExists, backend.ErrInvalidArgument}, backend.CodeOf(err)) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
