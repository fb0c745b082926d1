package pipe

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

func (p store) Queues(context.Context) ([]backend.QueueCounts, error) { return nil, refused("Queues") }

func (p store) Ahead(context.Context, string) (backend.Count, error) {
	return backend.Count{}, refused("Ahead")
}

func (p store) Adjust(context.Context, backend.Adjustment) (backend.Task, error) {
	return backend.Task{}, refused("Adjust")
}

func (p store) Delete(context.Context, string) error { return refused("Delete") }

func (p docs) Latest(context.Context, string, string, int) ([]backend.Doc, error) {
	return nil, refused("Latest")
}
