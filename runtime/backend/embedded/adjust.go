package embedded

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

// Adjust implements backend.Store.
func (s *store) Adjust(ctx context.Context, a backend.Adjustment) (backend.Task, error) {
	return write(ctx, s.db.writer, func(tx *tx) (backend.Task, error) {
		r, err := tx.oneRow(a.ID)
		switch {
		case err != nil:
			return backend.Task{}, err
		case r == nil:
			return backend.Task{}, noTask(a.ID)
		}
		status := statuses[r.status]
		switch {
		case status.Final() || a.Now && status == backend.StatusRunning:
			return backend.Task{}, a.ErrorRefused(status)
		case a.Now && r.gate != gateOpen:
			return backend.Task{}, a.ErrorGated()
		}
		if a.Weight != nil {
			if err := tx.exec("UPDATE task SET weight = ? WHERE seq = ?", *a.Weight, r.seq); err != nil {
				return backend.Task{}, err
			}
		}
		if a.Now && r.due > tx.now {
			if err := tx.exec("UPDATE task SET due = ?, place = 1, hints = 0 WHERE seq = ?", tx.now, r.seq); err != nil {
				return backend.Task{}, err
			}
		}
		heads, err := tx.currentHeads([]*row{r})
		if err != nil {
			return backend.Task{}, err
		}
		return heads[0], nil
	})
}

// Delete implements backend.Store. A large tree is deleted by several transactions, its root last. If the rest gets
// subtasks meanwhile, it stays.
func (s *store) Delete(ctx context.Context, id string) error {
	for {
		done, err := write(ctx, s.db.writer, func(tx *tx) (done bool, err error) { return tx.deleteSome(id, purgeChunk) })
		if done || err != nil {
			return err
		}
	}
}

// deleteSome deletes up to max tasks of the tree of a root, and reports whether these were the last ones.
func (t *tx) deleteSome(root string, max int) (done bool, err error) {
	r, err := t.oneRow(root)
	switch {
	case err != nil:
		return false, err
	case r == nil:
		return true, nil
	case r.root != "" || r.gate == uncommitted:
		return false, backend.ErrorNotDeletable(root, backend.PartOfTree)
	case !statuses[r.status].Final():
		return false, backend.ErrorNotDeletable(root, backend.NotEnded)
	}
	ended, err := t.exists("SELECT 1 FROM task WHERE seq = ? AND closed IS NOT NULL", r.seq)
	if err != nil {
		return false, err
	}
	if !ended {
		return false, backend.ErrorNotDeletable(root, backend.TreeNotEnded)
	}
	if _, err := t.purgeTree(root, max); err != nil {
		return false, err
	}
	exists, err := t.exists("SELECT 1 FROM task WHERE seq = ?", r.seq)
	return !exists, err
}
