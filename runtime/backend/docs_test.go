package backend_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
)

var update = flag.Bool("update", false, "rewrite the states in docs/tasks.md")

// The diagram and the table in docs/tasks.md are generated from the state table.
func TestDocumentedStates(t *testing.T) {
	testkit.Section(t, "../../docs/tasks.md", "<!-- states: made by go test ./runtime/backend -update -->",
		"<!-- /states -->",
		diagram()+"\n"+rows(), *update)
}

// diagram returns the table as a Mermaid diagram. An arrow is labelled with the rows that allow it.
func diagram() string {
	by := map[[2]string][]string{}
	for _, row := range backend.Transitions() {
		from := row.From
		if len(from) == 0 {
			from = []backend.Status{"[*]"}
		}
		for _, f := range from {
			for _, to := range row.To {
				if f != to {
					key := [2]string{string(f), string(to)}
					by[key] = append(by[key], fmt.Sprint(row.Row))
				}
			}
		}
	}
	var lines []string
	for pair, rows := range by {
		lines = append(lines, fmt.Sprintf("    %s --> %s : %s\n", pair[0], pair[1], strings.Join(rows, ", ")))
	}
	slices.Sort(lines)
	for _, s := range backend.Statuses() {
		if s.Final() {
			lines = append(lines, fmt.Sprintf("    %s --> [*]\n", s))
		}
	}
	return "```mermaid\nstateDiagram-v2\n" + strings.Join(lines, "") + "```\n"
}

// rows returns the table as Markdown.
func rows() string {
	var b strings.Builder
	b.WriteString("| # | from | to | who | guards | also written |\n|---|---|---|---|---|---|\n")
	for _, row := range backend.Transitions() {
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s | %s |\n", row.Row, or(join(row.From), "none"), or(join(row.To), "none"),
			join(row.By), join(row.Guards), row.Writes)
	}
	return b.String()
}

func join[S ~string](list []S) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return strings.Join(out, ", ")
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
