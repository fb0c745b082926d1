package memory

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// List implements backend.Store.
func (s *store) List(ctx context.Context, q backend.TaskQuery) (backend.TaskPage, error) {
	var page backend.TaskPage
	if err := checkContext(ctx); err != nil {
		return page, err
	}
	if err := q.Check(); err != nil {
		return page, err
	}
	if !q.Filter.IsZero() {
		return s.listFiltered(ctx, q)
	}
	from, err := parseCursor(q.Cursor)
	if err != nil {
		return page, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.taskLists(q) {
		n, more := l.total(q)
		page.Total += n
		page.AtLeast = page.AtLeast || more
	}
	if page.AtLeast {
		page.Total = backend.MaxTotal
	}
	page.Tasks, page.Cursor = s.page(q, from)
	return page, nil
}

// page returns the tasks of a page after a cursor, and the cursor of the next page.
func (s *store) page(q backend.TaskQuery, from cursor) (tasks []backend.Task, next string) {
	var found []*record
	for _, l := range s.taskLists(q) {
		if l.counted(q) == 0 {
			continue
		}
		if q.Sort == backend.SortEnded {
			found = append(found, l.byEnd(q, from)...)
		} else {
			found = append(found, l.byCreation(q, from)...)
		}
	}
	slices.SortFunc(found, func(a, b *record) int {
		if q.Sort == backend.SortOldest {
			a, b = b, a
		}
		return cursorOf(&b.Task, q.Sort).compare(cursorOf(&a.Task, q.Sort))
	})
	tasks = make([]backend.Task, 0, min(len(found), q.Limit))
	bytes := 0
	for i, r := range found {
		size := r.Size()
		if !q.Takes(i, bytes, size) {
			return tasks, cursorOf(&found[i-1].Task, q.Sort).String()
		}
		tasks = append(tasks, r.Task)
		bytes += size
	}
	return tasks, ""
}

// taskLists returns lists that together contain each task of a query once.
func (s *store) taskLists(q backend.TaskQuery) []*taskList {
	switch {
	case q.Source != "":
		if k := s.sets[q.Source]; k != nil {
			return []*taskList{&k.tasks}
		}
		return nil
	case q.Queue != "":
		return s.queues[q.Queue].taskLists(q)
	}
	all := make([]*taskList, 0, len(s.queues))
	for _, of := range s.queues {
		all = append(all, of.taskLists(q)...)
	}
	return all
}

// taskLists returns the list of the tasks of a queue, or of those that failed with a code.
func (q *queue) taskLists(query backend.TaskQuery) []*taskList {
	if q == nil {
		return nil
	}
	l := &q.tasks
	if query.Code != "" {
		l = q.failed[query.Code]
	}
	if l == nil || len(l.list) == l.deleted {
		return nil
	}
	return []*taskList{l}
}

// total returns how many tasks match. If it has no count of them, it stops at backend.MaxTotal and reports whether
// there are more.
func (l *taskList) total(q backend.TaskQuery) (n int, more bool) {
	if q.After.IsZero() && q.Before.IsZero() && (q.Source == "" || q.Queue == "" && q.Code == "") {
		return l.counted(q), false
	}
	for _, r := range l.between(q) {
		if !matches(r, q) {
			continue
		}
		if n == backend.MaxTotal {
			return n, true
		}
		n++
	}
	return n, false
}

// counted returns how many tasks have the statuses of a query.
func (l *taskList) counted(q backend.TaskQuery) (n int) {
	for _, st := range backend.Statuses() {
		if len(q.Statuses) == 0 || slices.Contains(q.Statuses, st) {
			n += l.counts[statusIndex(st)]
		}
	}
	return n
}

// between returns the tasks created in a query's time range.
func (l *taskList) between(q backend.TaskQuery) []*record {
	at := func(r *record, t time.Time) int { return r.Created.Compare(t) }
	all := l.all(byCreation)
	if !q.Before.IsZero() {
		n, _ := slices.BinarySearchFunc(all, q.Before, at)
		all = all[:n]
	}
	if !q.After.IsZero() {
		n, _ := slices.BinarySearchFunc(all, q.After, at)
		all = all[n:]
	}
	return all
}

func matches(r *record, q backend.TaskQuery) bool {
	return !r.deleted && (q.Queue == "" || r.Queue == q.Queue) &&
		(len(q.Statuses) == 0 || slices.Contains(q.Statuses, r.Status)) && (q.Code == "" || q.Code == errorCode(r))
}

// byCreation returns the matching tasks after a cursor, ordered by creation, up to one more than the page holds.
func (l *taskList) byCreation(q backend.TaskQuery, from cursor) []*record {
	var found []*record
	take := func(r *record) bool {
		if matches(r, q) {
			found = append(found, r)
		}
		return len(found) <= q.Limit
	}
	all := l.between(q)
	n, met := len(all), false
	if from.id != "" {
		n, met = slices.BinarySearchFunc(all, from, func(r *record, c cursor) int {
			return cursorOf(&r.Task, q.Sort).compare(c)
		})
	}
	if q.Sort == backend.SortOldest {
		if from.id == "" {
			n = 0
		} else if met {
			n++
		}
		for ; n < len(all) && take(all[n]); n++ {
		}
		return found
	}
	for n--; n >= 0 && take(all[n]); n-- {
	}
	return found
}

// byEnd is byCreation for the order by end. Tasks that have not ended come last, and have no index in that order.
func (l *taskList) byEnd(q backend.TaskQuery, from cursor) []*record {
	var found []*record
	inRange := !q.After.IsZero() || !q.Before.IsZero()
	if !inRange {
		ended := l.ended.all(byEnd)
		n := len(ended)
		if from.id != "" {
			n, _ = slices.BinarySearchFunc(ended, from, func(r *record, c cursor) int {
				return cursorOf(&r.Task, q.Sort).compare(c)
			})
		}
		for n--; n >= 0 && len(found) <= q.Limit; n-- {
			if matches(ended[n], q) {
				found = append(found, ended[n])
			}
		}
	}
	most := q.Limit + 1 - len(found)
	if most <= 0 || !inRange && !l.hasLive(q) {
		return found
	}
	return append(found, l.lastByEnd(q, from, most, inRange)...)
}

// hasLive reports whether tasks that have not ended may match a query.
func (l *taskList) hasLive(q backend.TaskQuery) bool {
	return slices.ContainsFunc(backend.Statuses(), func(st backend.Status) bool {
		return !st.Final() && l.counts[statusIndex(st)] > 0 && (len(q.Statuses) == 0 || slices.Contains(q.Statuses, st))
	})
}

// lastByEnd returns up to max tasks after a cursor by end, of those that have not ended, or of all. It looks at all of
// the query's time range.
func (l *taskList) lastByEnd(q backend.TaskQuery, from cursor, max int, all bool) []*record {
	before := func(a, b *record) int { return cursorOf(&b.Task, q.Sort).compare(cursorOf(&a.Task, q.Sort)) }
	var found []*record
	full := false // the first max of found are in order, and others must come before the last of them
	for _, r := range l.between(q) {
		if !all && r.Status.Final() || !matches(r, q) || from.id != "" && cursorOf(&r.Task, q.Sort).compare(from) >= 0 ||
			full && before(r, found[max-1]) > 0 {
			continue
		}
		if found = append(found, r); len(found) >= 2*max {
			slices.SortFunc(found, before)
			found, full = found[:max], true
		}
	}
	slices.SortFunc(found, before)
	return found[:min(len(found), max)]
}

// A cursor is the position of a task in a sorted list.
type cursor struct {
	at int64 // creation or end, in nanoseconds since 1970; -never if it has not ended
	id string
}

func cursorOf(t *backend.Task, sort backend.TaskSort) cursor {
	if sort == backend.SortEnded {
		if t.Ended.IsZero() {
			return cursor{-never, t.ID}
		}
		return cursor{t.Ended.UnixNano(), t.ID}
	}
	return cursor{t.Created.UnixNano(), t.ID}
}

func (c cursor) compare(d cursor) int {
	return cmp.Or(cmp.Compare(c.at, d.at), cmp.Compare(c.id, d.id))
}

func (c cursor) String() string { return strconv.FormatInt(c.at, 36) + " " + c.id }

func parseCursor(text string) (cursor, error) {
	if text == "" {
		return cursor{}, nil
	}
	at, id, ok := strings.Cut(text, " ")
	n, err := strconv.ParseInt(at, 36, 64)
	if !ok || err != nil || id == "" {
		return cursor{}, backend.BadCursor(text)
	}
	return cursor{n, id}, nil
}
