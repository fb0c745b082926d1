// Command isolated is a program with a worker whose tasks run in child processes, on the embedded backend. It submits a
// task, waits for it and prints its result.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

type worker struct{}

var spec = af.Worker{Name: "work", Type: "Worker", Max: 2, Isolation: "process"}

// Run performs the action named by what.
func (worker) Run(ctx context.Context, what string) (string, error) {
	switch what {
	case "linger": // blocks and starts a process that outlives the parent
		cmd := exec.Command("sleep", "1000")
		if err := cmd.Start(); err != nil {
			return "", err
		}
		fmt.Println("pids", os.Getpid(), cmd.Process.Pid)
		select {}
	case "devour":
		var all [][]byte
		for len(all) < 16 {
			b := make([]byte, 64<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			all = append(all, b)
		}
		return fmt.Sprint(len(all)), nil
	}
	if err := af.TaskFrom(ctx).Progress(ctx, what); err != nil {
		return "", err
	}
	return fmt.Sprintf("did %s with %s", what, os.Getenv("AFGEN_CHILD")), nil
}

func main() {
	file := flag.String("file", "", "database file of the backend")
	what := flag.String("do", "", "action of the task")
	memory := flag.Int64("memory", 0, "memory limit of a child process, in bytes")
	flag.Parse()
	defer fmt.Println("end of main")
	if err := run(context.Background(), *file, *what, *memory); err != nil {
		fmt.Println("error:", err)
	}
}

func run(ctx context.Context, file, what string, memory int64) error {
	app, err := af.Open(ctx, embedded.File(file), af.ChildMemory(memory), af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	af.RegisterWorker(app, spec, &worker{})
	if err := app.Start(ctx); err != nil {
		return err
	}
	defer app.Shutdown(ctx)
	queue := af.NewQueue[string, string](app, spec)
	id, err := queue.Submit(ctx, what)
	if err != nil {
		return err
	}
	result, err := queue.Wait(ctx, id)
	fmt.Println("result:", result)
	return err
}
