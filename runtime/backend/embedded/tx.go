package embedded

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// A tx is the transaction that is under way on the writer's connection. Only the writer's goroutine uses it.
type tx struct {
	conn  *sql.Conn
	db    *database
	peer  string // whose it is
	stmts map[string]*sql.Stmt

	now   int64 // of the job that runs
	last  int64 // seq of the youngest task; 0 where it is not known yet
	taken bool  // there are tasks with a later seq: the clock was ahead when they were made
	tally map[standing]int
}

// A standing is a queue and a status: what tasks are counted by.
type standing struct {
	queue  string
	status int
}

// A statement runs to its end: what bounds it is the writer's patience, not the context of one of its jobs.
var unbounded = context.Background()

func (t *tx) begin() error {
	t.last, t.taken, t.tally = 0, false, map[standing]int{}
	if err := t.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := t.readGeneration(); err != nil {
		t.rollback()
		return err
	}
	return nil
}

// readGeneration notes the registry's generation.
func (t *tx) readGeneration() error {
	var generation int64
	if _, err := t.row("SELECT registry FROM counter", nil, &generation); err != nil {
		return err
	}
	t.db.generation.saw(generation)
	return nil
}

// at makes now the time of what comes next.
func (t *tx) at(now time.Time) *tx {
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

// rollback ends the transaction, unless SQLite has done that itself, which is its error then.
func (t *tx) rollback() { _ = t.exec("ROLLBACK") }

// count notes that a task of a queue has gone from one status to another; none is for one that comes or goes.
func (t *tx) count(queue string, from, to int) {
	if from == to {
		return
	}
	if from != none {
		t.tally[standing{queue, from}]--
	}
	if to != none {
		t.tally[standing{queue, to}]++
	}
}

// clockSlack is by how much tasks may have been made in the future because of their number, and not by a clock that was ahead.
const clockSlack = int64(time.Second)

// next returns the seq of a new task: now, and after all others, but for those that were made while the clock was ahead. If it
// was set back ages follow it.
func (t *tx) next() (int64, error) {
	if t.last == 0 {
		if _, err := t.row("SELECT ifnull(max(seq), 0) FROM task", nil, &t.last); err != nil {
			return 0, err
		}
	}
	if t.last > t.now+clockSlack {
		t.taken = true
		if _, err := t.row("SELECT ifnull(max(seq), 0) FROM task WHERE seq <= ?", []any{t.now + clockSlack}, &t.last); err != nil {
			return 0, err
		}
	}
	t.last = max(t.now, t.last+1)
	for t.taken {
		used, err := t.is("SELECT 1 FROM task WHERE seq = ?", t.last)
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
	_, err := t.affect(query, args...)
	return err
}

// affect is exec, and says how many rows were changed.
func (t *tx) affect(query string, args ...any) (int, error) {
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
	return gather(rows, scan)
}

// is says whether a query has a row.
func (t *tx) is(query string, args ...any) (bool, error) {
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
