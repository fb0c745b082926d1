package fault

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

func (s store) Queues(ctx context.Context) ([]backend.QueueCounts, error) {
	return through(ctx, s.p, call{"Queues", nil, toStore}, s.in.Queues)
}

func (s store) Ahead(ctx context.Context, id string) (backend.Count, error) {
	return through(ctx, s.p, call{"Ahead", id, toStore}, func(ctx context.Context) (backend.Count, error) {
		return s.in.Ahead(ctx, id)
	})
}

func (s store) Adjust(ctx context.Context, a backend.Adjustment) (backend.Task, error) {
	return through(ctx, s.p, call{"Adjust", a, toStore}, func(ctx context.Context) (backend.Task, error) {
		return s.in.Adjust(ctx, a)
	})
}

func (s store) Delete(ctx context.Context, id string) error {
	return only(ctx, s.p, call{"Delete", id, toStore}, func(ctx context.Context) error { return s.in.Delete(ctx, id) })
}

func (d docs) Latest(ctx context.Context, prefix, before string, max int) ([]backend.Doc, error) {
	return through(ctx, d.p, call{"Latest", prefix, toStore}, func(ctx context.Context) ([]backend.Doc, error) {
		return d.in.Latest(ctx, prefix, before, max)
	})
}
