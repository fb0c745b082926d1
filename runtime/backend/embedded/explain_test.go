package embedded_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

// maySort reports whether a statement may sort what it reads: rows that are few, or whose number is limited.
func maySort(statement string) bool {
	return slices.ContainsFunc([]string{
		"INDEXED BY task_closed WHERE queue = ? AND closed IS NOT NULL AND closed = ended AND status = 4\n\t\t\t\t\tAND seq BETWEEN",
		"INDEXED BY task_apart WHERE queue = ? AND ended > 0 AND closed IS NOT ended AND status = 4\n\t\t\t\t\tAND seq BETWEEN",
		"FROM task WHERE source = ?", // the subtasks of one task by end
	}, func(part string) bool { return strings.Contains(statement, part) })
}

// mayWalk reports whether a statement may walk all tasks in the order of creation: one for a page, which ends when the
// page is full, or for a total between two instants, which is limited.
func mayWalk(statement string) bool {
	return strings.HasPrefix(statement, "SELECT ended, seq FROM task NOT INDEXED WHERE seq BETWEEN") ||
		strings.HasPrefix(statement, "SELECT ended, seq FROM task NOT INDEXED WHERE (? = '' OR queue = ?) AND status = 4") ||
		strings.HasPrefix(statement, "SELECT count(*) FROM (SELECT 1 FROM task NOT INDEXED WHERE (? = '' OR queue = ?) AND seq")
}

// plans holds the statements that were checked to use indexes.
type plans map[string]bool

func (seen plans) check(t *testing.T, ports *backend.Ports) {
	for _, statement := range embedded.Statements(ports) {
		if seen[statement] {
			continue
		}
		seen[statement] = true
		steps, err := embedded.Plan(ports, statement)
		if err != nil {
			t.Errorf("%s: %v", statement, err)
		}
		list := strings.HasPrefix(statement, "SELECT ended, seq FROM task ")
		for _, step := range steps {
			if list && strings.Contains(step, "TEMP B-TREE") && !maySort(statement) {
				t.Errorf("the statement sorts all rows: %s\n%s", statement, step)
			}
			if strings.HasPrefix(step, "SEARCH task USING INTEGER PRIMARY KEY (rowid>") && !mayWalk(statement) {
				t.Errorf("the statement walks all tasks: %s\n%s", statement, step)
			}
			for _, table := range []string{"task", "kid", "kin", "payload", "family", "batch"} {
				if strings.HasPrefix(step, "SCAN "+table) && !strings.Contains(step, "INDEX") {
					t.Errorf("the statement scans all rows: %s\n%s", statement, step)
				}
			}
		}
	}
}
