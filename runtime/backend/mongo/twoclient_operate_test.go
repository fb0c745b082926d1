package mongo_test

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

func (s *inTurnStore) Queues(ctx context.Context) ([]backend.QueueCounts, error) {
	return s.next().Queues(ctx)
}

func (s *inTurnStore) Ahead(ctx context.Context, id string) (backend.Count, error) {
	return s.next().Ahead(ctx, id)
}

func (s *inTurnStore) Adjust(ctx context.Context, a backend.Adjustment) (backend.Task, error) {
	return s.next().Adjust(ctx, a)
}

func (s *inTurnStore) Delete(ctx context.Context, id string) error { return s.next().Delete(ctx, id) }

func (s *inTurnDocs) Latest(ctx context.Context, prefix, before string, max int) ([]backend.Doc, error) {
	return s.next().Latest(ctx, prefix, before, max)
}
