// Command client calls a service, submits tasks with subtasks, waits for all of them, and shows the latest fires of a
// job. Its last line is OK with the counts, or FAILED with the error and exit code 1.
//
// The services are those of examples/servers, started in the same directory, before or after the client. They may
// also be killed and restarted while it waits.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/afgen/afgen/examples/servers/subtestserver"
	"github.com/afgen/afgen/examples/servers/testserver"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/auto"
)

func main() {
	config := flag.String("config", "", "configuration file (default config.yaml, if it exists)")
	n := flag.Int("n", 3, "source tasks")
	subtasks := flag.Int("subtasks", 5, "number of subtasks of each task")
	timeout := flag.Duration("timeout", time.Minute, "timeout for everything")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	if err := run(ctx, *config, *n, *subtasks); err != nil {
		fmt.Println("FAILED", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}

func run(ctx context.Context, config string, n, subtasks int) (err error) {
	cfg, err := auto.Load(config)
	if err != nil {
		return err
	}
	app, err := af.Open(ctx, auto.From(cfg), append(auto.Options(cfg), af.Logger(slog.New(slog.DiscardHandler)))...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Shutdown(ctx)) }()
	if err := app.Start(ctx); err != nil {
		return err
	}
	if err := call(ctx, app); err != nil {
		return fmt.Errorf("call: %w", err)
	}
	ids, err := submit(ctx, app, n, subtasks)
	if err != nil {
		return fmt.Errorf("tasks: %w", err)
	}
	success := 0
	for _, id := range ids {
		task, err := app.WaitTask(ctx, id)
		if err != nil {
			return fmt.Errorf("tasks: %w", err)
		}
		if task.Status == af.StatusSuccess {
			success++
		} else {
			fmt.Printf("task %s is %s: %v\n", id, task.Status, task.Error)
		}
	}
	if err := fires(ctx, app); err != nil {
		return fmt.Errorf("job: %w", err)
	}
	line := fmt.Sprintf("calls=1 tasks=%d success=%d failed=%d", len(ids), success, len(ids)-success)
	if success < len(ids) {
		return errors.New(line)
	}
	fmt.Println("OK", line)
	return nil
}

// call calls the service. It waits for a ready instance, and retries if the instance dies during the call; the
// addition is idempotent.
func call(ctx context.Context, app *af.App) error {
	fmt.Println("calling test_server")
	server := testserver.NewTestServerClient(app, af.WaitForReady())
	sum, err := server.TestFunc(ctx, 1, 2)
	for errors.Is(err, af.ErrUnavailable) && ctx.Err() == nil {
		sum, err = server.TestFunc(ctx, 1, 2)
	}
	if err == nil {
		fmt.Printf("test_server: 1 + 2 = %d\n", sum)
	}
	return err
}

// submit submits n tasks with their subtasks, and returns all ids.
func submit(ctx context.Context, app *af.App, n, subtasks int) (all []string, err error) {
	sources, subs := testserver.NewTestWorkerQueue(app), subtestserver.NewSubTestWorkerQueue(app)
	for i := range n {
		id, err := sources.Submit(ctx, testserver.Job{Index: i})
		if err != nil {
			return nil, err
		}
		ids, err := subs.Subtasks(ctx, id, make([]subtestserver.Job, subtasks))
		if err != nil {
			return nil, err
		}
		fmt.Printf("task %s with %d subtasks\n", id, len(ids))
		all = append(append(all, id), ids...)
	}
	return all, nil
}

// fires prints the latest fires of the servers' job. It waits for the first one; the job fires every two seconds.
func fires(ctx context.Context, app *af.App) error {
	for {
		page, err := app.Fires(ctx, af.FireQuery{Job: "tick", Limit: 3})
		if err != nil {
			return err
		}
		for _, f := range page.Fires {
			fmt.Printf("job %s, due at %s: task %s\n", f.Job, f.Due.Format(time.TimeOnly), f.TaskID)
		}
		if len(page.Fires) > 0 {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
