package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
)

func (c *invocation) auditCommand() *cobra.Command {
	var q af.AuditQuery
	cmd := &cobra.Command{
		Use: "audit", Short: "List who changed what, and why", Args: cobra.NoArgs,
		Long: `Audit lists the changes that people made to tasks, queues and jobs, latest first: by this command, by
a server of the admin API, or by a program that used af.By. At least the last 10,000 are kept.

DETAIL has the reason that was given, what was changed, and why a change was refused. -o wide adds the
instances through which they were made. -o json prints one page: {"entries": [...],
"cursor": "..."}; -cursor continues.

The exit code is 1 if there are none.`,
		Example: `  af audit
  af audit -by ann@host -action queue.pause
  af audit -target resize`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if q.Limit < 1 || q.Limit > lsMost {
				return fmt.Errorf("-limit %d: want 1 to %d", q.Limit, lsMost)
			}
			api, err := c.api(cmd.Context())
			if err != nil {
				return err
			}
			page, err := api.Audit(cmd.Context(), q)
			if err != nil {
				return err
			}
			if len(page.Entries) == 0 {
				c.code = exitProblem
				c.note("no such change is recorded")
			}
			switch {
			case c.json():
				return c.printJSON(page)
			case len(page.Entries) == 0:
				return nil
			}
			if err := c.auditTable(page.Entries).Print(&c.Out); err != nil {
				return err
			}
			if page.Cursor != "" {
				c.note("%s shown; -limit shows more, and -cursor %s continues", text.Number(int64(len(page.Entries))), page.Cursor)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&q.By, "by", "", "changes by this `user`")
	f.StringVar(&q.Action, "action", "", "changes of this `kind`, such as task.stop, queue.pause or job.disable")
	f.StringVar(&q.Target, "target", "", "changes of this task, queue or job: its `ID` or name")
	f.IntVar(&q.Limit, "limit", lsLimit, "show at most `N` changes")
	f.StringVar(&q.Cursor, "cursor", "", "continue where an earlier list has stopped")
	return cmd
}

func (c *invocation) auditTable(entries []af.AuditEntry) *text.Table {
	t := c.table(
		text.Column{Title: "WHEN", Right: c.output != "wide"}, text.Column{Title: "BY", Cut: true},
		text.Column{Title: "ACTION"}, text.Column{Title: "TARGET"}, text.Column{Title: "INSTANCE", Wide: true},
		text.Column{Title: "DETAIL", Cut: true},
	)
	for _, e := range entries {
		target := e.Target
		if strings.HasPrefix(e.Action, "tasks.") && c.output != "wide" { // a query; ids and names are not cut
			target = text.Shorten(text.Clean(target), 26)
		}
		detail := text.Of(join("; ", e.Reason, e.Detail))
		if e.Error != "" {
			detail = text.Cell{Text: join("; ", "refused: "+e.Error, e.Reason, e.Detail), Style: text.Red}
		}
		t.Add(text.Of(c.age(e.Time)), text.Of(e.By), text.Of(e.Action), text.Of(target), text.Of(e.Instance), detail)
	}
	return t
}
