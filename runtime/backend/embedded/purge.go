package embedded

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

// purgeChunk is how many tasks one transaction deletes, so that other changes are written in between.
const purgeChunk = 100

// Purge implements backend.Store. The age of a tree is that of the task that ended last, and a tree counts as one task
// of its root's queue. A tree larger than max is deleted by several calls, its root last. If many pages become free,
// the file shrinks.
func (s *store) Purge(ctx context.Context, keep backend.Retention, max int) (int, error) {
	n := 0
	for n < max {
		chunk := min(max-n, purgeChunk)
		deleted, err := write(ctx, s.db.writer, func(tx *tx) (int, error) { return tx.purgeSome(keep, chunk) })
		if n += deleted; err != nil {
			return n, err
		}
		if deleted < chunk {
			break
		}
	}
	return n, s.shrink(ctx)
}

// purgeSome deletes up to max tasks.
func (t *tx) purgeSome(keep backend.Retention, max int) (n int, err error) {
	for n < max {
		root, err := t.oldestTree(keep)
		if err != nil || root == "" {
			return n, err
		}
		deleted, err := t.purgeTree(root, max-n)
		if n += deleted; err != nil {
			return n, err
		}
	}
	return n, nil
}

// oldestTree returns the root of a tree to delete, or "" if there is none.
func (t *tx) oldestTree(keep backend.Retention) (root string, err error) {
	queues, err := queryAll(t, scanOne[string], "SELECT DISTINCT queue FROM tally")
	if err != nil {
		return "", err
	}
	for _, q := range queues {
		found := false
		if keep.Age > 0 {
			found, err = t.row(`SELECT id FROM task WHERE queue = ? AND closed < ? AND closed IS NOT NULL
				ORDER BY closed, seq LIMIT 1`, []any{q, t.now - int64(keep.Age)}, &root)
		}
		if keep.Max > 0 && !found && err == nil {
			// Skip the newest Max.
			found, err = t.row(`SELECT id FROM task WHERE queue = ? AND closed IS NOT NULL
				ORDER BY closed DESC, seq DESC LIMIT 1 OFFSET ?`, []any{q, keep.Max}, &root)
		}
		if err != nil || found {
			return root, err
		}
	}
	return "", nil
}

// purgeTree deletes up to max tasks of a tree: uncommitted ones first, then the newest, since a subtask is newer than
// its source.
func (t *tx) purgeTree(root string, max int) (int, error) {
	gone, err := t.rows(`gate = 2 AND gate > 0 AND source IN
		(SELECT ?1 UNION ALL SELECT id FROM task WHERE root = ?1 AND root IS NOT NULL) LIMIT ?2`, root, max)
	if err != nil {
		return 0, err
	}
	kin, err := t.rows("root = ? AND root IS NOT NULL ORDER BY seq DESC LIMIT ?", root, max-len(gone))
	if err != nil {
		return 0, err
	}
	if gone = append(gone, kin...); len(gone) < max {
		last, err := t.oneRow(root)
		if err != nil {
			return 0, err
		}
		gone = append(gone, last)
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
