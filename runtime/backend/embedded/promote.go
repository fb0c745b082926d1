package embedded

import (
	"context"
	"database/sql"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// A promotion is what Promote returns.
type promotion struct {
	ids    []string
	failed []backend.Task
	next   time.Duration
}

// Promote implements backend.Store. next takes the next deadline into account, too. Where there is nothing to promote it
// only reads, as Claim does.
func (s *store) Promote(ctx context.Context, queue string, max int) ([]string, []backend.Task, time.Duration, error) {
	var overdue, ready int
	var due, deadline sql.NullInt64
	now := instant.Of(s.db.now())
	_, err := s.db.readRow(ctx, `SELECT
			EXISTS (SELECT 1 FROM task WHERE queue = ?1 AND deadline <= ?2 AND deadline IS NOT NULL AND status < 4 AND status <> 2),
			EXISTS (SELECT 1 FROM task WHERE queue = ?1 AND place = 1),
			(SELECT min(due) FROM task WHERE queue = ?1 AND place = 2),
			(SELECT min(deadline) FROM task WHERE queue = ?1 AND deadline > ?2 AND deadline IS NOT NULL AND status < 4)`,
		[]any{queue, now}, &overdue, &ready, &due, &deadline)
	if err != nil {
		return nil, nil, 0, err
	}
	if ripe := due.Valid && due.Int64 <= now; overdue == 0 && !ripe && (ready == 0 || max <= 0) {
		return nil, nil, sooner(due, deadline, now), nil
	}
	p, err := write(ctx, s.db.writer, func(tx *tx) (promotion, error) { return tx.promote(queue, max) })
	return p.ids, p.failed, p.next, err
}

// sooner is how long until the first of two instants, 0 where there is none.
func sooner(a, b sql.NullInt64, now int64) time.Duration {
	switch {
	case !a.Valid && !b.Valid:
		return 0
	case !a.Valid || b.Valid && b.Int64 < a.Int64:
		a = b
	}
	return time.Duration(a.Int64 - now)
}

func (t *tx) promote(queue string, max int) (p promotion, err error) {
	if p.failed, err = t.expire(queue); err != nil {
		return p, err
	}
	if err = t.ripen(queue); err != nil {
		return p, err
	}
	if max > 0 {
		if p.ids, err = t.hint(queue, max); err != nil {
			return p, err
		}
	}
	var due, deadline sql.NullInt64
	_, err = t.row(`SELECT (SELECT min(due) FROM task WHERE queue = ?1 AND place = 2),
		(SELECT min(deadline) FROM task WHERE queue = ?1 AND deadline > ?2 AND deadline IS NOT NULL AND status < 4)`,
		[]any{queue, t.now}, &due, &deadline)
	p.next = sooner(due, deadline, t.now)
	return p, err
}

// expire fails what waits past its deadline (row 11). What runs may end; it comes back here if it doesn't.
func (t *tx) expire(queue string) ([]backend.Task, error) {
	late, err := t.rows(`queue = ? AND deadline <= ? AND deadline IS NOT NULL AND status < 4 AND status <> 2
		ORDER BY deadline, seq`, queue, t.now)
	if err != nil || len(late) == 0 {
		return nil, err
	}
	for _, r := range late {
		why := &backend.TaskError{Code: backend.ErrDeadlineExceeded, Message: "its deadline passed before it could run"}
		if err := t.end(r, backend.StatusFailed, nil, why); err != nil {
			return nil, err
		}
	}
	return t.asTheyAre(late)
}

// hint marks the best tasks that are owed a hint (row 8): none was sent since they wait, or the last one is older than
// 5 s × 2ⁿ after n of them, 5 minutes at most.
func (t *tx) hint(queue string, max int) ([]string, error) {
	owed, err := t.rows(`queue = ? AND place = 1 AND (hints = 0 OR hinted + min(5000000000 << min(hints, 6), 300000000000) <= ?)
		ORDER BY weight DESC, seq LIMIT ?`, queue, t.now, max)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(owed))
	for i, r := range owed {
		ids[i] = r.id
		to := r.status
		if statuses[to] == backend.StatusWaiting {
			to = number(backend.StatusPending)
		}
		if err := t.exec("UPDATE task SET status = ?, hints = hints + 1, hinted = ? WHERE seq = ?", to, t.now, r.seq); err != nil {
			return nil, err
		}
		t.count(r.queue, r.status, to)
	}
	return ids, nil
}
