package embedded_test

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

func (m mixedStore) Queues(ctx context.Context) (counts []backend.QueueCounts, err error) {
	if !m.r.other() {
		return m.here.Queues(ctx)
	}
	err = m.r.call(ctx, "store", "Queues", []any{}, &counts)
	return counts, err
}

func (m mixedStore) Ahead(ctx context.Context, id string) (n backend.Count, err error) {
	if !m.r.other() {
		return m.here.Ahead(ctx, id)
	}
	err = m.r.call(ctx, "store", "Ahead", []any{id}, &n)
	return n, err
}

func (m mixedStore) Adjust(ctx context.Context, a backend.Adjustment) (t backend.Task, err error) {
	if !m.r.other() {
		return m.here.Adjust(ctx, a)
	}
	err = m.r.call(ctx, "store", "Adjust", []any{a}, &t)
	return t, err
}

func (m mixedStore) Delete(ctx context.Context, id string) error {
	if !m.r.other() {
		return m.here.Delete(ctx, id)
	}
	return m.r.call(ctx, "store", "Delete", []any{id})
}

func (m mixedDocs) Latest(ctx context.Context, prefix, before string, max int) (found []backend.Doc, err error) {
	if !m.r.other() {
		return m.here.Latest(ctx, prefix, before, max)
	}
	err = m.r.call(ctx, "docs", "Latest", []any{prefix, before, max}, &found)
	return found, err
}
