package embedded

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/runtime/backend"
)

// mayScan are the ends of the statements that may look at all tasks: pages of a list, and counts of one that the tally
// doesn't know.
var mayScan = []string{"ORDER BY task.seq LIMIT ?", "ORDER BY task.seq DESC LIMIT ?", "ORDER BY ended DESC, task.seq DESC LIMIT ?"}

// Whatever a store does, it finds its rows by an index.
func TestNoStatementLooksAtAllTasks(t *testing.T) {
	seen := map[string]bool{}
	conform.Store(t, func(t *testing.T) *backend.Ports {
		s := opened(t)
		t.Cleanup(func() {
			s.db.mu.Lock()
			texts := slices.Concat(slices.Collect(maps.Keys(s.db.reads)), slices.Collect(maps.Keys(s.db.tx.stmts)))
			s.db.mu.Unlock()
			for _, text := range texts {
				if !seen[text] && !strings.HasPrefix(text, "BEGIN") && text != "COMMIT" && text != "ROLLBACK" {
					seen[text] = true
					explain(t, s, text)
				}
			}
		})
		return s.ports()
	}, conform.Options{})
	if len(seen) < 50 {
		t.Errorf("only %d statements were seen", len(seen))
	}
}

func explain(t *testing.T, s *session, text string) {
	t.Helper()
	if slices.ContainsFunc(mayScan, func(end string) bool { return strings.HasSuffix(text, end) && !strings.Contains(text, "place = 1") }) ||
		strings.HasPrefix(text, "SELECT count(*) FROM task ") {
		return
	}
	args := make([]any, strings.Count(text, "?"))
	rows, err := s.db.readers.Query("EXPLAIN QUERY PLAN "+text, args...)
	if err != nil {
		t.Errorf("%s: %v", text, err)
		return
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var step string
		if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
			t.Fatal(err)
		}
		for _, table := range []string{"task", "kid", "kin", "payload", "family", "batch"} {
			if strings.HasPrefix(step, "SCAN "+table) && !strings.Contains(step, "INDEX") {
				t.Errorf("%s\n%s", text, step)
			}
		}
	}
	if err := rows.Err(); err != nil {
		t.Error(err)
	}
}
