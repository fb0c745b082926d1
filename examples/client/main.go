// Command client calls a service, submits tasks with subtasks, waits for all of them and says how it went: its last line
// is OK and the counts, or what is wrong; then it exits with 1.
//
// The services are those of examples/servers, started in the same folder: before the client or after it. They may also be
// killed and started again while it waits.
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
	"github.com/afgen/afgen/runtime/backend/auto"
)

func main() {
	var c client
	flag.IntVar(&c.tasks, "n", 3, "source tasks")
	flag.IntVar(&c.subtasks, "subtasks", 5, "subtasks of each")
	flag.StringVar(&c.config, "config", "", "configuration file (default config.yaml, where there is one)")
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
	config          string
	tasks, subtasks int
	out             io.Writer
	terminal        bool // a line may be overwritten

	calls, success, failed int
}

// run opens an App that calls and submits.
func (c *client) run(ctx context.Context) (err error) {
	cfg, err := auto.Load(c.config)
	if err != nil {
		return err
	}
	quiet := af.Logger(slog.New(slog.DiscardHandler))
	app, err := af.Open(ctx, auto.From(cfg), append(auto.Options(cfg), quiet)...)
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
	if err := c.fires(ctx, app); err != nil {
		return fmt.Errorf("job: %w", err)
	}
	line := fmt.Sprintf("calls=%d tasks=%d success=%d failed=%d", c.calls, c.success+c.failed, c.success, c.failed)
	if want := c.tasks * (1 + c.subtasks); c.failed > 0 || c.success != want {
		return fmt.Errorf("%s, want %d tasks", line, want)
	}
	_, err = fmt.Fprintln(c.out, "OK", line)
	return err
}

// call calls the service. It waits for an instance that is ready, and for another where that one dies during the call: to
// add twice is harmless.
func (c *client) call(ctx context.Context, app *af.App) error {
	server := testserver.NewTestServerClient(app, af.WaitForReady())
	sum, err := server.TestFunc(ctx, 1, 2)
	for errors.Is(err, af.ErrUnavailable) && ctx.Err() == nil {
		sum, err = server.TestFunc(ctx, 1, 2)
	}
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

// fires says when the servers' job was fired lately. It waits for the first fire: the job has one every two seconds.
func (c *client) fires(ctx context.Context, app *af.App) error {
	for {
		page, err := app.Fires(ctx, af.FireQuery{Job: "tick", Limit: 3})
		if err != nil {
			return err
		}
		for _, f := range page.Fires {
			fmt.Fprintf(c.out, "job %s, due at %s: task %s\n", f.Job, f.Due.Format(time.TimeOnly), f.TaskID)
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
