package mongo

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
	"github.com/afgen/afgen/runtime/backend/internal/look"
)

// List implements backend.Store. All orders use an index, except for the order by end of one task's subtasks. The total
// is counted in an index.
func (s *store) List(ctx context.Context, q backend.TaskQuery) (backend.TaskPage, error) {
	var page backend.TaskPage
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return page, err
	}
	if err := q.Check(); err != nil {
		return page, err
	}
	from, err := parseCursor(q.Cursor)
	if err != nil {
		return page, err
	}
	list := s.listByCreation
	if q.Sort == backend.SortEnded {
		list = s.listByEnd
	}
	if !q.Filter.IsZero() {
		return look.Page(ctx, q, func(ctx context.Context, limit, bytes int, after string) ([]backend.Task, string, error) {
			part := q
			part.Limit, part.Bytes, part.Filter = limit, bytes, backend.TaskFilter{}
			from, err := parseCursor(after)
			if err != nil {
				return nil, "", err
			}
			found, more, err := list(ctx, part, from)
			if err != nil || !more {
				return tasksOf(found), "", err
			}
			return tasksOf(found), cursorOf(found[len(found)-1]), nil
		}, cursorOfTask)
	}
	// The total takes longer than the page, so both are read at the same time.
	var total int
	var countErr error
	counted := make(chan struct{})
	counting, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(counted)
		total, countErr = s.total(counting, q)
	}()
	found, more, err := list(ctx, q, from)
	if err != nil {
		cancel()
	}
	<-counted
	switch {
	case err != nil:
		return page, err
	case countErr != nil:
		return page, s.wrapError(ctx, countErr, backend.OutcomeNotSent)
	}
	page.Total, page.AtLeast = backend.BoundedTotal(total)
	if more {
		page.Cursor = cursorOf(found[len(found)-1])
	}
	page.Tasks = tasksOf(found)
	return page, nil
}

// listByCreation reads the page after a cursor and reports whether more tasks match.
func (s *store) listByCreation(ctx context.Context, q backend.TaskQuery, from *cursor) ([]*document, bool, error) {
	filter, created := matching(q, q.Statuses), createdField(q)
	order, beyond, until := d{desc(created), desc("_id")}, "$lte", "$gte"
	if q.Sort == backend.SortOldest {
		order, beyond, until = d{asc(created), asc("_id")}, "$gte", "$lte"
	}
	if from != nil {
		narrow(filter, created, beyond, from.created)
		// Not $or, for which the server may sort what it reads.
		filter["$nor"] = []m{{created: from.created, "_id": m{until: from.id}}}
	}
	return s.page(ctx, q, filter, order, listIndex(q))
}

// listByEnd is listByCreation for the order by end: first the tasks that have ended, then the others.
func (s *store) listByEnd(ctx context.Context, q backend.TaskQuery, from *cursor) ([]*document, bool, error) {
	live, final := splitStatuses(q.Statuses)
	var found []*document
	if len(final) > 0 && (from == nil || from.ended != 0) {
		ended, more, err := s.listEnded(ctx, q, final, from)
		if err != nil || more || len(live) == 0 {
			return ended, more, err
		}
		found, from = ended, nil
	}
	if len(live) == 0 {
		return found, false, nil
	}
	rest := q
	rest.Statuses, rest.Sort = live, backend.SortNewest
	rest.Limit = max(q.Limit-len(found), 1)
	others, more, err := s.listByCreation(ctx, rest, from)
	if err != nil {
		return nil, false, err
	}
	bytes := 0
	for _, x := range found {
		bytes += x.size()
	}
	for _, x := range others {
		if !q.Takes(len(found), bytes, x.size()) {
			return found, true, nil
		}
		found, bytes = append(found, x), bytes+x.size()
	}
	return found, more, nil
}

// queuesAtOnce is of how many queues one query merges the tasks in the order of an index. There are two ranges for each
// queue, and the server sorts if there are more than 200.
const queuesAtOnce = 50

// listEnded reads the page of tasks that have ended after a cursor.
func (s *store) listEnded(ctx context.Context, q backend.TaskQuery, final []backend.Status, from *cursor) (
	found []*document, more bool, err error,
) {
	created := createdField(q)
	filter := matching(q, final)
	ended := m{"$gt": int64(0)}
	if from != nil {
		ended["$lte"] = from.ended
		filter["$nor"] = []m{{"ended": from.ended, created: m{"$gt": from.created}},
			{"ended": from.ended, created: from.created, "_id": m{"$gte": from.id}}}
	}
	filter["ended"] = ended
	order := d{desc("ended"), desc(created), desc("_id")}
	switch {
	case q.Source != "":
		return s.page(ctx, q, filter, order, listIndex(q))
	case q.Code != "":
		return s.page(ctx, q, filter, order, listIndex(q)+"_ended")
	}
	filter["top"] = m{"$in": []any{true, nil}} // any: the index begins with it
	queues := []string{q.Queue}
	if q.Queue == "" {
		if queues, err = s.queues(ctx); err != nil {
			return nil, false, err
		}
	}
	var all []*document
	for some := range slices.Chunk(queues, queuesAtOnce) {
		filter["queue"] = m{"$in": some}
		part, hasMore, err := s.page(ctx, q, filter, order, "finals")
		if err != nil {
			return nil, false, err
		}
		all, more = append(all, part...), more || hasMore
	}
	if len(queues) <= queuesAtOnce {
		return all, more, nil
	}
	slices.SortFunc(all, func(a, b *document) int {
		return cmp.Or(cmp.Compare(b.Ended, a.Ended), cmp.Compare(b.Created, a.Created), strings.Compare(b.ID, a.ID))
	})
	bytes := 0
	for _, x := range all {
		if !q.Takes(len(found), bytes, x.size()) {
			return found, true, nil
		}
		found, bytes = append(found, x), bytes+x.size()
	}
	return found, more, nil
}

// queues returns the queues that have tasks. The server skips from queue to queue in an index.
func (s *store) queues(ctx context.Context) ([]string, error) {
	var queues []string
	err := s.tasks.Distinct(ctx, "queue", m{"queue": m{"$gte": ""}}).Decode(&queues)
	return queues, s.wrapError(ctx, err, backend.OutcomeNotSent)
}

// size returns the size of the document's task, as a page counts it.
func (x *document) size() int {
	t := x.task()
	return t.Size()
}

// page reads the documents of one page and reports whether more match. The server sends them in batches of at most 16
// MiB; batches beyond the page are not requested.
func (s *store) page(
	ctx context.Context, q backend.TaskQuery, filter m, order d, index string,
) (found []*document, more bool, err error) {
	cursor, err := s.tasks.Find(ctx, filter,
		options.Find().SetSort(order).SetLimit(int64(q.Limit+1)).SetHint(index))
	if err != nil {
		return nil, false, s.wrapError(ctx, err, backend.OutcomeNotSent)
	}
	defer cursor.Close(ctx) // best effort; the server times cursors out
	for bytes := 0; !more && cursor.Next(ctx); {
		x := new(document)
		if err := cursor.Decode(x); err != nil {
			return nil, false, s.wrapError(ctx, err, backend.OutcomeNotSent)
		}
		size := x.size()
		if more = !q.Takes(len(found), bytes, size); !more {
			found, bytes = append(found, x), bytes+size
		}
	}
	if err := cursor.Err(); err != nil {
		return nil, false, s.wrapError(ctx, err, backend.OutcomeNotSent)
	}
	return found, more, nil
}

// listIndex returns the index for a query. In small collections the server may prefer another one that needs a sort,
// and keep that plan while the collection grows.
func listIndex(q backend.TaskQuery) string {
	switch {
	case q.Source != "":
		return "subtasks"
	case q.Code != "" && q.Queue != "":
		return "codes"
	case q.Code != "":
		return "codes_all"
	case q.Queue != "":
		return "list"
	}
	return "list_all"
}

// createdField is the field with the time of creation in the index for a query.
func createdField(q backend.TaskQuery) string {
	if q.Source != "" {
		return "kin.created"
	}
	return "created"
}

// splitStatuses returns the wanted statuses, live and final ones. None means all.
func splitStatuses(wanted []backend.Status) (live, final []backend.Status) {
	for _, name := range allStatuses {
		s := backend.Status(name)
		switch {
		case len(wanted) > 0 && !slices.Contains(wanted, s):
		case s.Final():
			final = append(final, s)
		default:
			live = append(live, s)
		}
	}
	return live, final
}

// matching returns the filter of a query with other statuses. Without any it lists all, so that indexes that begin with
// the status serve every list.
func matching(q backend.TaskQuery, wanted []backend.Status) m {
	filter := m{}
	created := m{}
	if !q.After.IsZero() {
		created["$gte"] = instant.Of(q.After)
	}
	if !q.Before.IsZero() {
		created["$lt"] = instant.Of(q.Before)
	}
	if q.Source != "" {
		filter["kin.source"] = q.Source
	}
	if len(created) > 0 {
		filter[createdField(q)] = created
	}
	if q.Queue != "" {
		filter["queue"] = q.Queue
	}
	statuses := allStatuses
	if len(wanted) > 0 {
		statuses = nil
		for _, s := range wanted {
			statuses = append(statuses, string(s))
		}
	}
	if len(wanted) > 0 || q.Source == "" {
		filter["status"] = m{"$in": statuses}
	}
	if q.Code != "" {
		filter["error.code"], filter["status"] = string(q.Code), string(backend.StatusFailed)
	}
	return filter
}

// A cursor is the place of the last task of a page: its end, or 0, its creation time and its ID.
type cursor struct {
	ended, created int64
	id             string
}

func cursorOf(x *document) string { return cursorText(x.Ended, x.Created, x.ID) }

// cursorOfTask is cursorOf for a task.
func cursorOfTask(t *backend.Task) string {
	ended := int64(0)
	if !t.Ended.IsZero() {
		ended = instant.Of(t.Ended)
	}
	return cursorText(ended, instant.Of(t.Created), t.ID)
}

func cursorText(ended, created int64, id string) string {
	return strconv.FormatInt(ended, 36) + " " + strconv.FormatInt(created, 36) + " " + id
}

// parseCursor returns nil for the first page.
func parseCursor(text string) (*cursor, error) {
	if text == "" {
		return nil, nil
	}
	parts := strings.SplitN(text, " ", 3)
	if len(parts) != 3 {
		return nil, backend.BadCursor(text)
	}
	ended, err := strconv.ParseInt(parts[0], 36, 64)
	at, err2 := strconv.ParseInt(parts[1], 36, 64)
	if err != nil || err2 != nil {
		return nil, backend.BadCursor(text)
	}
	return &cursor{ended, at, parts[2]}, nil
}

// narrow adds a bound to a field of a filter, so that the index scan starts at the page.
func narrow(filter m, field, bound string, at int64) {
	bounds, _ := filter[field].(m)
	if bounds == nil {
		bounds = m{}
	}
	if old, ok := bounds[bound].(int64); !ok || old < at { // a query's After may exist
		bounds[bound] = at
	}
	filter[field] = bounds
}
