package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

func (c *invocation) tailCommand() *cobra.Command {
	var last int
	cmd := &cobra.Command{
		Use: "tail [FILTER]", Short: "Show tasks as they end or fail",
		Long: `Tail prints a line for each task that ends, and for each attempt that fails and is followed by
another (retrying), about a second after it happened. It begins with the last 10. With -o json it
prints the task as an object on a line: of a failed attempt, with that attempt's error and times.

Nothing is printed twice. It may miss: tasks that are deleted within the second; of more than 5,000
that end within a poll, the first ones, which it tells; and attempts that fail while more than 1,000
tasks run or retry, if their tasks are not among the newest 1,000. af ls lists what is stored.`,
		Example: `  af tail
  af tail queue:resize status:failed,retrying
  af tail -n 0 -o json | jq -r .id`,
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := c.query(args, listing{})
			if err != nil {
				return err
			}
			if last < 0 {
				return fmt.Errorf("-n %d: want 0 or more", last)
			}
			api, err := c.api(cmd.Context())
			if err != nil {
				return err
			}
			return newTailer(c, api, q, last).run(cmd.Context())
		},
	}
	cmd.Flags().IntVarP(&last, "last", "n", 10, "begin with the last `n`")
	return cmd
}

const (
	// tailOverlap is how much later than another one a task may be stored that ended before it: so much is read again.
	tailOverlap  = 3 * time.Second
	tailEnds     = 5000 // tasks that are read in a poll
	tailFailures = 1000 // tasks that run or retry, read in a poll
	tailBytes    = 4 << 20
)

// A tailer finds what has ended or failed since it last looked.
type tailer struct {
	c        *invocation
	api      admin.Reader
	query    af.TaskQuery // its Filter is applied here: a store would look at all older tasks for it
	ends     []af.Status  // final statuses to show
	retrying bool         // show failed attempts that are followed by others
	last     int

	latest time.Time            // when the latest event happened, by the store's clock
	seen   map[string]time.Time // events that are not older than tailOverlap before latest
	warned bool                 // that the system is unavailable
}

func newTailer(c *invocation, api admin.Reader, q af.TaskQuery, last int) *tailer {
	t := &tailer{c: c, api: api, query: q, last: last, seen: map[string]time.Time{}}
	want := func(s af.Status) bool { return len(q.Statuses) == 0 || slices.Contains(q.Statuses, s) }
	for _, s := range []af.Status{af.StatusSuccess, af.StatusFailed, af.StatusStopped} {
		if want(s) && (q.Code == "" || s == af.StatusFailed) {
			t.ends = append(t.ends, s)
		}
	}
	t.retrying = want(af.StatusRetrying)
	return t
}

func (t *tailer) run(ctx context.Context) error {
	if len(t.ends) == 0 && !t.retrying {
		return af.Errorf(af.ErrInvalidArgument, "tail shows tasks with the status success, failed, stopped or retrying")
	}
	if !t.query.Filter.IsZero() { // whether it is valid and allowed
		q := t.query
		q.Limit, q.Bytes = 1, 1
		if _, err := t.api.Tasks(ctx, q); err != nil {
			return err
		}
	}
	first := true
	return paced(ctx, t.api, []admin.Kind{admin.KindTasks, admin.KindQueues}, func() error {
		events, err := t.poll(ctx)
		switch code := af.CodeOf(err); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !first && (code == af.ErrUnavailable || code == af.ErrDeadlineExceeded):
			if !t.warned {
				t.warned = true
				t.c.note("still waiting: %s", messageOf(err))
			}
			return nil
		case err != nil:
			return err
		}
		t.warned = false
		if first {
			first = false
			events = events[max(len(events)-t.last, 0):]
		}
		return t.print(events)
	})
}

// poll returns what has happened since the last poll, in the order in which it happened. An event is a task as it was
// when it ended, or when an attempt failed.
func (t *tailer) poll(ctx context.Context) ([]af.Task, error) {
	var events []af.Task
	found := map[string]time.Time{}
	oldest := t.latest.Add(-tailOverlap)
	add := func(key string, e af.Task) {
		if _, old := t.seen[key]; old || e.Ended.Before(oldest) && !t.latest.IsZero() || !t.query.Filter.Matches(&e) {
			return
		}
		if _, double := found[key]; !double {
			found[key] = e.Ended
			events = append(events, e)
		}
	}
	failures := func(k *af.Task) {
		for i, a := range k.Attempts {
			if t.retrying && (a.Outcome == af.AttemptFailed || a.Outcome == af.AttemptLost) &&
				(t.query.Code == "" || t.query.Code == a.Code) && !(k.Status.Final() && i == len(k.Attempts)-1) {
				add(fmt.Sprint(k.ID, " ", a.Fence), failedAttempt(k, a))
			}
		}
	}
	if len(t.ends) > 0 {
		q := t.query
		q.Filter, q.Statuses, q.Sort, q.Bytes = af.TaskFilter{}, t.ends, af.TasksByEnd, tailBytes
		most := tailEnds
		if t.latest.IsZero() { // only the last ones are shown
			most = max(min(t.last, tailEnds), 100)
		}
		more, err := t.read(ctx, q, most, func(k *af.Task) bool {
			add(fmt.Sprint(k.ID, " end ", k.Ended.UnixNano()), *k)
			failures(k)
			return !k.Ended.Before(oldest)
		})
		if err != nil {
			return nil, err
		}
		if more && !t.latest.IsZero() {
			t.c.note("more than %s tasks ended since the last poll; the first ones are not shown", text.Number(tailEnds))
		}
	}
	if t.retrying {
		q := t.query
		q.Filter, q.Code, q.Bytes = af.TaskFilter{}, "", tailBytes
		q.Statuses = []af.Status{af.StatusRetrying, af.StatusRunning}
		if _, err := t.read(ctx, q, tailFailures, func(k *af.Task) bool { failures(k); return true }); err != nil {
			return nil, err
		}
	}
	for key, at := range found {
		t.seen[key] = at
		if at.After(t.latest) {
			t.latest = at
		}
	}
	for key, at := range t.seen {
		if at.Before(t.latest.Add(-tailOverlap)) {
			delete(t.seen, key)
		}
	}
	slices.SortStableFunc(events, func(a, b af.Task) int { return a.Ended.Compare(b.Ended) })
	return events, nil
}

// read calls f for tasks until it returns false, and at most for a number of them. It reports whether that ended it.
func (t *tailer) read(ctx context.Context, q af.TaskQuery, most int, f func(*af.Task) bool) (more bool, err error) {
	for n := 0; ; {
		q.Limit = min(listPage, most-n)
		page, err := t.api.Tasks(ctx, q)
		if err != nil {
			return false, err
		}
		for i := range page.Tasks {
			if !f(&page.Tasks[i]) {
				return false, nil
			}
		}
		if n += len(page.Tasks); page.Cursor == "" {
			return false, nil
		}
		if n >= most {
			return true, nil
		}
		q.Cursor = page.Cursor
	}
}

// failedAttempt returns a task as it was when an attempt had failed.
func failedAttempt(t *af.Task, a af.Attempt) af.Task {
	e := *t
	e.Status, e.Attempt, e.Fence, e.Instance, e.IP = af.StatusRetrying, a.Attempt, a.Fence, a.Instance, a.IP
	e.Started, e.Ended, e.Result = a.Started, a.Ended, nil
	e.Error = &af.TaskError{Code: a.Code, Message: a.Message}
	if a.Outcome == af.AttemptLost && a.Message == "" {
		e.Error = &af.TaskError{Code: af.ErrAborted, Message: "the process that ran it died"}
	}
	return e
}

// print prints events.
func (t *tailer) print(events []af.Task) error {
	for i := range events {
		e := &events[i]
		if t.c.json() {
			if err := t.c.printLine(e); err != nil {
				return err
			}
			continue
		}
		cells := endCells(e)
		cells[0].Text = fmt.Sprintf("%-8s", cells[0].Text) // as wide as retrying
		where := []text.Cell{text.Of(e.ID), text.Of(e.Queue)}
		if t.c.output == "wide" {
			where = append(where, text.Of(e.Instance), text.Of(e.IP))
		}
		line := append([]text.Cell{text.Of(e.Ended.In(t.c.Now().Location()).Format("15:04:05")), cells[0]}, where...)
		p := t.c.Out
		if t.c.output == "wide" {
			p.Width = 0
		}
		if _, err := fmt.Fprintln(&t.c.Out, text.Line(&p, append(line, cells[1:]...)...)); err != nil {
			return err
		}
	}
	return nil
}

// paced calls f at once, then when things of some kinds have changed, but at most once a second, and after 5 s in any
// case. It returns the error of f or of ctx.
func paced(ctx context.Context, api admin.Reader, kinds []admin.Kind, f func() error) error {
	if err := f(); err != nil {
		return err
	}
	watchCtx, cancel := context.WithCancel(ctx)
	changed, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(done)
		follow(watchCtx, api, admin.WatchQuery{Kinds: kinds}, func(admin.Tick) {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	defer func() { cancel(); <-done }()
	for {
		late := time.After(rereadAfter)
		select {
		case <-time.After(redrawEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-changed:
		case <-late:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := f(); err != nil {
			return err
		}
	}
}
