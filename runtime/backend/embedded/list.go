package embedded

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// A clause collects the conditions of a WHERE clause.
type clause struct {
	terms []string
	args  []any
}

func (c *clause) and(term string, args ...any) {
	c.terms = append(c.terms, term)
	c.args = append(c.args, args...)
}

func (c *clause) String() string {
	if len(c.terms) == 0 {
		return ""
	}
	return "WHERE " + strings.Join(c.terms, " AND ") + " "
}

// List implements backend.Store. A task's seq is its creation time, so the order by creation is that of rowids. The
// order by end sorts all matching tasks.
func (s *store) List(ctx context.Context, q backend.TaskQuery) (backend.TaskPage, error) {
	var page backend.TaskPage
	if err := q.Check(); err != nil {
		return page, err
	}
	match := matching(q)
	if err := s.count(ctx, &page, q, match); err != nil {
		return page, err
	}
	if q.Cursor != "" {
		if err := match.from(q); err != nil {
			return page, err
		}
	}
	found, more, err := s.page(ctx, q, match)
	if err != nil {
		return page, err
	}
	if more {
		page.Cursor = cursorOf(found[len(found)-1])
	}
	page.Tasks = tasksOf(found)
	return page, nil
}

// page reads the tasks of one page and reports whether more match. It reads at most one task more than the page holds.
func (s *store) page(ctx context.Context, q backend.TaskQuery, match *clause) (found []*record, more bool, err error) {
	query := selectTask + match.String()
	switch q.Sort {
	case backend.SortNewest:
		query += "ORDER BY task.seq DESC LIMIT ?"
	case backend.SortOldest:
		query += "ORDER BY task.seq LIMIT ?"
	case backend.SortEnded: // sort without the large columns, then read the tasks in that order
		query = "SELECT " + taskColumns + "FROM (SELECT seq AS at FROM task " + match.String() + `
			ORDER BY ended DESC, task.seq DESC LIMIT ?) AS page
			CROSS JOIN task ON task.seq = page.at LEFT JOIN payload ON payload.seq = task.seq`
	}
	rows, err := s.db.read(ctx, query, append(match.args, q.Limit+1)...)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	for bytes := 0; rows.Next() && !more; {
		r, err := scanRecord(rows)
		if err != nil {
			return nil, false, s.db.file.readError(ctx, err)
		}
		size := r.Size()
		if more = !q.Takes(len(found), bytes, size); !more {
			found, bytes = append(found, r), bytes+size
		}
	}
	if err := rows.Err(); err != nil {
		return nil, false, s.db.file.readError(ctx, err)
	}
	return found, more, nil
}

// matching returns the conditions of a query.
func matching(q backend.TaskQuery) *clause {
	c := new(clause)
	if q.Source != "" {
		c.and("source = ? AND source IS NOT NULL", q.Source)
	}
	if q.Queue != "" {
		c.and("queue = ?", q.Queue)
	}
	if numbers := numbers(q.Statuses); len(numbers) > 0 {
		term := "status IN (SELECT value FROM json_each(?))"
		if !slices.ContainsFunc(numbers, func(n int) bool { return n <= number(backend.StatusSuccess) }) {
			term += " AND status > 4" // these are few and indexed
		}
		c.and(term, list(numbers))
	}
	if !q.After.IsZero() {
		c.and("task.seq >= ?", instant.Of(q.After))
	}
	if !q.Before.IsZero() {
		c.and("task.seq < ?", instant.Of(q.Before))
	}
	return c
}

// count sets the total of a page, from the table tally if possible.
func (s *store) count(ctx context.Context, page *backend.TaskPage, q backend.TaskQuery, match *clause) error {
	if q.Source != "" || !q.After.IsZero() || !q.Before.IsZero() {
		n := 0
		_, err := s.db.readRow(ctx, "SELECT count(*) FROM (SELECT 1 FROM task "+match.String()+"LIMIT ?)",
			append(slices.Clone(match.args), backend.MaxTotal+1), &n)
		page.Total, page.AtLeast = backend.BoundedTotal(n)
		return err
	}
	c := new(clause)
	if q.Queue != "" {
		c.and("queue = ?", q.Queue)
	}
	if len(q.Statuses) > 0 {
		c.and("status IN (SELECT value FROM json_each(?))", list(numbers(q.Statuses)))
	}
	_, err := s.db.readRow(ctx, "SELECT ifnull(sum(n), 0) FROM tally "+c.String(), c.args, &page.Total)
	return err
}

func numbers(list []backend.Status) []int {
	var all []int
	for _, s := range list {
		all = append(all, number(s))
	}
	return all
}

// cursorOf returns the cursor of the page that ends with r: when r ended, if it did, and its seq.
func cursorOf(r *record) string {
	return strconv.FormatInt(instant.Of(r.Ended), 36) + " " + strconv.FormatInt(r.seq, 36)
}

// from selects the tasks after a query's cursor.
func (c *clause) from(q backend.TaskQuery) error {
	first, second, _ := strings.Cut(q.Cursor, " ")
	ended, err := strconv.ParseInt(first, 36, 64)
	seq, err2 := strconv.ParseInt(second, 36, 64)
	if err != nil || err2 != nil {
		return backend.BadCursor(q.Cursor)
	}
	switch q.Sort {
	case backend.SortOldest:
		c.and("task.seq > ?", seq)
	case backend.SortEnded:
		c.and("(ended, task.seq) < (?, ?)", ended, seq)
	default:
		c.and("task.seq < ?", seq)
	}
	return nil
}
