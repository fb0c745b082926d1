package embedded

import (
	"context"
	"errors"

	"github.com/afgen/afgen/runtime/backend"
)

// A batchKey identifies a batch: the subtasks of one call to Subtasks.
type batchKey struct{ source, name string }

// touchBatch records that a new task was inserted into a batch.
func (t *tx) touchBatch(k batchKey) error {
	return t.exec(`INSERT INTO batch (source, name, since, held) VALUES (?1, ?2, ?3, 1)
		ON CONFLICT DO UPDATE SET since = ?3, held = 1, discarded = 0`, k.source, k.name, t.now)
}

// touchExistingBatch records that an existing subtask was inserted again. The age of a batch is that of its last
// Insert.
func (t *tx) touchExistingBatch(k batchKey) error {
	return t.exec("UPDATE batch SET since = ? WHERE source = ? AND name = ? AND held = 1", t.now, k.source, k.name)
}

// enterChunk is how many tasks of a large batch one transaction adds to the set or deletes, so that other changes are
// written in between.
const enterChunk = 500

// Spawn implements backend.Store. The first transaction commits a batch of more than enterChunk tasks, and further ones
// add its tasks to the set. If the process dies in between, Unfinished returns the batch and Discard adds the rest.
func (s *store) Spawn(ctx context.Context, sp backend.Spawn) error {
	type committed struct{ entering, open bool }
	c, err := write(ctx, s.db.writer, func(tx *tx) (c committed, err error) {
		source, err := tx.oneRow(sp.Source)
		if err != nil {
			return c, err
		}
		if source == nil {
			return c, noTask(sp.Source)
		}
		if sp.Stale(statuses[source.status], source.fence) {
			return c, sp.ErrorStale()
		}
		if source.gate == uncommitted {
			return c, sp.ErrorUncommitted()
		}
		large, err := tx.isLarge(sp)
		if err != nil {
			return c, err
		}
		if c.entering, err = tx.commitSpawn(source, sp, large); err != nil {
			return c, err
		}
		open := sp.Now || statuses[source.status] == backend.StatusSuccess
		c.open = open && large
		if open && !large {
			return c, tx.openGates("source = ?2 AND batch = ?3 AND gate = 1 AND gate > 0", sp.Source, sp.Batch)
		}
		return c, nil
	})
	if err == nil && c.entering {
		err = partlyDone(s.enterBatch(ctx, batchKey{sp.Source, sp.Batch}))
	}
	if err == nil && c.open {
		err = partlyDone(s.openGates(ctx, sp.Source, &sp.Batch))
	}
	return err
}

// isLarge reports whether a batch has more tasks than one transaction should change.
func (t *tx) isLarge(sp backend.Spawn) (bool, error) {
	if sp.Count > 0 {
		return sp.Count > enterChunk, nil
	}
	return t.exists("SELECT 1 FROM task WHERE source = ? AND batch = ? AND gate > 0 LIMIT 1 OFFSET ?", sp.Source, sp.Batch,
		enterChunk)
}

// partlyDone changes the outcome of an error that occurred after a first transaction was committed.
func partlyDone(err error) error {
	if e, ok := errors.AsType[*backend.Error](err); ok && e.Outcome == backend.OutcomeNotSent {
		return e.With(backend.OutcomeUnknown)
	}
	return err
}

// commitSpawn commits a batch, unless it is committed completely. It reports whether tasks remain to be added to the
// set.
func (t *tx) commitSpawn(source *row, sp backend.Spawn, large bool) (entering bool, err error) {
	k := batchKey{sp.Source, sp.Batch}
	b, err := t.batch(k)
	if err != nil {
		return false, err
	}
	if b.committed && (b.entering || !b.held) {
		n, err := t.countCommitted(sp, b.entering)
		if err == nil && n < sp.Count {
			err = sp.ErrorPartial(n)
		}
		return b.entering, err
	}
	if err := t.mayCommit(source, sp, b); err != nil {
		return false, err
	}
	return large, t.commitBatch(source, k, large)
}

// A batchState is the row of a batch; the zero value if there is none.
type batchState struct{ committed, held, entering, discarded bool }

func (t *tx) batch(k batchKey) (b batchState, err error) {
	_, err = t.row("SELECT committed, held, entering, discarded FROM batch WHERE source = ? AND name = ?",
		[]any{k.source, k.name},
		&b.committed, &b.held, &b.entering, &b.discarded)
	return b, err
}

// mayCommit returns an error if a source takes no more subtasks, or not these.
func (t *tx) mayCommit(source *row, sp backend.Spawn, b batchState) error {
	finished, err := t.exists("SELECT 1 FROM family WHERE source = ? AND finished", source.id)
	if err != nil {
		return err
	}
	if s := statuses[source.status]; finished || s == backend.StatusFailed || s == backend.StatusStopped {
		return sp.ErrorRefused()
	}
	if !b.committed {
		full, err := t.exists("SELECT 1 FROM batch WHERE source = ? AND committed LIMIT 1 OFFSET ?", sp.Source,
			backend.MaxBatches-1)
		if err != nil {
			return err
		}
		if full {
			return sp.ErrorFull()
		}
	}
	if b.discarded {
		return sp.ErrorDiscarded()
	}
	if sp.Count == 0 {
		return nil
	}
	var stored int
	if _, err := t.row("SELECT count(*) FROM task WHERE source = ? AND batch = ? AND gate = 2 AND gate > 0",
		[]any{sp.Source, sp.Batch},
		&stored); err != nil {
		return err
	}
	if b.committed {
		n, err := t.countCommitted(sp, false)
		if err != nil {
			return err
		}
		stored += n
	}
	if stored != sp.Count {
		return sp.ErrorPartial(stored)
	}
	return nil
}

// countChunk is how many ids one statement counts.
const countChunk = 10_000

// countCommitted returns how many of the first sp.Count tasks of a batch are committed; with entering, all count.
func (t *tx) countCommitted(sp backend.Spawn, entering bool) (n int, err error) {
	ids := make([]string, 0, min(sp.Count, countChunk))
	for i := range sp.Count {
		ids = append(ids, backend.SubtaskID(sp.Source, sp.Batch, i))
		if len(ids) < countChunk && i < sp.Count-1 {
			continue
		}
		var some int
		if _, err := t.row(`SELECT count(*) FROM task WHERE id IN (SELECT value FROM json_each(?)) AND source = ?
			AND batch = ? AND (gate <> 2 OR ?)`,
			[]any{list(ids), sp.Source, sp.Batch, entering}, &some); err != nil {
			return 0, err
		}
		n, ids = n+some, ids[:0]
	}
	return n, nil
}

// commitBatch makes a batch part of its source's set. The tasks of a large one are added later.
func (t *tx) commitBatch(source *row, k batchKey, large bool) error {
	root := source.root
	if root == "" {
		root = source.id
	}
	for _, s := range []struct {
		text string
		args []any
	}{
		{`INSERT INTO batch (source, name, since, held, committed, entering) VALUES (?1, ?2, ?3, ?4, 1, ?4)
			ON CONFLICT DO UPDATE SET held = ?4, committed = 1, entering = ?4`, []any{k.source, k.name, t.now, large}},
		{`INSERT INTO family (source, root, changed) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET changed = ?3`,
			[]any{k.source, root, t.now}},
		{`UPDATE task SET closed = NULL WHERE id = ?`, []any{root}},
	} {
		if err := t.exec(s.text, s.args...); err != nil {
			return err
		}
	}
	if large {
		return nil
	}
	return t.exec("UPDATE task SET gate = 1, root = ? WHERE source = ? AND batch = ? AND gate = 2 AND gate > 0", root,
		k.source, k.name)
}

// enterBatch adds the remaining tasks of a committed batch to the set.
func (s *store) enterBatch(ctx context.Context, k batchKey) error {
	for after := int64(0); ; {
		last, err := write(ctx, s.db.writer, func(tx *tx) (int64, error) { return tx.enterSome(k, after) })
		if err != nil || last == 0 {
			return err
		}
		after = last
	}
}

// enterSome adds up to enterChunk tasks of a batch, created after an instant, to the set. It returns when the last of
// them was created, or 0 if there are no more.
func (t *tx) enterSome(k batchKey, after int64) (int64, error) {
	b, err := t.batch(k)
	if err != nil || !b.entering {
		return 0, err
	}
	seqs, err := queryAll(t, scanOne[int64], `SELECT seq FROM task WHERE source = ?1 AND batch = ?2 AND gate = 2
		AND gate > 0 AND seq > ?3 ORDER BY seq LIMIT ?4`, k.source, k.name, after, enterChunk)
	if err != nil {
		return 0, err
	}
	if len(seqs) > 0 {
		if err := t.exec(`UPDATE task SET gate = 1, root = (SELECT root FROM family WHERE family.source = ?1)
			WHERE seq IN (SELECT value FROM json_each(?2))`, k.source, list(seqs)); err != nil {
			return 0, err
		}
		return seqs[len(seqs)-1], nil
	}
	// Tasks inserted meanwhile are not committed.
	return 0, t.exec(`UPDATE batch SET entering = 0, held = EXISTS (SELECT 1 FROM task WHERE task.source = ?1
		AND batch = ?2 AND gate = 2 AND gate > 0) WHERE source = ?1 AND name = ?2`, k.source, k.name)
}

// openGates makes live committed subtasks wait in their queues. where selects them; its arguments start at ?2.
func (t *tx) openGates(where string, args ...any) error {
	return t.exec(`UPDATE task SET gate = 0, place = CASE WHEN status >= 4 THEN 0 WHEN due <= ?1 THEN 1 ELSE 2 END
		WHERE `+where,
		append([]any{t.now}, args...)...)
}

// Discard implements backend.Store. While the source exists, which might commit the batch, the batch is remembered as
// discarded.
func (s *store) Discard(ctx context.Context, source, name string) error {
	k := batchKey{source, name}
	type discard struct{ more, entering bool }
	for {
		d, err := write(ctx, s.db.writer, func(tx *tx) (d discard, err error) {
			b, err := tx.batch(k)
			if err != nil || b.entering {
				return discard{entering: b.entering}, err
			}
			d.more, err = tx.discardSome(k)
			return d, err
		})
		switch {
		case err != nil:
			return err
		case d.entering: // committed
			return s.enterBatch(ctx, k)
		case !d.more:
			return nil
		}
	}
}

// discardSome deletes up to enterChunk uncommitted tasks of a batch. It reports whether there may be more.
func (t *tx) discardSome(k batchKey) (more bool, err error) {
	gone, err := t.rows("source = ? AND batch = ? AND gate = 2 AND gate > 0 LIMIT ?", k.source, k.name, enterChunk)
	if err != nil {
		return false, err
	}
	ids := make([]string, len(gone))
	for i, r := range gone {
		ids[i] = r.id
		if err := t.deleteTask(r); err != nil {
			return false, err
		}
	}
	if err := t.forgetDiscarded(ids); err != nil {
		return false, err
	}
	more = len(gone) == enterChunk
	there, err := t.exists("SELECT 1 FROM task WHERE id = ?", k.source)
	if err != nil {
		return false, err
	}
	remember := there && len(gone) > 0
	if err := t.exec("UPDATE batch SET held = ?, discarded = discarded OR ? WHERE source = ? AND name = ?", more, remember,
		k.source, k.name); err != nil {
		return false, err
	}
	return more, t.exec("DELETE FROM batch WHERE source = ? AND name = ? AND NOT committed AND NOT discarded AND NOT held",
		k.source, k.name)
}

// forgetDiscarded forgets which batches of deleted sources were discarded. Batches that have uncommitted tasks stay, for
// Unfinished.
func (t *tx) forgetDiscarded(sources []string) error {
	if len(sources) == 0 {
		return nil
	}
	if err := t.exec("DELETE FROM batch WHERE source IN (SELECT value FROM json_each(?)) AND NOT held",
		list(sources)); err != nil {
		return err
	}
	return t.exec("UPDATE batch SET discarded = 0 WHERE source IN (SELECT value FROM json_each(?))", list(sources))
}

// deleteTask deletes a task.
func (t *tx) deleteTask(r *row) error {
	t.countTransition(r.queue, r.status, none)
	if err := t.exec("DELETE FROM task WHERE seq = ?", r.seq); err != nil {
		return err
	}
	return t.exec("DELETE FROM payload WHERE seq = ?", r.seq)
}
