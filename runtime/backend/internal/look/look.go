// Package look finds tasks by the conditions of a [backend.TaskFilter], for which stores have no index: it reads the
// tasks that match the rest of a query in their order, and stops at a bound.
package look

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A Reader reads part of a list without its total: up to limit tasks and about bytes bytes after a cursor, at least one
// task if any is left, and the cursor of the rest, or "".
type Reader func(ctx context.Context, limit, bytes int, cursor string) (tasks []backend.Task, next string, err error)

const (
	atFirst   = 100 // tasks of the first part, since pages of a common value are found at once
	atOnce    = 1000
	partBytes = 4 << 20
)

// Page returns a page of a query with a filter. The query must have passed Check. cursorOf returns the cursor of the
// tasks after a task in the order of the query.
func Page(ctx context.Context, q backend.TaskQuery, read Reader, cursorOf func(*backend.Task) string) (
	page backend.TaskPage, err error,
) {
	started, bytes, limit := time.Now(), 0, atFirst
	page.Cursor = q.Cursor
	for {
		tasks, next, err := read(ctx, min(limit, backend.MaxLooked-page.Looked), partBytes, page.Cursor)
		if err != nil {
			return backend.TaskPage{}, err
		}
		for i := range tasks {
			t := &tasks[i]
			matches, size := q.Filter.Matches(t), t.Size()
			if matches && !q.Takes(len(page.Tasks), bytes, size) {
				page.Total, page.AtLeast = len(page.Tasks), true
				return page, nil
			}
			if matches {
				page.Tasks = append(page.Tasks, *t)
				bytes += size
			}
			page.Looked, page.LookedTo, page.Cursor = page.Looked+1, t.Created, cursorOf(t)
		}
		if page.Cursor = next; next == "" {
			page.Total = len(page.Tasks)
			return page, nil
		}
		if page.Looked >= backend.MaxLooked || time.Since(started) >= backend.MaxLooking {
			page.Bounded, page.Total, page.AtLeast = true, len(page.Tasks), true
			return page, nil
		}
		limit = atOnce
	}
}
