package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/internal/suggest"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// submitFlags are the flags of af submit.
type submitFlags struct {
	weight, retries      int
	at, deadline         string
	id, unique           string
	timeout              time.Duration
	metadata             []string
	requireWorker, await bool
}

func (c *invocation) submitCommand() *cobra.Command {
	var f submitFlags
	cmd := &cobra.Command{
		Use: "submit QUEUE PAYLOAD", Short: "Submit a task",
		Long: `Submit stores a task and prints its id. PAYLOAD is JSON, @file, or - for the standard input; it is
null if the worker takes none. The worker checks it when the task runs.

If a task with the -id, or an unfinished one of the queue with the -unique key, exists already,
nothing is stored and its id is printed.`,
		Example: `  af submit mail '{"to": "ann@example.com"}'
  af submit resize @picture.json -weight 10 -id resize-4711 -wait
  af submit report null -at 02:30`,
		Args: func(_ *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return errors.New("want QUEUE and PAYLOAD: af queues lists the queues")
			case 1:
				return errors.New("want PAYLOAD as well: JSON, @file, or - for the standard input; null for none")
			case 2:
				return nil
			}
			return fmt.Errorf("want one PAYLOAD, not %d: JSON with spaces needs quotes", len(args)-1)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.IntVar(&f.weight, "weight", 0, "`weight`, from -1000 to 1000: heavier tasks of a queue run first (default 1)")
	fs.StringVar(&f.at, "at", "", "run it no earlier than this `time`, such as 15:04, or after a duration, such as 2m")
	fs.StringVar(&f.id, "id", "", "`id` of the task: repeating a submission with it is safe")
	fs.StringVar(&f.unique, "unique", "", "submit only if no unfinished task of the queue has this `key`")
	fs.StringVar(&f.deadline, "deadline", "", "fail the task if it has not started by this `time`")
	fs.DurationVar(&f.timeout, "timeout", 0, "limit of each attempt (default: the worker's)")
	fs.IntVar(&f.retries, "retries", 0, "`number` of attempts after the first (default: the worker's)")
	fs.StringArrayVar(&f.metadata, "metadata", nil, "`NAME=VALUE` for the handler; may be repeated")
	fs.BoolVar(&f.requireWorker, "require-worker", false, "refuse if no worker of the queue is running")
	fs.BoolVar(&f.await, "wait", false, "wait until the task has ended; exit with 1 if it has failed")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := f.submission(c.Now())
		if err != nil {
			return err
		}
		if fs.Changed("weight") {
			s.Weight = &f.weight
		}
		if fs.Changed("retries") {
			s.Retries = &f.retries
		}
		s.Queue = args[0]
		if s.Payload, err = c.readJSON(cmd.Context(), "the payload", args[1]); err != nil {
			return err
		}
		return c.submit(cmd.Context(), s, f.await)
	}
	return cmd
}

// submission returns a submission with the options that the flags set, but for weight and retries.
func (f *submitFlags) submission(now time.Time) (s admin.Submission, err error) {
	s = admin.Submission{ID: f.id, UniqueKey: f.unique, Timeout: f.timeout, RequireWorker: f.requireWorker}
	if f.timeout < 0 {
		return s, fmt.Errorf("-timeout %v is negative", f.timeout)
	}
	if f.at != "" {
		if s.RunAt, s.Delay, err = parseWhen("at", f.at, now); err != nil {
			return s, err
		}
	}
	if f.deadline != "" {
		var after time.Duration
		if s.Deadline, after, err = parseWhen("deadline", f.deadline, now); err != nil {
			return s, err
		}
		if s.Deadline.IsZero() {
			s.Deadline = now.Add(after)
		}
	}
	s.Metadata, err = parsePairs("metadata", f.metadata)
	return s, err
}

// submit submits a task, and waits for it if await is set.
func (c *invocation) submit(ctx context.Context, s admin.Submission, await bool) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	done, err := api.Submit(ctx, s, c.action("", false))
	if err != nil {
		return c.submitFailed(s, err)
	}
	if !s.RequireWorker {
		c.warnWithoutWorker(ctx, api, s.Queue)
	}
	switch {
	case await:
		return c.awaitSubmitted(ctx, api, done)
	case c.json():
		return c.printJSON(done)
	}
	c.sayf("%s", submitted(done))
	return nil
}

// submitted returns the line about a submission. Its first word is the id.
func submitted(s admin.Submitted) string {
	if !s.Created {
		return s.ID + " existed"
	}
	return s.ID
}

// submitFailed returns the error of a submission, after a line that tells how to repeat it if its outcome is unknown.
func (c *invocation) submitFailed(s admin.Submission, err error) error {
	if !maybeDone(err) {
		return err
	}
	id := s.ID
	if id == "" {
		id = af.SubmittedID(err)
	}
	if id != "" {
		c.note("the answer was lost, so the task may be stored. Submitting it again with -id %s stores it once",
			shellWord(id))
	} else {
		c.note("the answer was lost, so the task may be stored: af ls %s", shellWord("queue:"+s.Queue+" since:1m"))
	}
	return err
}

// warnWithoutWorker prints a warning if no worker of a queue is running, because its name may be misspelled. The task
// is stored, so what goes wrong here is no error.
func (c *invocation) warnWithoutWorker(ctx context.Context, api admin.API, queue string) {
	page, err := api.Workers(ctx, af.WorkerQuery{Queue: queue, Limit: 1, NoWaiting: true})
	if err != nil || page.Total > 0 {
		return
	}
	near := ""
	if queues, err := api.Queues(ctx); err == nil {
		var served []string
		for i := range queues {
			if queues[i].Workers > 0 {
				served = append(served, queues[i].Name)
			}
		}
		if name, ok := suggest.Nearest(queue, served); ok {
			near = fmt.Sprintf("; did you mean %q?", name)
		}
	}
	c.note("no worker of queue %q is running, so the task waits%s", queue, near)
}

// awaitSubmitted waits until a task has ended, and prints how, and its result.
func (c *invocation) awaitSubmitted(ctx context.Context, api admin.API, s admin.Submitted) error {
	if !c.json() {
		c.sayf("%s", submitted(s))
	}
	if err := c.waitFor(ctx, api, []string{s.ID}, 0); err != nil {
		c.note("task %s is stored: %s waits for it", s.ID, shell("af wait", s.ID))
		return err
	}
	if c.json() || c.code != exitDone {
		return nil
	}
	t, err := api.Task(ctx, s.ID)
	if err != nil || len(t.Result) == 0 || string(t.Result) == "null" {
		return err
	}
	return c.printJSON(t.Result)
}
