package embedded

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

// Queues implements backend.Store.
func (s *store) Queues(ctx context.Context) ([]backend.QueueCounts, error) {
	return nil, backend.NewError(backend.ErrUnimplemented, "Queues")
}

// Ahead implements backend.Store.
func (s *store) Ahead(ctx context.Context, id string) (backend.Count, error) {
	return backend.Count{}, backend.NewError(backend.ErrUnimplemented, "Ahead")
}

// Adjust implements backend.Store.
func (s *store) Adjust(ctx context.Context, a backend.Adjustment) (backend.Task, error) {
	return backend.Task{}, backend.NewError(backend.ErrUnimplemented, "Adjust")
}

// Delete implements backend.Store.
func (s *store) Delete(ctx context.Context, id string) error {
	return backend.NewError(backend.ErrUnimplemented, "Delete")
}

// Latest implements backend.Docs.
func (d *docs) Latest(ctx context.Context, prefix, before string, max int) ([]backend.Doc, error) {
	return nil, backend.NewError(backend.ErrUnimplemented, "Latest")
}
