// Command client calls a service, submits tasks with subtasks, waits for all of them and says how it went: its last line
// is OK and the counts, or what is wrong; then it exits with 1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/afgen/afgen/examples/servers/subtestserver"
	"github.com/afgen/afgen/examples/servers/testserver"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

func main() {
	var c client
	flag.IntVar(&c.tasks, "n", 3, "source tasks")
	flag.IntVar(&c.subtasks, "subtasks", 5, "subtasks of each")
	flag.DurationVar(&c.work, "work", 100*time.Millisecond, "how long a task takes")
	timeout := flag.Duration("timeout", time.Minute, "for all of it")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	c.out, c.terminal = os.Stdout, isTerminal(os.Stdout)
	if err := c.run(ctx); err != nil {
		fmt.Println("FAILED", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}

// A client is what the flags say and what has come of it so far.
type client struct {
	tasks, subtasks int
	work            time.Duration
	out             io.Writer
	terminal        bool // a line may be overwritten

	calls, success, failed int
}

// run opens an App that calls and submits.
func (c *client) run(ctx context.Context) (err error) {
	quiet := af.Logger(slog.New(slog.DiscardHandler))
	world := memory.New()
	// Memory is one process's, so the services and workers run here, in an App of their own.
	servers, err := af.Open(ctx, world, quiet)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, servers.Shutdown(ctx)) }()
	testserver.RegisterTestServer(servers, &testserver.TestServer{})
	testserver.RegisterTestWorker(servers, &testserver.TestWorker{Work: c.work})
	subtestserver.RegisterSubTestServer(servers, &subtestserver.SubTestServer{})
	subtestserver.RegisterSubTestWorker(servers, &subtestserver.SubTestWorker{Work: c.work})
	if err := servers.Start(ctx); err != nil {
		return err
	}

	app, err := af.Open(ctx, world, quiet)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Shutdown(ctx)) }()
	if err := app.Start(ctx); err != nil {
		return err
	}
	if err := c.call(ctx, app); err != nil {
		return fmt.Errorf("call: %w", err)
	}
	if err := c.submit(ctx, app); err != nil {
		return fmt.Errorf("tasks: %w", err)
	}
	line := fmt.Sprintf("calls=%d tasks=%d success=%d failed=%d", c.calls, c.success+c.failed, c.success, c.failed)
	if want := c.tasks * (1 + c.subtasks); c.failed > 0 || c.success != want {
		return fmt.Errorf("%s, want %d tasks", line, want)
	}
	_, err = fmt.Fprintln(c.out, "OK", line)
	return err
}

// call calls the service, waiting for it to be ready.
func (c *client) call(ctx context.Context, app *af.App) error {
	sum, err := testserver.NewTestServerClient(app, af.WaitForReady()).TestFunc(ctx, 1, 2)
	if err != nil {
		return err
	}
	c.calls++
	fmt.Fprintf(c.out, "test_server: 1 + 2 = %d\n", sum)
	return nil
}

// submit submits the source tasks and their subtasks, and waits for all.
func (c *client) submit(ctx context.Context, app *af.App) error {
	sources, subs := testserver.NewTestWorkerQueue(app), subtestserver.NewSubTestWorkerQueue(app)
	jobs := make([]subtestserver.Job, c.subtasks)
	for i := range jobs {
		jobs[i].Index = i
	}
	var waits []func() error
	for i := range c.tasks {
		id, err := sources.Submit(ctx, testserver.Job{Index: i})
		if err != nil {
			return err
		}
		ids, err := subs.Subtasks(ctx, id, jobs)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.out, "task %s with %d subtasks\n", id, len(ids))
		waits = append(waits, waiter(ctx, sources.Wait, id))
		for _, sub := range ids {
			waits = append(waits, waiter(ctx, subs.Wait, sub))
		}
	}
	for i, wait := range waits {
		c.progress(i, len(waits))
		if err := wait(); err == nil {
			c.success++
		} else if e, ok := errors.AsType[*af.Error](err); ok && e.Outcome == af.OutcomeAnswered {
			c.failed++
			fmt.Fprintf(c.out, "a task failed: %v\n", err)
		} else {
			return err
		}
	}
	c.progress(len(waits), len(waits))
	return nil
}

// waiter waits for one task of a queue.
func waiter[R any](ctx context.Context, wait func(context.Context, string) (R, error), id string) func() error {
	return func() error {
		_, err := wait(ctx, id)
		return err
	}
}

// progress overwrites a line on a terminal; elsewhere it says nothing.
func (c *client) progress(done, all int) {
	if !c.terminal {
		return
	}
	fmt.Fprintf(c.out, "\r%d of %d tasks done", done, all)
	if done == all {
		fmt.Fprintln(c.out)
	}
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
