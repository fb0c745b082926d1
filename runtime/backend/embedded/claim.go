package embedded

import (
	"context"
	"database/sql"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// A catch is what a Claim returns.
type catch struct {
	tasks []backend.Task
	next  time.Duration
}

// Claim implements backend.Store. Where there is nothing to claim it only reads, so that many idle processes don't get in
// the way of one another.
func (s *store) Claim(ctx context.Context, c backend.Claim) ([]backend.Task, time.Duration, error) {
	idle, next, err := s.nothing(ctx, c)
	if idle || err != nil {
		return nil, next, err
	}
	got, err := write(ctx, s.db.writer, func(tx *tx) (catch, error) { return tx.claim(c) })
	return got.tasks, got.next, err
}

// nothing says whether a claim would change nothing, and when the next task is due then.
func (s *store) nothing(ctx context.Context, c backend.Claim) (idle bool, next time.Duration, err error) {
	var convicted, busy int
	var due sql.NullInt64
	known, err := s.db.readRow(ctx, `SELECT owner.convicted,
			EXISTS (SELECT 1 FROM task WHERE queue = ?1 AND place = 1 AND `+allowed("?4")+`) OR
			EXISTS (SELECT 1 FROM task WHERE owner = ?2 AND nonce = ?3 AND status = 2),
			(SELECT min(due) FROM task WHERE queue = ?1 AND place = 2)
		FROM owner WHERE name = ?2`, []any{c.Queue, c.Owner, c.Nonce, list(c.Networks)}, &convicted, &busy, &due)
	now := instant.Of(s.db.now())
	switch {
	case err != nil:
		return false, 0, err
	case !known || convicted != 0 || busy != 0 || due.Valid && due.Int64 <= now:
		return false, 0, nil
	case due.Valid:
		next = time.Duration(due.Int64 - now)
	}
	return true, next, nil
}

func (t *tx) claim(c backend.Claim) (catch, error) {
	var got catch
	if err := t.admit(c.Owner); err != nil {
		return got, err
	}
	if err := t.ripen(c.Queue); err != nil {
		return got, err
	}
	next, err := t.nextDue(c.Queue)
	if err != nil {
		return got, err
	}
	got.next = next
	taken, err := t.tasks("WHERE owner = ? AND nonce = ? AND status = 2 ORDER BY task.seq", c.Owner, c.Nonce)
	if err != nil || len(taken) > 0 {
		got.tasks = tasksOf(taken)
		return got, err
	}
	free, err := t.free(c)
	if err != nil || len(free) == 0 {
		return got, err
	}
	seqs := make([]int64, len(free))
	for i, r := range free {
		seqs[i] = r.seq
		t.count(r.Queue, r.status, number(backend.StatusRunning))
		r.Status, r.Started = backend.StatusRunning, instant.Time(t.now)
		r.Fence++
		r.Attempt++
	}
	got.tasks = tasksOf(free)
	return got, t.exec(`UPDATE task SET status = 2, place = 0, owner = ?, nonce = ?, settled = 0, fan_in = ?, started = ?,
			fence = fence + 1, attempt = attempt + 1
		WHERE seq IN (SELECT value FROM json_each(?))`, c.Owner, c.Nonce, c.FanIn, t.now, list(seqs))
}

// free reads what a claim may take, the best first: none is past its deadline (row 2).
func (t *tx) free(c backend.Claim) ([]*record, error) {
	if len(c.IDs) > 0 {
		return t.tasks(`WHERE id IN (SELECT value FROM json_each(?)) AND queue = ? AND place = 1
			AND (deadline IS NULL OR deadline > ?) AND `+allowed("?")+` ORDER BY weight DESC, task.seq LIMIT ?`,
			list(c.IDs), c.Queue, t.now, list(c.Networks), max(c.Max, 0))
	}
	return t.tasks(`WHERE queue = ? AND place = 1 AND (deadline IS NULL OR deadline > ?) AND `+allowed("?")+`
		ORDER BY weight DESC, task.seq LIMIT ?`, c.Queue, t.now, list(c.Networks), max(c.Max, 0))
}

// allowed is the condition that a claimer of these networks, a JSON array, may run the task.
func allowed(networks string) string {
	return `(allow IS NULL OR EXISTS (SELECT 1 FROM json_each(allow) AS a WHERE a.value IN (SELECT value FROM json_each(` + networks + `))))`
}

// ripen puts into the line what has become due.
func (t *tx) ripen(queue string) error {
	return t.exec("UPDATE task SET place = 1 WHERE queue = ? AND place = 2 AND due <= ?", queue, t.now)
}

// nextDue is how long until another task is due, 0 where none is known. ripen was called just now.
func (t *tx) nextDue(queue string) (time.Duration, error) {
	var due sql.NullInt64
	_, err := t.row("SELECT min(due) FROM task WHERE queue = ? AND place = 2", []any{queue}, &due)
	if err != nil || !due.Valid {
		return 0, err
	}
	return time.Duration(due.Int64 - t.now), nil
}
