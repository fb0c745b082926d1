package embedded

import (
	"context"
	"math"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// purgeChunk is how many tasks one transaction deletes, so that other changes are written in between.
const purgeChunk = 100

// Purge implements backend.Store. The age of a tree is that of the task that ended last, and a tree counts as one task
// of its root's queue. A tree larger than max is deleted by several calls, its root last. If many pages become free,
// the file shrinks.
func (s *store) Purge(ctx context.Context, keep backend.Retention, max int) (int, error) {
	limits, err := s.purgeLimits(ctx, keep)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, l := range limits {
		for n < max {
			chunk := min(max-n, purgeChunk)
			deleted, err := write(ctx, s.db.writer, func(tx *tx) (int, error) { return tx.purgeSome(l, chunk) })
			if n += deleted; err != nil {
				return n, err
			}
			if deleted < chunk {
				break
			}
		}
	}
	return n, s.shrink(ctx)
}

// A purgeLimit is the last tree of a queue to delete. Trees are ordered by their end, then by the seq of their root.
type purgeLimit struct {
	queue       string
	closed, seq int64
}

// purgeLimits returns the queues with trees to delete. Trees that end later only make a limit too low.
func (s *store) purgeLimits(ctx context.Context, keep backend.Retention) (limits []purgeLimit, err error) {
	queues, err := readAll(ctx, s.db, scanOne[string], "SELECT DISTINCT queue FROM tally")
	if err != nil {
		return nil, err
	}
	now := instant.Of(s.db.now())
	for _, q := range queues {
		l := purgeLimit{queue: q}
		found := false
		if keep.Max > 0 {
			// The newest Max are skipped. This reads the index only, but so many entries.
			exceeds, err := s.ended.Exceeds(q, now, keep.Max, func(after, notAfter int64, limit int) (n int, err error) {
				_, err = s.db.readRow(ctx, `SELECT count(*) FROM (SELECT 1 FROM task WHERE queue = ? AND closed > ?
					AND closed <= ? AND closed IS NOT NULL LIMIT ?)`, []any{q, after, notAfter, limit}, &n)
				return n, err
			})
			if err == nil && exceeds {
				found, err = s.db.readRow(ctx, `SELECT closed, seq FROM task WHERE queue = ? AND closed IS NOT NULL
					ORDER BY closed DESC, seq DESC LIMIT 1 OFFSET ?`, []any{q, keep.Max}, &l.closed, &l.seq)
			}
			if err != nil {
				return nil, err
			}
		}
		if old := now - int64(keep.Age) - 1; keep.Age > 0 && (!found || l.closed <= old) {
			l.closed, l.seq, found = old, math.MaxInt64, true
		}
		if !keep.Before.IsZero() {
			if last := instant.Of(keep.Before) - 1; l.closed > last {
				l.closed, l.seq = last, math.MaxInt64
			}
		}
		if !found {
			continue
		}
		var oldest int64
		if found, err = s.db.readRow(ctx, `SELECT closed FROM task WHERE queue = ? AND closed IS NOT NULL
			ORDER BY closed, seq LIMIT 1`, []any{q}, &oldest); err != nil {
			return nil, err
		}
		if found && oldest <= l.closed {
			limits = append(limits, l)
		}
	}
	return limits, nil
}

// purgeSome deletes up to max tasks of trees up to a limit, oldest first.
func (t *tx) purgeSome(l purgeLimit, max int) (n int, err error) {
	for n < max {
		var root string
		found, err := t.row(`SELECT id FROM task WHERE queue = ? AND (closed, seq) <= (?, ?) AND closed IS NOT NULL
			ORDER BY closed, seq LIMIT 1`, []any{l.queue, l.closed, l.seq}, &root)
		if err != nil || !found {
			return n, err
		}
		deleted, err := t.purgeTree(root, max-n)
		if n += deleted; err != nil {
			return n, err
		}
	}
	return n, nil
}

// purgeTree deletes up to max tasks of a tree, and at least one: the newest first, since a subtask is newer than its
// source, and the uncommitted subtasks of each task before it.
func (t *tx) purgeTree(root string, max int) (int, error) {
	gone, err := t.rows("root = ? AND root IS NOT NULL ORDER BY seq DESC LIMIT ?", root, max)
	if err != nil {
		return 0, err
	}
	if len(gone) < max {
		last, err := t.oneRow(root)
		if err != nil {
			return 0, err
		}
		gone = append(gone, last)
	}
	// Uncommitted subtasks may have some themselves, whose insert never got further.
	for under := gone; ; {
		if under, err = t.uncommittedUnder(under, max); err != nil {
			return 0, err
		}
		if len(under) == 0 {
			break
		}
		gone = under
	}
	for _, r := range gone {
		if r.gate == uncommitted { // its batch can no longer be committed
			if err := t.exec(`UPDATE batch SET discarded = 1, held = EXISTS (SELECT 1 FROM task WHERE source = ?1
				AND batch = batch.name AND gate = 2 AND gate > 0 AND seq <> ?2)
				WHERE source = ?1 AND name = (SELECT batch FROM task WHERE seq = ?2)`,
				r.source, r.seq); err != nil {
				return 0, err
			}
		}
		if err := t.deleteTask(r); err != nil {
			return 0, err
		}
		if err := t.exec("DELETE FROM batch WHERE source = ?", r.id); err != nil {
			return 0, err
		}
		if err := t.exec("DELETE FROM family WHERE source = ?", r.id); err != nil {
			return 0, err
		}
	}
	return len(gone), nil
}

// uncommittedUnder returns up to max uncommitted subtasks of sources.
func (t *tx) uncommittedUnder(sources []*row, max int) ([]*row, error) {
	ids := make([]string, len(sources))
	for i, r := range sources {
		ids[i] = r.id
	}
	return t.rows("gate = 2 AND gate > 0 AND source IN (SELECT value FROM json_each(?)) LIMIT ?", list(ids), max)
}
