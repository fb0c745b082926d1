package cli

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

const (
	treeMost = 1000 // tasks that are drawn
	treePage = 200  // tasks that are read at once
)

// subtree is what af tree -o json prints.
type subtree struct {
	Task  admin.Task   `json:"task"`
	Nodes []admin.Node `json:"nodes"` // as those of admin.TreePage
	More  bool         `json:"more,omitempty"`
}

func (c *invocation) treeCommand() *cobra.Command {
	depth := 0
	cmd := &cobra.Command{
		Use: "tree ID", Short: "Draw a task with its subtasks", Args: cobra.ExactArgs(1),
		Long: `Tree draws a task with its subtasks, theirs, and so on, oldest first. TIME is how long a task ran, or has
been running. DETAIL has the numbers of its subtasks by status, and its error. At most 1,000 subtasks
are drawn.

-o json prints {"task": {...}, "nodes": [{"depth": 1, "task": {...}, "counts": {...}}], "more": true}.`,
		Example: `  af tree ID
  af tree ID -depth 1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("depth") && (depth < 1 || depth > 32) {
				return fmt.Errorf("-depth %d: want 1 to 32", depth)
			}
			api, err := c.api(cmd.Context())
			if err != nil {
				return err
			}
			t, err := readTree(cmd.Context(), api, args[0], depth)
			if err != nil {
				return err
			}
			if c.json() {
				return c.printJSON(t)
			}
			return c.drawTree(&t)
		},
	}
	cmd.Flags().IntVar(&depth, "depth", 0, "draw at most `N` levels below the task")
	return cmd
}

// readTree reads a task and its descendants, at most treeMost.
func readTree(ctx context.Context, api admin.API, id string, depth int) (t subtree, err error) {
	if t.Task, err = api.Task(ctx, id); err != nil {
		return t, err
	}
	t.Nodes = []admin.Node{}
	for q := (admin.TreeQuery{ID: id, Depth: depth}); len(t.Nodes) < treeMost; {
		q.Limit = min(treePage, treeMost-len(t.Nodes))
		page, err := api.Tree(ctx, q)
		if err != nil {
			return t, err
		}
		t.Nodes = append(t.Nodes, page.Nodes...)
		if q.Cursor = page.Cursor; q.Cursor == "" {
			return t, nil
		}
	}
	t.More = true
	return t, nil
}

func (c *invocation) drawTree(t *subtree) error {
	table := c.table(
		text.Column{Title: "ID"}, text.Column{Title: "QUEUE", Cut: true}, text.Column{Title: "STATUS"},
		text.Column{Title: "TIME", Right: true}, text.Column{Title: "INSTANCE", Wide: true},
		text.Column{Title: "DETAIL", Cut: true},
	)
	add := func(branch string, task *af.Task, subtasks string) {
		time := "-"
		if d := took(task, c.Now()); d > 0 {
			time = text.Duration(d)
		}
		table.Add(text.Of(branch+text.Clean(task.ID)), text.Of(task.Queue), statusCell(task.Status), text.Of(time),
			text.Of(task.Instance), text.Of(join("; ", subtasks, errorOf(task.Error))))
	}
	add("", &t.Task.Task, counts(t.Task.Children))
	branches := draw(t.Nodes, t.More, c.pen())
	for i := range t.Nodes {
		n := &t.Nodes[i]
		subtasks := counts(n.Counts)
		if subtasks == "" { // the API counts those of the first sources only
			subtasks = counts(endedCounts(&n.Task))
		}
		if subtasks == "" && n.Task.Spawned {
			subtasks = "has subtasks"
		}
		add(branches[i], &n.Task, subtasks)
	}
	if err := table.Print(&c.Out); err != nil {
		return err
	}
	switch {
	case t.More:
		c.note("the first %s subtasks; -depth 1 draws those of the task itself, af ls source:ID lists them, and af tree "+
			"draws those of another task", text.Number(int64(len(t.Nodes))))
	case len(t.Nodes) == 0:
		c.note("the task has no subtasks")
	}
	return nil
}

// endedCounts returns the numbers of a task's subtasks if they have all ended, by status.
func endedCounts(t *af.Task) map[af.Status]af.Count {
	n := map[af.Status]af.Count{}
	if t.Subtasks == nil {
		return n
	}
	for status, count := range map[af.Status]int{
		af.StatusSuccess: t.Subtasks.Succeeded, af.StatusFailed: t.Subtasks.Failed, af.StatusStopped: t.Subtasks.Stopped,
	} {
		if count > 0 {
			n[status] = af.Count{N: count}
		}
	}
	return n
}

// A pen is the characters of which branches are drawn.
type pen struct{ branch, last, line, space string }

// pen returns the characters that the terminal can show. An environment without a locale, such as that of a container,
// is assumed to show UTF-8; one that names another encoding is believed.
func (c *invocation) pen() pen {
	locale := ""
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} { // in the order that POSIX gives
		if locale = c.Getenv(name); locale != "" {
			break
		}
	}
	locale = strings.ToLower(locale)
	if locale == "" || runtime.GOOS == "windows" || strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8") {
		return pen{"├─ ", "└─ ", "│  ", "   "}
	}
	return pen{"|- ", "`- ", "|  ", "   "}
}

// draw returns the branches that lead to nodes. If there are more nodes, the last one of each level may have siblings.
func draw(nodes []admin.Node, more bool, p pen) []string {
	branches := make([]string, len(nodes))
	// follows has, by depth, whether a later node of the level has the same source.
	follows := make([]bool, 40)
	if more {
		for i := range follows {
			follows[i] = true
		}
	}
	for i := len(nodes) - 1; i >= 0; i-- {
		depth := min(max(nodes[i].Depth, 1), len(follows)-1)
		var b strings.Builder
		for level := 1; level < depth; level++ {
			if follows[level] {
				b.WriteString(p.line)
			} else {
				b.WriteString(p.space)
			}
		}
		if follows[depth] {
			b.WriteString(p.branch)
		} else {
			b.WriteString(p.last)
		}
		branches[i] = b.String()
		follows[depth] = true
		for level := depth + 1; level < len(follows); level++ {
			follows[level] = false
		}
	}
	return branches
}

// join joins the texts that are not empty.
func join(separator string, texts ...string) string {
	return strings.Join(slices.DeleteFunc(texts, func(s string) bool { return s == "" }), separator)
}
