package mongo

import (
	"context"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// List implements backend.Store. Orders by creation use an index; the order by end sorts the matches. The total is
// counted in an index.
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
	filter := matching(q)
	total, err := s.tasks.CountDocuments(ctx, filter,
		options.Count().SetLimit(backend.MaxTotal+1).SetHint(listIndex(q)))
	if err != nil {
		return page, s.wrapError(ctx, err, backend.OutcomeNotSent)
	}
	created := "created"
	if q.Source != "" {
		created = "kin.created"
	}
	var order d
	switch q.Sort {
	case backend.SortNewest:
		order = d{desc(created), desc("_id")}
	case backend.SortOldest:
		order = d{asc(created), asc("_id")}
	case backend.SortEnded:
		order = d{desc("ended"), desc(created), desc("_id")}
	}
	if q.Cursor != "" {
		if err := after(filter, q, created); err != nil {
			return page, err
		}
	}
	found, more, err := s.page(ctx, q, filter, order)
	if err != nil {
		return page, err
	}
	page.Total, page.AtLeast = backend.BoundedTotal(int(total))
	if more {
		page.Cursor = cursorOf(found[len(found)-1])
	}
	page.Tasks = tasksOf(found)
	return page, nil
}

// page reads the documents of one page and reports whether more match. The server sends them in batches of at most 16
// MiB; batches beyond the page are not requested.
func (s *store) page(
	ctx context.Context, q backend.TaskQuery, filter m, order d,
) (found []*document, more bool, err error) {
	cursor, err := s.tasks.Find(ctx, filter,
		options.Find().SetSort(order).SetLimit(int64(q.Limit+1)).SetHint(listIndex(q)))
	if err != nil {
		return nil, false, s.wrapError(ctx, err, backend.OutcomeNotSent)
	}
	defer cursor.Close(ctx) // best effort; the server times cursors out
	for bytes := 0; !more && cursor.Next(ctx); {
		x := new(document)
		if err := cursor.Decode(x); err != nil {
			return nil, false, s.wrapError(ctx, err, backend.OutcomeNotSent)
		}
		t := x.task()
		size := t.Size()
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
	case q.Queue != "":
		return "list"
	}
	return "list_all"
}

// matching returns the filter of a query. Without a status restriction it lists all statuses, so that indexes that
// begin with the status serve every list.
func matching(q backend.TaskQuery) m {
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
	switch {
	case len(created) == 0:
	case q.Source != "":
		filter["kin.created"] = created
	default:
		filter["created"] = created
	}
	if q.Queue != "" {
		filter["queue"] = q.Queue
	}
	statuses := allStatuses
	if len(q.Statuses) > 0 {
		statuses = nil
		for _, s := range q.Statuses {
			statuses = append(statuses, string(s))
		}
	}
	if len(q.Statuses) > 0 || q.Source == "" {
		filter["status"] = m{"$in": statuses}
	}
	return filter
}

// cursorOf returns a cursor: the end, creation time and ID of the last task of a page.
func cursorOf(x *document) string {
	return strconv.FormatInt(x.Ended, 36) + " " + strconv.FormatInt(x.Created, 36) + " " + x.ID
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

// after restricts a filter to the tasks after a query's cursor.
func after(filter m, q backend.TaskQuery, created string) error {
	parts := strings.SplitN(q.Cursor, " ", 3)
	if len(parts) != 3 {
		return backend.BadCursor(q.Cursor)
	}
	ended, err := strconv.ParseInt(parts[0], 36, 64)
	at, err2 := strconv.ParseInt(parts[1], 36, 64)
	if err != nil || err2 != nil {
		return backend.BadCursor(q.Cursor)
	}
	beyond, until := "$lt", "$gte"
	if q.Sort == backend.SortOldest {
		beyond, until = "$gt", "$lte"
	}
	if q.Sort != backend.SortEnded {
		narrow(filter, created, beyond+"e", at)
		// Not $or, for which the server may sort what it reads.
		filter["$nor"] = []m{{created: at, "_id": m{until: parts[2]}}}
		return nil
	}
	is := any(ended)
	if ended == 0 {
		is = m{"$exists": false} // these sort last
	}
	rest := []m{{created: m{beyond: at}, "ended": is}, {created: at, "_id": m{beyond: parts[2]}, "ended": is}}
	if ended != 0 {
		rest = append(rest, m{"ended": m{"$lt": ended}}, m{"ended": m{"$exists": false}})
	}
	filter["$or"] = rest
	return nil
}
