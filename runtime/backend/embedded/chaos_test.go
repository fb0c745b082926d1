//go:build unix

package embedded_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/chaos"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

func init() {
	children["chaos"] = func() int {
		return chaos.Child(func(path, instance string) (backend.Backend, error) {
			return embedded.File(path, embedded.Audited(instance)), nil
		})
	}
}

// Processes that share a file are killed, stopped beyond their leases and restarted, in a different way with each seed.
// Then invariants I1 to I5 and I7 to I9 are checked with an audit that the file itself has kept.
func TestChaosOfProcessesKeepsThePromises(t *testing.T) {
	kinds := []chaos.Kind{chaos.Everything, chaos.Kills, chaos.Rolling}
	chaos.Main(t, "./runtime/backend/embedded", kinds, func(_ *testing.T, dir string) chaos.World {
		return fileWorld{filepath.Join(dir, "af.db")}
	})
}

// A fileWorld is a file that processes share.
type fileWorld struct{ path string }

func (w fileWorld) Address() string                                     { return w.path }
func (w fileWorld) Again() time.Duration                                { return 3 * time.Second }
func (w fileWorld) Faults() []string                                    { return nil }
func (w fileWorld) Happen(string, time.Duration, <-chan struct{}) error { return nil }
func (w fileWorld) Held(context.Context) ([]string, error)              { return nil, nil }
func (w fileWorld) query(ctx context.Context, query string) (n int, err error) {
	db, err := sql.Open("sqlite", "file:"+w.path+"?_pragma=query_only(1)&_pragma=busy_timeout(5000)")
	if err != nil {
		return 0, err
	}
	defer db.Close()
	return n, db.QueryRowContext(ctx, query).Scan(&n)
}

// Left implements chaos.World.
func (w fileWorld) Left(ctx context.Context) (int, error) {
	return w.query(ctx, `SELECT (SELECT count(*) FROM task WHERE status < 4) +
		(SELECT count(*) FROM family WHERE NOT finished) + (SELECT count(*) FROM batch WHERE held)`)
}

// Remains implements chaos.World.
func (w fileWorld) Remains() (remains []string, _ error) {
	left, err := os.ReadDir(filepath.Dir(w.path))
	if err != nil {
		return nil, err
	}
	more, err := os.ReadDir(w.path + "-run")
	if err != nil {
		return nil, err
	}
	for _, file := range append(left, more...) {
		switch file.Name() {
		case "af.db", "af.db-run", "open.lock", "turn.lock":
		default:
			remains = append(remains, "the file "+file.Name())
		}
	}
	for what, query := range map[string]string{
		"peers":         "SELECT count(*) FROM peer",
		"offers":        "SELECT count(*) FROM offer",
		"running tasks": "SELECT count(*) FROM task WHERE status = 2",
		"owners":        "SELECT count(*) FROM owner WHERE NOT convicted",
	} {
		n, err := w.query(context.Background(), query)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			remains = append(remains, fmt.Sprintf("%d %s", n, what))
		}
	}
	return remains, nil
}
