package memory

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

// deleteChunk is how many tasks Delete deletes before it releases the store's mutex for a moment.
const deleteChunk = 1024

// Delete implements backend.Store. If the rest of a tree gets subtasks after a part was deleted, the rest stays.
func (s *store) Delete(ctx context.Context, id string) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	root := s.tasks[id]
	s.mu.Unlock()
	for root != nil {
		done, err := s.deleteSome(root)
		if done || err != nil {
			return err
		}
	}
	return nil
}

// deleteSome deletes up to deleteChunk tasks of a tree and reports whether they were the last ones.
func (s *store) deleteSome(root *record) (done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case root.deleted:
		return true, nil
	case root.root != nil || root.uncommitted:
		return false, backend.ErrorNotDeletable(root.ID, backend.PartOfTree)
	case !root.Status.Final():
		return false, backend.ErrorNotDeletable(root.ID, backend.NotEnded)
	case root.unfinished > 0:
		return false, backend.ErrorNotDeletable(root.ID, backend.TreeNotEnded)
	}
	s.purgeTree(root, deleteChunk)
	return root.deleted, nil
}
