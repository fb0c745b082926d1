package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/filter"
)

const (
	countPage  = 1000   // tasks on a page of a dry run
	changePage = 100    // tasks on a page of a change: the most whose results are unknown after an interruption
	maxCounted = 10_000 // tasks that a dry run counts
	maxSample  = 5      // tasks that a dry run shows
	maxListed  = 20     // failures that are printed
	maxFailed  = 1000   // failures in JSON

	countFor = 10 * time.Second // after which a dry run that has found tasks counts no more
)

// bulkReport is what the change of all tasks that match a filter prints with -o json.
type bulkReport struct {
	DryRun           bool `json:"dry_run,omitempty"`
	admin.BulkResult      // of all pages; Cursor continues after an interruption
	// AtLeast is set if a dry run has stopped to count.
	AtLeast    bool     `json:"at_least,omitempty"`
	MoreFailed int      `json:"more_failed,omitempty"` // failures that are not listed
	Sample     []string `json:"sample,omitempty"`      // ids of tasks that a dry run has found
}

// add adds the result of a page.
func (r *bulkReport) add(page admin.BulkResult) {
	r.Matched += page.Matched
	r.Changed += page.Changed
	listed := min(len(page.Failed), maxFailed-len(r.Failed))
	r.Failed = append(r.Failed, page.Failed[:listed]...)
	r.MoreFailed += len(page.Failed) - listed
}

func (r *bulkReport) failed() int { return len(r.Failed) + r.MoreFailed }

// changeWhere changes all tasks that match a filter, after it has shown what would change and asked.
func (c *invocation) changeWhere(ctx context.Context, ch *taskChange, f changeFlags) error {
	if !f.yes && !f.dryRun && !(c.Prompt && c.Err.Terminal) {
		return fmt.Errorf("there is no terminal to ask on: add -yes to %s all tasks that match, or -dry-run to see them",
			ch.verb)
	}
	q, err := filter.Parse(f.where, c.Now())
	if err != nil {
		return err
	}
	if q.Queue == "" && q.Source == "" && q.Code == "" && len(q.Statuses) == 0 && q.After.IsZero() && q.Before.IsZero() &&
		q.Filter.IsZero() { // such as that of an empty variable
		return errors.New("-where has an empty filter, which selects every task: name a queue or a status")
	}
	switch {
	case len(q.Statuses) > 0:
	case q.Code != "":
		q.Statuses = []af.Status{af.StatusFailed}
	default:
		q.Statuses = ch.statuses
	}
	q.Cursor = f.cursor
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	sample, err := c.sample(ctx, api, q)
	if err != nil {
		return err
	}
	if len(sample.Tasks) == 0 {
		c.code = exitProblem
		c.note("no task matches %s", filter.Format(q))
		if c.json() {
			return c.printJSON(bulkReport{DryRun: f.dryRun})
		}
		return nil
	}
	if q.Before.IsZero() && q.Sort == af.TasksByNewest && q.Cursor == "" {
		// Tasks that are submitted from now on were not shown, so they are not changed. The time is that of the store.
		q.Before = sample.Tasks[0].Created.Add(time.Nanosecond)
	}
	total := sample.Total
	if !q.Filter.IsZero() {
		total = -1 // only the page was counted
	}
	if f.dryRun || !f.yes {
		r, err := c.count(ctx, api, ch, q, total)
		if err != nil {
			return err
		}
		for i := range sample.Tasks {
			r.Sample = append(r.Sample, sample.Tasks[i].ID)
		}
		if f.dryRun && c.json() {
			return c.printJSON(r)
		}
		if f.dryRun {
			return c.printSample(&c.Out, ch, r, sample)
		}
		if err := c.printSample(&c.Err, ch, r, sample); err != nil || r.Changed == 0 && !r.AtLeast {
			return err
		}
		verb := strings.ToUpper(ch.verb[:1]) + ch.verb[1:]
		if yes, err := c.confirm(ctx, fmt.Sprintf("%s %s?", verb, tasksOf(r.Changed, r.AtLeast))); err != nil || !yes {
			c.code = exitProblem
			c.note("nothing was changed")
			return err
		}
		total = r.Matched
	}
	return c.changeAll(ctx, api, ch, q, f, total)
}

// sample returns a page with the first tasks that match a query.
func (c *invocation) sample(ctx context.Context, api admin.API, q af.TaskQuery) (af.TaskPage, error) {
	q.Limit, q.Bytes = maxSample, 1<<20
	m := c.meter("looking for tasks", -1)
	defer m.end()
	for {
		page, err := api.Tasks(ctx, q)
		if err != nil || len(page.Tasks) > 0 || page.Cursor == "" {
			return page, err
		}
		q.Cursor = page.Cursor // of a page that looked at as many tasks as it may, and found none
		m.add(page.Looked)
	}
}

// count counts the tasks that would change, page after page, up to a bound.
func (c *invocation) count(
	ctx context.Context, api admin.API, ch *taskChange, q af.TaskQuery, total int,
) (bulkReport, error) {
	r := bulkReport{DryRun: true}
	m := c.meter("counting tasks", total)
	defer m.end()
	q.Limit = countPage
	for begun := c.Now(); ; {
		page, err := ch.many(ctx, api, q, c.action("", true))
		if err != nil {
			return r, err
		}
		r.add(page)
		m.add(page.Matched)
		if page.Cursor == "" {
			return r, nil
		}
		if r.Changed >= maxCounted || r.Changed > 0 && c.Now().Sub(begun) > countFor {
			r.AtLeast = true
			return r, nil
		}
		q.Cursor = page.Cursor
	}
}

// tasksOf returns a number of tasks, such as "1 task" or "at least 10,000 tasks".
func tasksOf(n int, atLeast bool) string {
	s := text.Number(int64(n)) + " task"
	if n != 1 {
		s += "s"
	}
	if atLeast {
		return "at least " + s
	}
	return s
}

// printSample prints what would change.
func (c *invocation) printSample(p *text.Printer, ch *taskChange, r bulkReport, sample af.TaskPage) error {
	fmt.Fprintf(p, "%s would be %s", tasksOf(r.Changed, r.AtLeast), ch.done)
	if rest := r.Matched - r.Changed; rest > 0 {
		fmt.Fprintf(p, "; %s", needNo(rest))
	}
	fmt.Fprintln(p, ". Matching tasks:")
	t := c.taskList()
	for i := range sample.Tasks {
		c.addTask(t, &sample.Tasks[i])
	}
	if err := t.Print(p); err != nil {
		return err
	}
	if r.AtLeast || r.Matched > len(sample.Tasks) {
		fmt.Fprintln(p, "…")
	}
	return nil
}

// needNo returns "1 more needs no change" or "5 more need no change".
func needNo(n int) string {
	if n == 1 {
		return "1 more needs no change"
	}
	return text.Number(int64(n)) + " more need no change"
}

// changeAll changes the tasks that match a query, page after page, and prints the result.
func (c *invocation) changeAll(
	ctx context.Context, api admin.API, ch *taskChange, q af.TaskQuery, f changeFlags, total int,
) error {
	var r bulkReport
	var err error
	m := c.meter(ch.doing+" tasks", total)
	for q.Limit = changePage; ; {
		var page admin.BulkResult
		page, err = ch.many(ctx, api, q, c.action(f.reason, false))
		r.add(page)
		m.add(page.Matched)
		if err != nil || page.Cursor == "" {
			break
		}
		q.Cursor = page.Cursor
	}
	m.end()
	if err != nil && (!isAllowed(err) || r.Matched == 0 && q.Cursor == f.cursor && !maybeDone(err)) {
		return err // nothing was begun
	}
	if err != nil {
		r.Cursor = q.Cursor // the page is repeated, which changes no task twice
	}
	if r.failed() > 0 {
		c.code = exitProblem
	}
	if c.json() {
		err = errors.Join(c.printJSON(r), err)
	} else {
		c.sayf("%s", r.summary(ch))
	}
	for _, failure := range r.Failed[:min(len(r.Failed), maxListed)] {
		c.note("%s: %s: %s", failure.ID, failure.Code, failure.Message)
	}
	if more := r.failed() - maxListed; more > 0 {
		c.note("and %s more", text.Number(int64(more)))
	}
	if err != nil {
		c.sayHowToContinue(err, ch, q, f)
	}
	return err
}

// summary returns what a change has done, such as "1,200 tasks retried; 3 failed; 31 more need no change".
func (r *bulkReport) summary(ch *taskChange) string {
	s := tasksOf(r.Changed, false) + " " + ch.done
	if n := r.failed(); n > 0 {
		s += "; " + text.Number(int64(n)) + " failed"
	}
	if rest := r.Matched - r.Changed - r.failed(); rest > 0 && r.Cursor == "" {
		s += "; " + needNo(rest)
	}
	return s
}

// sayHowToContinue prints how to continue a change that has been interrupted.
func (c *invocation) sayHowToContinue(err error, ch *taskChange, q af.TaskQuery, f changeFlags) {
	cursor := q.Cursor
	q.Limit, q.Cursor = 0, ""
	command := []string{"af"}
	for _, flag := range [][2]string{
		{"-c", c.source.config}, {"-file", c.source.file}, {"-url", c.source.url}, {"-token-file", c.source.tokenFile},
	} {
		if flag[1] != "" {
			command = append(command, flag[0], shellWord(flag[1]))
		}
	}
	command = append(command, ch.verb, "-where", shellWord(filter.Format(q)))
	if cursor != "" {
		command = append(command, "-cursor", shellWord(cursor))
	}
	if f.reason != "" {
		command = append(command, "-reason", shellWord(f.reason))
	}
	why := "interrupted"
	if !errors.Is(err, af.ErrCanceled) {
		why = "ended early"
	}
	c.note("%s. Up to %d more tasks may be %s. To continue, which changes no task twice:", why, changePage, ch.done)
	c.note("  %s -yes", strings.Join(command, " "))
}

// shellWord returns an argument as it is written in a shell.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// runPage makes the tasks on a page due. It is what the API does for other changes.
func runPage(ctx context.Context, api admin.API, q af.TaskQuery, a admin.Action) (admin.BulkResult, error) {
	page, err := api.Tasks(ctx, q)
	if err != nil {
		return admin.BulkResult{}, err
	}
	r := admin.BulkResult{Matched: len(page.Tasks), Cursor: page.Cursor}
	for i := range page.Tasks {
		t := &page.Tasks[i]
		switch t.Status {
		case af.StatusWaiting, af.StatusPending, af.StatusRetrying:
		default:
			continue
		}
		if t.Gated || t.Uncommitted || !t.RunAt.After(t.Created) { // it does not wait for its time
			continue
		}
		if a.DryRun {
			r.Changed++
			continue
		}
		switch err := api.RunNow(ctx, t.ID, a); af.CodeOf(err) {
		case "":
			r.Changed++
		case af.ErrNotFound, af.ErrFailedPrecondition: // it was deleted or claimed, or has ended, meanwhile
		case af.ErrUnavailable, af.ErrDeadlineExceeded, af.ErrCanceled, af.ErrPermissionDenied, af.ErrUnauthenticated:
			return r, err
		default:
			message := err.Error()
			if e, ok := errors.AsType[*af.Error](err); ok {
				message = e.Message
			}
			r.Failed = append(r.Failed, admin.BulkFailure{ID: t.ID, Code: af.CodeOf(err), Message: message})
		}
	}
	return r, nil
}
