package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

func (c *invocation) waitCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "wait ID...", Short: "Wait until tasks have ended", Args: cobra.MinimumNArgs(1),
		Long: `Wait waits until all tasks have ended, and prints a line for each as it ends; with -o json, the task
as an object on a line. The subtasks of a task may still run.

Exit codes: 0 all succeeded; 1 a task failed or was stopped, or does not exist; 3 -timeout passed.
While the system is unavailable, it waits on.`,
		Example: `  af wait 01J2ABCDEFGHJKMNPQRSTVWXYZ -timeout 5m && echo sent
  af submit mail '{"to":"ann"}' -wait`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if timeout < 0 {
				return fmt.Errorf("-timeout %v: want a positive duration", timeout)
			}
			api, err := c.api(cmd.Context())
			if err != nil {
				return err
			}
			return c.waitFor(cmd.Context(), api, args, timeout)
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "wait for at most this `duration`, such as 5m; 0 means for ever")
	return cmd
}

// maxAwaited is how many tasks are watched at once: as many as Watch allows. The others are looked at when these have
// ended.
const maxAwaited = 20

// A waiter waits for tasks.
type waiter struct {
	c      *invocation
	api    admin.Reader
	rest   []string // tasks that were not looked at yet
	waits  []string // tasks that have not ended, as last seen
	bar    *progressbar.ProgressBar
	warned bool // that the system is unavailable
}

// waitFor waits until tasks have ended and prints them. It sets the exit code if one did not succeed.
func (c *invocation) waitFor(ctx context.Context, api admin.Reader, ids []string, timeout time.Duration) error {
	rest := []string{}
	for _, id := range ids {
		if !slices.Contains(rest, id) {
			rest = append(rest, id)
		}
	}
	w := &waiter{c: c, api: api, rest: rest, bar: c.progress(len(rest), "waiting")}
	if w.bar != nil {
		_ = w.bar.RenderBlank() // a bar that can't be shown must not end the wait
	}
	total := len(rest)
	waitCtx := ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		waitCtx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	err := w.run(waitCtx)
	if w.bar != nil {
		_ = w.bar.Clear()
	}
	if err != nil && ctx.Err() == nil && waitCtx.Err() != nil {
		left := append(w.waits, w.rest...)
		shown := strings.Join(left[:min(len(left), 5)], ", ")
		if len(left) > 5 {
			shown += ", …"
		}
		return af.Errorf(af.ErrDeadlineExceeded, "%d of %s not ended after %s: %s", len(left),
			number(total, "task has", "tasks have"), text.Duration(timeout), shown)
	}
	return err
}

func (w *waiter) run(ctx context.Context) error {
	for first := true; ; first = false {
		n := min(len(w.rest), maxAwaited-len(w.waits))
		check := slices.Clone(w.rest[:n])
		w.rest, w.waits = w.rest[n:], append(w.waits, check...)
		if err := w.look(ctx, check, first); err != nil {
			return err
		}
		switch {
		case len(w.waits) == 0 && len(w.rest) == 0:
			return nil
		case len(w.rest) > 0 && len(w.waits) < maxAwaited:
			continue
		}
		if err := w.watch(ctx); err != nil {
			return err
		}
	}
}

// watch returns when at least one of the awaited tasks has ended.
func (w *waiter) watch(ctx context.Context) error {
	before := len(w.waits)
	watchCtx, cancel := context.WithCancel(ctx)
	ticks := make(chan []string)
	done := make(chan struct{})
	go func() {
		defer close(done)
		q := admin.WatchQuery{Kinds: []admin.Kind{admin.KindTasks}, Tasks: slices.Clone(w.waits)}
		follow(watchCtx, w.api, q, func(t admin.Tick) {
			select {
			case ticks <- t.IDs:
			case <-watchCtx.Done():
			}
		})
	}()
	defer func() { cancel(); <-done }()
	poll := time.NewTicker(rereadAfter) // in case that a tick is lost
	defer poll.Stop()
	for len(w.waits) == before {
		check := w.waits
		select {
		case ids := <-ticks:
			if ids != nil { // else anything may have changed
				check = slices.DeleteFunc(slices.Clone(w.waits), func(id string) bool { return !slices.Contains(ids, id) })
			}
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := w.look(ctx, slices.Clone(check), false); err != nil {
			return err
		}
	}
	return nil
}

// look reads tasks, and prints and removes from waits those that have ended.
func (w *waiter) look(ctx context.Context, ids []string, first bool) error {
	for _, id := range ids {
		t, err := w.api.Task(ctx, id)
		switch code := af.CodeOf(err); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !first && (code == af.ErrUnavailable || code == af.ErrDeadlineExceeded):
			if !w.warned {
				w.warned = true
				w.c.note("still waiting: %s", messageOf(err))
			}
			return nil
		case err != nil:
			return err
		}
		w.warned = false
		if !t.Status.Final() {
			continue
		}
		w.waits = slices.DeleteFunc(w.waits, func(other string) bool { return other == id })
		if t.Status != af.StatusSuccess {
			w.c.code = exitProblem
		}
		if err := w.print(&t.Task); err != nil {
			return err
		}
	}
	return nil
}

// print prints a task that has ended.
func (w *waiter) print(t *af.Task) error {
	if w.bar != nil {
		_ = w.bar.Clear()
	}
	var err error
	if w.c.json() {
		err = w.c.printLine(t)
	} else {
		cells := append([]text.Cell{text.Of(t.ID)}, endCells(t)...)
		_, err = fmt.Fprintln(&w.c.Out, text.Line(&text.Printer{Color: w.c.Out.Color}, cells...))
	}
	if w.bar != nil {
		_ = w.bar.Add(1)
	}
	return err
}

// endCells returns how a task has ended, or failed for now: its status, how long it ran, and its error.
func endCells(t *af.Task) []text.Cell {
	cells := []text.Cell{{Text: string(t.Status), Style: text.StatusStyle(t.Status)}}
	if !t.Started.IsZero() && !t.Ended.IsZero() && t.Attempt > 0 {
		cells = append(cells, text.Of("after "+text.Duration(max(t.Ended.Sub(t.Started), 0))))
	}
	if t.Attempt > 1 {
		cells = append(cells, text.Of(fmt.Sprintf("attempt %d", t.Attempt)))
	}
	if t.Error != nil {
		cells = append(cells, text.Of(string(t.Error.Code)+": "+t.Error.Message))
	}
	return cells
}
