package embedded

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// Checked makes the file refuse transitions that the state table doesn't list, including those of ended tasks.
func Checked() Option {
	var pairs []string
	for _, from := range backend.Statuses() {
		for _, to := range backend.Statuses() {
			if from != to && backend.Allowed(from, to) {
				pairs = append(pairs, fmt.Sprintf("(%d, %d)", number(from), number(to)))
			}
		}
	}
	return func(o *options) {
		o.setup += `;CREATE TEMP TRIGGER checked BEFORE UPDATE OF status ON task
			WHEN old.status <> new.status AND (old.status, new.status) NOT IN (VALUES ` + strings.Join(pairs, ", ") + `)
			BEGIN SELECT raise(ABORT, 'the state table has no such transition'); END`
	}
}

// Statements returns the statements on tasks that open ports have used.
func Statements(p *backend.Ports) []string {
	db := p.Store.(*store).db
	db.mu.Lock()
	defer db.mu.Unlock()
	texts := slices.Concat(slices.Collect(maps.Keys(db.reads)), slices.Collect(maps.Keys(db.tx.stmts)))
	return slices.DeleteFunc(texts, func(s string) bool {
		return !strings.Contains(s, " ") || strings.HasPrefix(s,
			"BEGIN")
	})
}

// Plan returns SQLite's query plan of a statement.
func Plan(p *backend.Ports, statement string) ([]string, error) {
	rows, err := p.Store.(*store).db.readers.Query("EXPLAIN QUERY PLAN "+statement, make([]any, strings.Count(statement,
		"?"))...)
	if err != nil {
		return nil, err
	}
	return scanAll(rows, func(rows *sql.Rows) (step string, err error) {
		var ignored int
		err = rows.Scan(&ignored, &ignored, &ignored, &step)
		return step, err
	})
}

// Loopback makes peers connect over TCP, as if there were no unix sockets.
func Loopback() Option { return func(o *options) { o.loopback = true } }

// OnNetwork pretends that the file is on a network file system.
func OnNetwork(kind string) Option {
	return func(o *options) { o.fileSystem = func(string) (string, error) { return kind, nil } }
}

// AsUser pretends that another user opens the file.
func AsUser(euid int) Option { return func(o *options) { o.euid = euid } }

// Steps replaces the schema's history.
func Steps(change func([]string) []string) Option {
	return func(o *options) { o.migrations = change(o.migrations) }
}

// MostPages limits the file to n pages of 4 kB, like a full disk.
func MostPages(n int) Option {
	return func(o *options) { o.pragmas = append(o.pragmas, fmt.Sprintf("PRAGMA max_page_count(%d)", n)) }
}

// MaxLog limits SQLite's write-ahead log.
func MaxLog(bytes int64) Option { return func(o *options) { o.maxLog = bytes } }

// Unshrinking creates a file as older versions did, unable to shrink.
func Unshrinking() Option { return func(o *options) { o.noVacuum = true } }

// Clock replaces the file's clock.
func Clock(now func() time.Time) Option { return func(o *options) { o.now = now } }

// SpawnBegun commits a batch as Spawn does, but stops after the first transaction.
func SpawnBegun(ctx context.Context, p *backend.Ports, sp backend.Spawn) error {
	return change(ctx, p.Store.(*store).db.writer, func(tx *tx) error {
		source, err := tx.oneRow(sp.Source)
		if err != nil {
			return err
		}
		_, err = tx.commitSpawn(source, sp, true)
		return err
	})
}
