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
		"FROM task WHERE source = ?", // the subtasks of one task by end
	}, func(part string) bool { return strings.Contains(statement, part) })
}

// mayWalk reports whether a statement may walk all tasks in the order of creation: one without any other condition, for
// a page, which ends when the page is full, or for a total, which is limited.
func mayWalk(statement string) bool {
	_, condition, ok := strings.Cut(statement, " FROM task NOT INDEXED WHERE seq BETWEEN ? AND ? ")
	return ok && (strings.HasPrefix(condition, "ORDER BY seq ") || condition == "LIMIT ?)")
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
