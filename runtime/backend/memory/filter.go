package memory

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/look"
)

// listFiltered is List for a query with a filter.
func (s *store) listFiltered(ctx context.Context, q backend.TaskQuery) (backend.TaskPage, error) {
	part := q
	part.Filter = backend.TaskFilter{}
	read := func(ctx context.Context, limit, bytes int, at string) ([]backend.Task, string, error) {
		if err := checkContext(ctx); err != nil {
			return nil, "", err
		}
		from, err := parseCursor(at)
		if err != nil {
			return nil, "", err
		}
		part.Limit, part.Bytes = limit, bytes
		s.mu.Lock()
		defer s.mu.Unlock()
		tasks, next := s.page(part, from)
		return tasks, next, nil
	}
	return look.Page(ctx, q, read, func(t *backend.Task) string { return cursorOf(t, q.Sort).String() })
}
