package embedded_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

// mayScan reports whether a statement may scan all tasks: it reads a page of a list.
func mayScan(statement string) bool {
	page := slices.ContainsFunc([]string{"ORDER BY task.seq LIMIT ?", "ORDER BY task.seq DESC LIMIT ?"},
		func(end string) bool { return strings.HasSuffix(statement, end) }) || strings.Contains(statement,
		"ORDER BY ended DESC, task.seq DESC LIMIT ?")
	return page && !strings.Contains(statement, "place =")
}

// plans holds the statements that were checked to use indexes.
type plans map[string]bool

func (seen plans) check(t *testing.T, ports *backend.Ports) {
	for _, statement := range embedded.Statements(ports) {
		if seen[statement] || mayScan(statement) {
			continue
		}
		seen[statement] = true
		steps, err := embedded.Plan(ports, statement)
		if err != nil {
			t.Errorf("%s: %v", statement, err)
		}
		for _, step := range steps {
			for _, table := range []string{"task", "kid", "kin", "payload", "family", "batch"} {
				if strings.HasPrefix(step, "SCAN "+table) && !strings.Contains(step, "INDEX") {
					t.Errorf("the statement scans all rows: %s\n%s", statement, step)
				}
			}
		}
	}
}
