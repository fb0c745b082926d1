package embedded

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// A tx is the current transaction on the writer's connection. Only the writer's goroutine uses it.
type tx struct {
	conn  *sql.Conn
	db    *database
	peer  string // the id of this peer
	stmts map[string]*sql.Stmt

	now   int64            // the time of the current job
	last  int64            // seq of the newest task
	taken bool             // tasks with a later seq exist: they were created while the clock was ahead
	tally map[tallyKey]int // changes of the table tally
}

// A tallyKey is a queue and a status, by which tasks are counted.
type tallyKey struct {
	queue  string
	status int
}

// unbounded is the context of statements: they run to completion, whatever happens to the context of a job.
var unbounded = context.Background()

func (t *tx) begin() error {
	t.taken, t.tally = false, map[tallyKey]int{}
	if err := t.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	var generation int64
	if _, err := t.row("SELECT registry, (SELECT ifnull(max(seq), 0) FROM task) FROM counter", nil, &generation,
		&t.last); err != nil {
		t.rollback()
		return err
	}
	t.db.generation.saw(generation)
	return nil
}

// readGeneration updates the database's generation.
func (t *tx) readGeneration() error {
	var generation int64
	if _, err := t.row("SELECT registry FROM counter", nil, &generation); err != nil {
		return err
	}
	t.db.generation.saw(generation)
	return nil
}

// setNow sets the time of the following changes.
func (t *tx) setNow(now time.Time) *tx {
	t.now = instant.Of(now)
	return t
}

func (t *tx) commit() error {
	for s, n := range t.tally {
		if n == 0 {
			continue
		}
		if err := t.exec(`INSERT INTO tally (queue, status, n) VALUES (?1, ?2, ?3)
			ON CONFLICT DO UPDATE SET n = n + ?3`, s.queue, s.status, n); err != nil {
			return err
		}
	}
	return t.exec("COMMIT")
}

// rollback rolls back the transaction. It ignores the error if SQLite has already done so.
func (t *tx) rollback() { _ = t.exec("ROLLBACK") }

// countTransition counts a task's change of status. A status is none for a task that is inserted or deleted.
func (t *tx) countTransition(queue string, from, to int) {
	if from == to {
		return
	}
	if from != none {
		t.tally[tallyKey{queue, from}]--
	}
	if to != none {
		t.tally[tallyKey{queue, to}]++
	}
}

// clockSlack is how far in the future a seq may be because many tasks were inserted, and not because the clock was
// ahead.
const clockSlack = int64(time.Second)

// nextSeq returns the seq of a new task: the current time, and after all other tasks, except those that were created
// while the clock was ahead.
func (t *tx) nextSeq() (int64, error) {
	if t.last > t.now+clockSlack {
		t.taken = true
		if _, err := t.row("SELECT ifnull(max(seq), 0) FROM task WHERE seq <= ?", []any{t.now + clockSlack},
			&t.last); err != nil {
			return 0, err
		}
	}
	t.last = max(t.now, t.last+1)
	for t.taken {
		used, err := t.exists("SELECT 1 FROM task WHERE seq = ?", t.last)
		if err != nil {
			return 0, err
		}
		if !used {
			break
		}
		t.last++
	}
	return t.last, nil
}

func (t *tx) stmt(query string) (*sql.Stmt, error) {
	if s := t.stmts[query]; s != nil {
		return s, nil
	}
	s, err := t.conn.PrepareContext(unbounded, query)
	if err == nil {
		t.stmts[query] = s
	}
	return s, err
}

func (t *tx) exec(query string, args ...any) error {
	_, err := t.execCount(query, args...)
	return err
}

// execCount is exec, and returns the number of changed rows.
func (t *tx) execCount(query string, args ...any) (int, error) {
	s, err := t.stmt(query)
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(unbounded, args...)
	if err != nil {
		return 0, err
	}
	n, err := r.RowsAffected()
	return int(n), err
}

func (t *tx) query(query string, args ...any) (*sql.Rows, error) {
	s, err := t.stmt(query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(unbounded, args...)
}

// row scans the first row of a query into to.
func (t *tx) row(query string, args []any, to ...any) (found bool, err error) {
	rows, err := t.query(query, args...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	if found = rows.Next(); found {
		err = rows.Scan(to...)
	}
	return found, errors.Join(err, rows.Err())
}

// queryAll reads all rows of a query.
func queryAll[T any](t *tx, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	rows, err := t.query(query, args...)
	if err != nil {
		return nil, err
	}
	return scanAll(rows, scan)
}

// exists reports whether a query returns a row.
func (t *tx) exists(query string, args ...any) (bool, error) {
	var one int
	return t.row(query, args, &one)
}

func (t *tx) close() error {
	var err error
	for _, s := range t.stmts {
		err = errors.Join(err, s.Close())
	}
	return errors.Join(err, t.conn.Close())
}

func refusal(format string, args ...any) error {
	return backend.Errorf(backend.ErrInvalidArgument, format, args...).With(backend.OutcomeNotSent)
}
