package embedded

import (
	"cmp"
	"context"
	"database/sql"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
	"github.com/afgen/afgen/runtime/backend/internal/look"
)

// List implements backend.Store. A task's seq is its creation time, so the order by creation is that of rowids. A page
// is found in one range of an index for each queue and kind of status, in a single snapshot.
func (s *store) List(ctx context.Context, q backend.TaskQuery) (backend.TaskPage, error) {
	var page backend.TaskPage
	if err := q.Check(); err != nil {
		return page, err
	}
	l, err := newLister(q)
	if err != nil {
		return page, err
	}
	if !q.Filter.IsZero() {
		return s.listFiltered(ctx, q)
	}
	err = s.db.readSnapshot(ctx, func(v *snapshot) (err error) {
		page = backend.TaskPage{}
		counts, err := l.tallies(v)
		if err != nil {
			return err
		}
		if err := l.count(v, counts, &page); err != nil {
			return err
		}
		page.Tasks, page.Cursor, err = l.read(v, counts)
		return err
	})
	return page, err
}

// listFiltered is List for a query with a filter.
func (s *store) listFiltered(ctx context.Context, q backend.TaskQuery) (backend.TaskPage, error) {
	part := q
	part.Filter = backend.TaskFilter{}
	return look.Page(ctx, q, func(ctx context.Context, limit, bytes int, cursor string) (
		tasks []backend.Task, next string, err error,
	) {
		part.Limit, part.Bytes, part.Cursor = limit, bytes, cursor
		l, err := newLister(part)
		if err != nil {
			return nil, "", err
		}
		err = s.db.readSnapshot(ctx, func(v *snapshot) error {
			counts, err := l.tallies(v)
			if err != nil {
				return err
			}
			tasks, next, err = l.read(v, counts)
			return err
		})
		return tasks, next, err
	}, cursorOf)
}

// read returns the tasks of the page and the cursor of the next one.
func (l *lister) read(v *snapshot, counts []*tally) (tasks []backend.Task, next string, err error) {
	keys, err := l.keys(v, counts)
	if err != nil || len(keys) == 0 {
		return nil, "", err
	}
	found, all, err := l.page(v, keys)
	if err != nil {
		return nil, "", err
	}
	if !all {
		next = cursorOf(&found[len(found)-1].Task)
	}
	return tasksOf(found), next, nil
}

// A listKey is the place of a task in a list: when it ended, or 0, and its seq.
type listKey struct{ ended, seq int64 }

// A lister finds a page of a list.
type lister struct {
	backend.TaskQuery
	live, failed []int // the wanted statuses of these kinds
	success      bool
	low, high    int64   // the range of seq
	below        listKey // SortEnded: only keys less than this
	order        string
}

func newLister(q backend.TaskQuery) (*lister, error) {
	l := &lister{TaskQuery: q, below: listKey{math.MaxInt64, math.MaxInt64}}
	for n := range statuses {
		switch wanted := len(q.Statuses) == 0 || slices.Contains(q.Statuses, statuses[n]); {
		case !wanted:
		case n < number(backend.StatusSuccess):
			l.live = append(l.live, n)
		case n > number(backend.StatusSuccess):
			l.failed = append(l.failed, n)
		default:
			l.success = true
		}
	}
	l.low, l.high = l.between()
	switch q.Sort {
	case backend.SortOldest:
		l.order = "ORDER BY seq LIMIT ?"
	case backend.SortNewest:
		l.order = "ORDER BY seq DESC LIMIT ?"
	case backend.SortEnded:
		l.order = "ORDER BY ended DESC, seq DESC LIMIT ?"
	}
	if q.Cursor == "" {
		return l, nil
	}
	first, second, _ := strings.Cut(q.Cursor, " ")
	ended, err := strconv.ParseInt(first, 36, 64)
	seq, err2 := strconv.ParseInt(second, 36, 64)
	if err != nil || err2 != nil {
		return nil, backend.BadCursor(q.Cursor)
	}
	switch q.Sort {
	case backend.SortOldest:
		l.low = max(l.low, seq+1)
	case backend.SortNewest:
		l.high = min(l.high, seq-1)
	case backend.SortEnded:
		l.below = listKey{ended, seq}
	}
	return l, nil
}

// cursorOf returns the cursor of the page that ends with t.
func cursorOf(t *backend.Task) string {
	return strconv.FormatInt(instant.Of(t.Ended), 36) + " " + strconv.FormatInt(instant.Of(t.Created), 36)
}

// A tally is the number of tasks of a queue by status.
type tally struct {
	queue string
	n     [len(statuses)]int
}

// tallies returns the tallies of the queues of the query, if it needs them.
func (l *lister) tallies(v *snapshot) ([]*tally, error) {
	if l.Source != "" {
		return nil, nil
	}
	return tallies(v, l.Queue)
}

// tallies returns the tallies of a queue, or of all if queue is "", sorted by name.
func tallies(v *snapshot, queue string) (counts []*tally, err error) {
	_, err = readFrom(v, func(rows *sql.Rows) (_ struct{}, err error) {
		var queue string
		var status, n int
		if err := rows.Scan(&queue, &status, &n); err != nil {
			return struct{}{}, err
		}
		if len(counts) == 0 || counts[len(counts)-1].queue != queue {
			counts = append(counts, &tally{queue: queue})
		}
		counts[len(counts)-1].n[status] = n
		return struct{}{}, nil
	}, "SELECT queue, status, n FROM tally WHERE n > 0 AND (? = '' OR queue = ?) ORDER BY queue", queue, queue)
	return counts, err
}

// count sets the page's total.
func (l *lister) count(v *snapshot, counts []*tally, page *backend.TaskPage) (err error) {
	n := 0
	switch {
	case l.Source != "":
		n, err = l.countRows(v, `INDEXED BY task_kin WHERE source = ? AND source IS NOT NULL AND (? = '' OR queue = ?)
			AND (? = '' OR error_code = ?) AND `, l.Source, l.Queue, l.Queue, string(l.Code), string(l.Code))
	case l.Code != "":
		for _, c := range counts {
			if c.n[number(backend.StatusFailed)] == 0 || n > backend.MaxTotal {
				continue
			}
			some, err := l.countRows(v, "INDEXED BY task_code WHERE queue = ? AND error_code = ? AND status = 5 AND ", c.queue,
				string(l.Code))
			if err != nil {
				return err
			}
			n += some
		}
	case !l.After.IsZero() || !l.Before.IsZero():
		n, err = l.countBetween(v, counts)
	default:
		for _, c := range counts {
			for _, status := range l.statuses() {
				page.Total += c.n[status]
			}
		}
		return nil
	}
	page.Total, page.AtLeast = backend.BoundedTotal(n)
	return err
}

// countBetween counts the tasks created between two instants, in the ranges of the list.
func (l *lister) countBetween(v *snapshot, counts []*tally) (n int, err error) {
	all := *l
	all.low, all.high = l.between()
	all.Sort = backend.SortNewest
	if l.Queue == "" && len(l.Statuses) == 0 {
		return count(v, all.ranges(nil)[0])
	}
	for _, c := range counts {
		for _, r := range all.createdRanges(c) {
			if n > backend.MaxTotal {
				return n, nil
			}
			some, err := count(v, r)
			if err != nil {
				return 0, err
			}
			n += some
		}
	}
	return n, nil
}

// count counts the tasks of a range, up to one more than backend.MaxTotal.
func count(v *snapshot, r listRange) (int, error) {
	n, err := readFrom(v, scanOne[int], "SELECT count(*) FROM (SELECT 1 FROM task "+r.where+"LIMIT ?)",
		append(r.args, backend.MaxTotal+1)...)
	if err != nil {
		return 0, err
	}
	return n[0], nil
}

// between returns the range of seq that After and Before select. The cursor has no effect on it.
func (l *lister) between() (low, high int64) {
	low, high = math.MinInt64, math.MaxInt64
	if !l.After.IsZero() {
		low = instant.Of(l.After)
	}
	if !l.Before.IsZero() {
		high = instant.Of(l.Before) - 1
	}
	return low, high
}

// countRows counts matching tasks, up to one more than backend.MaxTotal. The cursor has no effect on a total.
func (l *lister) countRows(v *snapshot, where string, args ...any) (int, error) {
	low, high := l.between()
	n, err := readFrom(v, scanOne[int], "SELECT count(*) FROM (SELECT 1 FROM task "+where+
		"seq BETWEEN ? AND ? AND status IN (SELECT value FROM json_each(?)) LIMIT ?)",
		append(args, low, high, list(l.statuses()), backend.MaxTotal+1)...)
	if err != nil {
		return 0, err
	}
	return n[0], nil
}

// statuses returns the numbers of the wanted statuses.
func (l *lister) statuses() []int {
	all := slices.Concat(l.live, l.failed)
	if l.success {
		all = append(all, number(backend.StatusSuccess))
	}
	return all
}

// keys returns the keys of the page, and one more if there are more.
func (l *lister) keys(v *snapshot, counts []*tally) ([]listKey, error) {
	var all []listKey
	for _, r := range l.ranges(counts) {
		some, err := readFrom(v, func(rows *sql.Rows) (k listKey, err error) {
			err = rows.Scan(&k.ended, &k.seq)
			return k, err
		}, "SELECT ended, seq FROM task "+r.where+r.order, append(r.args, l.Limit+1)...)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	slices.SortFunc(all, func(a, b listKey) int {
		switch l.Sort {
		case backend.SortOldest:
			return cmp.Compare(a.seq, b.seq)
		case backend.SortEnded:
			return cmp.Or(cmp.Compare(b.ended, a.ended), cmp.Compare(b.seq, a.seq))
		default:
			return cmp.Compare(b.seq, a.seq)
		}
	})
	return all[:min(len(all), l.Limit+1)], nil
}

// A listRange is a part of the tasks that a list looks at, in its order.
type listRange struct {
	where string
	args  []any
	order string
}

func (l *lister) ranges(counts []*tally) (all []listRange) {
	if l.Source != "" {
		where, args := `WHERE source = ? AND source IS NOT NULL AND (? = '' OR queue = ?) AND (? = '' OR error_code = ?)
			AND status IN (SELECT value FROM json_each(?)) AND seq BETWEEN ? AND ? `,
			[]any{l.Source, l.Queue, l.Queue, string(l.Code), string(l.Code), list(l.statuses()), l.low, l.high}
		if l.Sort == backend.SortEnded {
			where, args = where+"AND (ended, seq) < (?, ?) ", append(args, l.below.ended, l.below.seq)
		}
		return []listRange{{where, args, l.order}}
	}
	if l.Sort == backend.SortEnded {
		for _, c := range counts {
			all = append(all, l.endedRanges(c)...)
		}
		return all
	}
	if l.Queue == "" && len(l.Statuses) == 0 {
		return []listRange{{"NOT INDEXED WHERE seq BETWEEN ? AND ? ", []any{l.low, l.high}, l.order}}
	}
	for _, c := range counts {
		all = append(all, l.createdRanges(c)...)
	}
	return all
}

// createdRanges returns the ranges of a queue's tasks in the order of creation.
func (l *lister) createdRanges(c *tally) (all []listRange) {
	if c.any(l.live) {
		all = append(all, listRange{`INDEXED BY task_current WHERE queue = ? AND ended = 0
			AND status IN (SELECT value FROM json_each(?)) AND seq BETWEEN ? AND ? `,
			[]any{c.queue, list(l.live), l.low, l.high}, l.order})
	}
	for _, status := range l.failed {
		if l.Code != "" && c.n[status] > 0 {
			all = append(all, listRange{`INDEXED BY task_code WHERE queue = ? AND error_code = ? AND status = 5
				AND seq BETWEEN ? AND ? `, []any{c.queue, string(l.Code), l.low, l.high}, l.order})
		} else if c.n[status] > 0 {
			all = append(all, listRange{`INDEXED BY task_failed WHERE queue = ? AND status = ? AND status > 4
				AND seq BETWEEN ? AND ? `, []any{c.queue, status, l.low, l.high}, l.order})
		}
	}
	if l.success && c.n[number(backend.StatusSuccess)] > 0 {
		all = append(all, listRange{"INDEXED BY task_done WHERE queue = ? AND status = 4 AND seq BETWEEN ? AND ? ",
			[]any{c.queue, l.low, l.high}, l.order})
	}
	return all
}

// endedRanges returns the ranges of a queue's tasks in the order of their ends.
func (l *lister) endedRanges(c *tally) (all []listRange) {
	if c.any(l.live) { // these come last
		high := l.high
		if l.below.ended == 0 {
			high = min(high, l.below.seq-1)
		}
		all = append(all, listRange{`INDEXED BY task_current WHERE queue = ? AND ended = 0
			AND status IN (SELECT value FROM json_each(?)) AND seq BETWEEN ? AND ? `,
			[]any{c.queue, list(l.live), l.low, high}, "ORDER BY seq DESC LIMIT ?"})
	}
	if l.below.ended == 0 {
		return all
	}
	args := []any{l.below.ended, l.below.seq, l.low, l.high}
	for _, status := range l.failed {
		if l.Code != "" && c.n[status] > 0 {
			all = append(all, listRange{`INDEXED BY task_code_ended WHERE queue = ? AND error_code = ? AND status = 5
				AND (ended, seq) < (?, ?) AND seq BETWEEN ? AND ? `, append([]any{c.queue, string(l.Code)}, args...), l.order})
		} else if c.n[status] > 0 {
			all = append(all, listRange{`INDEXED BY task_failed_ended WHERE queue = ? AND status = ? AND status > 4
				AND (ended, seq) < (?, ?) AND seq BETWEEN ? AND ? `, append([]any{c.queue, status}, args...), l.order})
		}
	}
	if l.success && c.n[number(backend.StatusSuccess)] > 0 {
		args = append([]any{c.queue}, args...)
		all = append(all,
			listRange{`INDEXED BY task_closed WHERE queue = ? AND closed IS NOT NULL AND closed = ended AND status = 4
				AND (closed, seq) < (?, ?) AND seq BETWEEN ? AND ? `, args, "ORDER BY closed DESC, seq DESC LIMIT ?"},
			listRange{`INDEXED BY task_apart WHERE queue = ? AND ended > 0 AND closed IS NOT ended AND status = 4
				AND (ended, seq) < (?, ?) AND seq BETWEEN ? AND ? `, args, l.order})
	}
	return all
}

// any reports whether the queue has tasks with one of these statuses.
func (c *tally) any(numbers []int) bool {
	return slices.ContainsFunc(numbers, func(status int) bool { return c.n[status] > 0 })
}

// page reads the tasks with the given keys up to the page's limits, and reports whether these are all. It reads at most
// one task more than the page holds.
func (l *lister) page(v *snapshot, keys []listKey) (found []*record, all bool, err error) {
	seqs := make([]int64, len(keys))
	for i, k := range keys {
		seqs[i] = k.seq
	}
	rows, err := v.query("SELECT "+taskColumns+`FROM (SELECT value AS at FROM json_each(?)) AS page
		CROSS JOIN task ON task.seq = page.at
		LEFT JOIN payload ON payload.seq = task.seq`, list(seqs))
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	for bytes := 0; rows.Next(); {
		r, err := scanRecord(rows)
		if err != nil {
			return nil, false, v.db.file.readError(v.ctx, err)
		}
		size := r.Size()
		if !l.Takes(len(found), bytes, size) {
			return found, false, nil
		}
		found, bytes = append(found, r), bytes+size
	}
	if err := rows.Err(); err != nil {
		return nil, false, v.db.file.readError(v.ctx, err)
	}
	return found, true, nil
}
