package history

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

// Store returns a Store that counts the tasks inserted through it. In a transaction they count once it has committed.
// The Store has none of s's optional interfaces.
func (r *Recorder) Store(s backend.Store) backend.Store { return countingStore{s, r} }

type countingStore struct {
	backend.Store
	r *Recorder
}

func (s countingStore) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	floor := s.r.floor()
	stored, err := s.Store.Insert(ctx, tasks)
	if err != nil {
		return stored, err
	}
	if tx := backend.TxFrom(ctx); tx != nil {
		tx.AfterCommit(func() { s.r.inserted(tasks, stored, floor) })
	} else {
		s.r.inserted(tasks, stored, floor)
	}
	return stored, nil
}
