package embedded

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// A promoteResult is the result of a Promote.
type promoteResult struct {
	ids    []string
	failed []backend.Task
	next   time.Duration
}

// Promote implements backend.Store. next also takes deadlines into account. If there is nothing to promote it only
// reads, as Claim does.
func (s *store) Promote(ctx context.Context, queue string, max int) ([]string, []backend.Task, time.Duration, error) {
	var overdue, ready int
	var due, deadline sql.NullInt64
	now := instant.Of(s.db.now())
	_, err := s.db.readRow(ctx, `SELECT
			EXISTS (SELECT 1 FROM task WHERE queue = ?1 AND deadline <= ?2 AND deadline IS NOT NULL AND status < 4
				AND status <> 2),
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
	p, err := write(ctx, s.db.writer, func(tx *tx) (promoteResult, error) { return tx.promote(queue, max) })
	return p.ids, p.failed, p.next, err
}

// Promotable implements backend.Store.
func (s *store) Promotable(ctx context.Context, queues []string, within time.Duration) ([]string, error) {
	names, err := json.Marshal(queues)
	if err != nil {
		return nil, backend.Errorf(backend.ErrInvalidArgument, "queues: %w", err)
	}
	return readAll(ctx, s.db, scanOne[string], `SELECT q.value FROM json_each(?1) AS q WHERE
		EXISTS (SELECT 1 FROM task WHERE queue = q.value AND place = 1) OR
		EXISTS (SELECT 1 FROM task WHERE queue = q.value AND place = 2 AND due <= ?2) OR
		EXISTS (SELECT 1 FROM task WHERE queue = q.value AND deadline <= ?2 AND deadline IS NOT NULL AND status < 4
			AND status <> 2)`, string(names), instant.Add(instant.Of(s.db.now()), within))
}

// sooner returns the time until the earlier of two instants, or 0 if both are NULL.
func sooner(a, b sql.NullInt64, now int64) time.Duration {
	switch {
	case !a.Valid && !b.Valid:
		return 0
	case !a.Valid || b.Valid && b.Int64 < a.Int64:
		a = b
	}
	return time.Duration(a.Int64 - now)
}

func (t *tx) promote(queue string, max int) (p promoteResult, err error) {
	if p.failed, err = t.failOverdue(queue); err != nil {
		return p, err
	}
	if err = t.moveDueToReady(queue); err != nil {
		return p, err
	}
	if max > 0 {
		if p.ids, err = t.markHinted(queue, max); err != nil {
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

// failOverdue fails waiting tasks whose deadline has passed (row 11). Running tasks may finish; they are checked again
// when they wait.
func (t *tx) failOverdue(queue string) ([]backend.Task, error) {
	overdue, err := t.rows(`queue = ? AND deadline <= ? AND deadline IS NOT NULL AND status < 4 AND status <> 2
		ORDER BY deadline, seq`, queue, t.now)
	if err != nil || len(overdue) == 0 {
		return nil, err
	}
	for _, r := range overdue {
		why := &backend.TaskError{Code: backend.ErrDeadlineExceeded, Message: "its deadline passed before it could run"}
		if err := t.endTask(r, backend.StatusFailed, nil, why); err != nil {
			return nil, err
		}
	}
	return t.currentHeads(overdue)
}

// markHinted marks up to max tasks that need a hint as hinted, best first (row 8). A task needs a hint if it has had
// none since it began to wait. The n-th hint is repeated after 5 s × 2ⁿ, at most 5 minutes.
func (t *tx) markHinted(queue string, max int) ([]string, error) {
	ready, err := t.rows(`queue = ? AND place = 1 AND (hints = 0 OR
			hinted + min(5000000000 << min(hints, 6), 300000000000) <= ?)
		ORDER BY weight DESC, seq LIMIT ?`, queue, t.now, max)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(ready))
	for i, r := range ready {
		ids[i] = r.id
		to := r.status
		if statuses[to] == backend.StatusWaiting {
			to = number(backend.StatusPending)
		}
		if err := t.exec("UPDATE task SET status = ?, hints = hints + 1, hinted = ? WHERE seq = ?", to, t.now,
			r.seq); err != nil {
			return nil, err
		}
		t.countTransition(r.queue, r.status, to)
	}
	return ids, nil
}
