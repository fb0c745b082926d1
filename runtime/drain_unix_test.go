//go:build unix

package runtime_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

const signalledEnv = "AF_TEST_SIGNALLED"

func init() { children["signalled"] = beSignalled }

// beSignalled is the program that TestSignals starts. It runs one task. If signalledEnv is "deaf", its handler ignores
// its context. If it is "starting", Start blocks until its context ends.
func beSignalled() int {
	kind := os.Getenv(signalledEnv)
	failed := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx := context.Background()
	world := memory.New()
	over := make(chan struct{})
	defer close(over)
	quiet := af.Logger(slog.New(slog.DiscardHandler))
	var b af.Backend = world
	if kind == "starting" {
		b = altered{world, func(p *backend.Ports) { p.Calls = hangingCalls{p.Calls} }}
	}
	app, err := af.Open(ctx, b, quiet, af.DrainTimeout(time.Hour))
	if err != nil {
		return failed(err)
	}
	af.RegisterWorker(app, jobWorker, &job{func(ctx context.Context, _ int) (int, error) {
		go func() {
			<-af.Draining(ctx)
			fmt.Println("draining")
		}()
		fmt.Println("begun")
		<-ctx.Done()
		if kind == "deaf" {
			fmt.Println("cancelled")
			<-over
		}
		return 0, ctx.Err()
	}})
	if kind == "starting" {
		registerCalc(app, &calc{double})
		fmt.Println("ended", app.Run(ctx))
		return 0
	}
	client, err := af.Open(ctx, world, quiet, af.NoScheduler())
	if err != nil {
		return failed(err)
	}
	if err := client.Start(ctx); err != nil {
		return failed(err)
	}
	q := af.NewQueue[int, int](client, jobWorker)
	id, err := q.Submit(ctx, 1)
	if err != nil {
		return failed(err)
	}
	err = app.Run(ctx)
	task, gerr := q.Get(ctx, id)
	fmt.Println("ended", task.Status, task.Attempt, task.Crashes, err != nil, gerr)
	_ = client.Shutdown(ctx)
	return 0
}

// hangingCalls has a Serve that blocks until its context ends.
type hangingCalls struct{ backend.Calls }

func (hangingCalls) Serve(ctx context.Context, _ backend.Endpoint, _ backend.Handler) (backend.Serving, error) {
	fmt.Println("starting")
	<-ctx.Done()
	return nil, ctx.Err()
}

// The first signal drains, the second cancels the handlers without charging their tasks, and the third kills the
// process.
func TestSignals(t *testing.T) {
	run := func(t *testing.T, kind string, steps ...any) error {
		t.Helper()
		cmd := testkit.Command("signalled", signalledEnv+"="+kind)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stuck := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		defer stuck.Stop()
		lines := bufio.NewScanner(out)
		for _, step := range steps {
			switch step := step.(type) {
			case syscall.Signal:
				if err := cmd.Process.Signal(step); err != nil {
					t.Fatal(err)
				}
			case string:
				for lines.Scan() && !strings.HasPrefix(lines.Text(), step) {
				}
				if !strings.HasPrefix(lines.Text(), step) {
					t.Fatalf("the process ended before it printed %q", step)
				}
			}
		}
		for lines.Scan() {
		}
		return cmd.Wait()
	}
	t.Run("second_releases", func(t *testing.T) {
		if err := run(t, "obedient", "begun", syscall.SIGTERM, "draining", syscall.SIGTERM,
			"ended waiting 0 0 true <nil>"); err != nil {
			t.Error(err)
		}
	})
	t.Run("second_releases_deaf", func(t *testing.T) {
		if err := run(t, "deaf", "begun", syscall.SIGTERM, "draining", syscall.SIGINT, "cancelled",
			"ended waiting 0 0 true <nil>"); err != nil {
			t.Error(err)
		}
	})
	t.Run("first_ends_start", func(t *testing.T) {
		if err := run(t, "starting", "starting", syscall.SIGTERM, "ended <nil>"); err != nil {
			t.Error(err)
		}
	})
	t.Run("third_kills", func(t *testing.T) {
		err := run(t, "deaf", "begun", syscall.SIGTERM, "draining", syscall.SIGTERM, "cancelled", syscall.SIGTERM)
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			t.Fatal(err)
		}
		if status, ok := exit.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGTERM {
			t.Errorf("the process ended with %v", err)
		}
	})
}

func init() { children["unread"] = beUnread }

// beUnread is the program that TestRunSurvivesClosedStderr starts. It logs to its standard error after the reader has
// closed it.
func beUnread() int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	app, err := af.Open(ctx, memory.New(), af.Logger(slog.New(slog.NewTextHandler(os.Stderr, nil))))
	if err != nil {
		return 2
	}
	registerCalc(app, &calc{double})
	go func() {
		for app.Ready() != nil {
			time.Sleep(time.Millisecond)
		}
		fmt.Println("running")
		_, _ = io.Copy(io.Discard, os.Stdin)
		for range 3 {
			app.Logger().Info("this can't be written")
		}
		fmt.Println("alive")
		cancel()
	}()
	err = app.Run(ctx)
	fmt.Println("ended", err)
	return 0
}

// An App keeps running if the reader of its standard error has exited.
func TestRunSurvivesClosedStderr(t *testing.T) {
	child := testkit.Command("unread")
	in, inErr := child.StdinPipe()
	out, outErr := child.StdoutPipe()
	log, stderr, pipeErr := os.Pipe()
	if err := errors.Join(inErr, outErr, pipeErr); err != nil {
		t.Fatal(err)
	}
	child.Stderr = stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(time.Minute, func() { _ = child.Process.Kill() })
	defer stuck.Stop()
	_ = stderr.Close()
	var output []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if output = append(output, lines.Text()); len(output) == 1 { // the App is running
			_ = log.Close()
			_ = in.Close()
		}
	}
	if err := child.Wait(); err != nil || strings.Join(output, ", ") != "running, alive, ended <nil>" {
		t.Errorf("%v; output %q", err, output)
	}
}
