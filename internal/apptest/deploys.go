//go:build unix

package apptest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
)

var deployWorker = af.Worker{Name: "deployed", Type: "Deployed", Max: 4}

// A deployed worker runs longer than any drain and ignores Draining.
type deployed struct{ begun chan struct{} }

func (d *deployed) Run(ctx context.Context, _ int) (int, error) {
	d.begun <- struct{}{}
	select {
	case <-ctx.Done():
		return 0, errors.New("cut short")
	case <-time.After(time.Hour):
		return 1, nil
	}
}

// Deployed is main of the processes of [Deploys]. It runs the worker until a signal, and drains for AF_TEST_DRAIN.
func Deployed(b af.Backend) int {
	drain, err := time.ParseDuration(os.Getenv("AF_TEST_DRAIN"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx := context.Background()
	app, err := af.Open(ctx, b, af.DrainTimeout(drain), af.Logger(slog.New(slog.DiscardHandler)), af.IP("192.0.2.1"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	d := &deployed{make(chan struct{}, 1)}
	af.RegisterWorker(app, deployWorker, d)
	go func() {
		<-d.begun
		fmt.Println("begun")
	}()
	_ = app.Run(ctx) // it returns the tasks that it released
	return 0
}

// Deploys tests that four consecutive deploys charge a long task nothing. In some the drain ends before the
// supervisor's grace period, and in others the supervisor kills the process during the drain. start starts a process
// that calls [Deployed], with one more environment variable, and returns it with a function that checks the next line
// of its output.
func Deploys(t *testing.T, b af.Backend, start func(t *testing.T, env string) (p *exec.Cmd, says func(want string))) {
	w := &world{T: t, backend: b}
	app := w.open(nil)
	for _, how := range []struct {
		name, drain string
		kill        bool
	}{{"drained", "200ms", false}, {"killed", "1h", true}} {
		t.Run(how.name, func(t *testing.T) {
			w := &world{T: t, backend: b}
			id, err := af.NewQueue[int, int](app, deployWorker).Submit(t.Context(), 1)
			w.must(err)
			for range 4 {
				p, says := start(t, "AF_TEST_DRAIN="+how.drain)
				says("begun")
				if task, err := app.GetTask(t.Context(), id); err != nil || task.Crashes != 0 || task.Attempt != 1 {
					t.Fatalf("%+v, %v", task, err)
				}
				w.must(p.Process.Signal(syscall.SIGTERM))
				if how.kill {
					w.drains(app, p.Process.Pid)
					w.must(p.Process.Kill())
					_ = p.Wait() // killed
				} else {
					w.must(p.Wait())
				}
			}
			for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
				task, err := app.GetTask(t.Context(), id)
				w.must(err)
				if task.Crashes != 0 || task.Status != backend.StatusRunning && task.Attempt != 0 {
					t.Fatalf("%+v", task)
				}
				if task.Status != backend.StatusRunning {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("no process took over the task: %+v", task)
				}
			}
			w.must(app.StopTask(t.Context(), id))
		})
	}
}

// drains waits until a process announces that it drains.
func (w *world) drains(app *af.App, pid int) {
	w.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		page, err := app.Instances(w.Context(), af.InstanceQuery{})
		w.must(err)
		for _, in := range page.Instances {
			if in.PID == pid && in.Draining {
				return
			}
		}
		if time.Now().After(end) {
			w.Fatal("it doesn't drain")
		}
	}
}
