package embedded

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

// purgeChunk is how many tasks one transaction deletes, so that others write between.
const purgeChunk = 100

// Purge implements backend.Store. A family is as old as what ended last in it, and counts once, in the queue of its
// source. One larger than max goes in several calls, its source last. If it has left many pages free the file shrinks.
func (s *store) Purge(ctx context.Context, keep backend.Retention, max int) (int, error) {
	n := 0
	for n < max {
		chunk := min(max-n, purgeChunk)
		deleted, err := write(ctx, s.db.writer, func(tx *tx) (int, error) { return tx.purge(keep, chunk) })
		if n += deleted; err != nil {
			return n, err
		}
		if deleted < chunk {
			break
		}
	}
	return n, s.shrink(ctx)
}

// purge deletes up to max tasks.
func (t *tx) purge(keep backend.Retention, max int) (n int, err error) {
	for n < max {
		root, err := t.oldest(keep)
		if err != nil || root == "" {
			return n, err
		}
		deleted, err := t.purgeFamily(root, max-n)
		if n += deleted; err != nil {
			return n, err
		}
	}
	return n, nil
}

// oldest returns the root of a family that is to go; "" where there is none.
func (t *tx) oldest(keep backend.Retention) (root string, err error) {
	queues, err := queryAll(t, scanOne[string], "SELECT DISTINCT queue FROM tally")
	if err != nil {
		return "", err
	}
	for _, q := range queues {
		found := false
		if keep.Age > 0 {
			found, err = t.row("SELECT id FROM task WHERE queue = ? AND closed < ? AND closed IS NOT NULL ORDER BY closed, seq LIMIT 1",
				[]any{q, t.now - int64(keep.Age)}, &root)
		}
		if keep.Max > 0 && !found && err == nil {
			// The one before the youngest Max.
			found, err = t.row("SELECT id FROM task WHERE queue = ? AND closed IS NOT NULL ORDER BY closed DESC, seq DESC LIMIT 1 OFFSET ?",
				[]any{q, keep.Max}, &root)
		}
		if err != nil || found {
			return root, err
		}
	}
	return "", nil
}

// purgeFamily deletes up to max tasks of a family: what was never committed to it, then the youngest first, for a subtask
// is younger than its source.
func (t *tx) purgeFamily(root string, max int) (int, error) {
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
		if r.gate == held { // its batch can't be committed without it
			if err := t.exec(`UPDATE batch SET discarded = 1, held = EXISTS (SELECT 1 FROM task WHERE source = ?1 AND batch = batch.name
				AND gate = 2 AND gate > 0 AND seq <> ?2) WHERE source = ?1 AND name = (SELECT batch FROM task WHERE seq = ?2)`, r.source, r.seq); err != nil {
				return 0, err
			}
		}
		if err := t.forget(r); err != nil {
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
