package conform

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

func (m *model) Queues(context.Context) ([]backend.QueueCounts, error) {
	return nil, backend.NewError(backend.ErrUnimplemented, "Queues")
}

func (m *model) Ahead(context.Context, string) (backend.Count, error) {
	return backend.Count{}, backend.NewError(backend.ErrUnimplemented, "Ahead")
}

func (m *model) Adjust(context.Context, backend.Adjustment) (backend.Task, error) {
	return backend.Task{}, backend.NewError(backend.ErrUnimplemented, "Adjust")
}

func (m *model) Delete(context.Context, string) error {
	return backend.NewError(backend.ErrUnimplemented, "Delete")
}
