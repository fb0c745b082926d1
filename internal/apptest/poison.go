package apptest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
)

var poisonWorker = af.Worker{Name: "poisoned", Type: "Poisoned", Max: 20}

// poisonExit is the exit code of a process that its task ends.
const poisonExit = 3

// A poisoned worker kills its process for negative payloads. Otherwise it runs for as many milliseconds.
type poisoned struct{}

func (*poisoned) Run(ctx context.Context, n int) (int, error) {
	if n < 0 {
		time.Sleep(time.Duration(-n) * time.Millisecond) // ignores its context
		os.Exit(poisonExit)
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(n) * time.Millisecond):
	}
	return n, ctx.Err()
}

// PoisonedMain is main of the processes of [Poison].
func PoisonedMain(b af.Backend) int {
	app, err := af.Open(context.Background(), b, af.Logger(slog.New(slog.DiscardHandler)), af.IP("192.0.2.1"))
	if err == nil {
		af.RegisterWorker(app, poisonWorker, &poisoned{})
		err = app.Run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return 0
}

// Poison tests that a task that kills its process fails alone: after one crash more than it may have, and without
// charging tasks that ran with it. command returns a command that calls [PoisonedMain].
func Poison(t *testing.T, b af.Backend, command func() *exec.Cmd) {
	w := &world{T: t, backend: b}
	app := w.open(nil)
	q := af.NewQueue[int, int](app, poisonWorker)
	innocent, err := q.SubmitMany(t.Context(), []int{1500, 1500, 1500, 1500, 1500, 1500, 1500, 1500})
	w.must(err)
	poison, err := q.Submit(t.Context(), -300)
	w.must(err)

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var deaths int
	var supervisor sync.WaitGroup
	supervisor.Go(func() { // one process at a time, restarted after each crash
		for ctx.Err() == nil {
			p := command()
			if err := p.Start(); err != nil {
				t.Error(err)
				return
			}
			stop := context.AfterFunc(ctx, func() { _ = p.Process.Kill() })
			_ = p.Wait() // ended by its task, or killed at the end
			stop()
			if p.ProcessState.ExitCode() == poisonExit { // the last one maybe after its end was noticed
				deaths++
			}
		}
	})
	_, perr := q.Wait(ctx, poison)
	for _, id := range innocent {
		if _, err := q.Wait(ctx, id); err != nil {
			t.Errorf("another task: %v", err)
		}
	}
	cancel()
	supervisor.Wait()
	task, err := app.GetTask(t.Context(), poison)
	w.must(err)
	if perr == nil || task.Status != backend.StatusFailed || task.Crashes != 3 || deaths != 4 {
		t.Errorf("after %d deaths the task that causes them is %s with %d crashes: %v", deaths, task.Status,
			task.Crashes, perr)
	}
	for _, id := range innocent {
		if task, err := app.GetTask(t.Context(), id); err != nil || task.Crashes != 0 || task.Attempt != 1 {
			t.Errorf("another task has %d crashes and attempt %d: %v", task.Crashes, task.Attempt, err)
		}
	}
}
