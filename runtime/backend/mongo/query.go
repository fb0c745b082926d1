package mongo

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// find returns all matching documents.
func (c *Client) find(ctx context.Context, filter m, opts ...options.Lister[options.FindOptions]) ([]*document, error) {
	return findIn[document](ctx, c, c.tasks, filter, opts...)
}

// findHeads is find without potentially large fields.
func (c *Client) findHeads(ctx context.Context, filter m) ([]*document, error) {
	return c.find(ctx, filter, options.Find().SetProjection(m{"payload": 0, "result": 0, "progress": 0, "log": 0,
		"metadata": 0, "error.details": 0, "attempts": 0}))
}

func findIn[T any](
	ctx context.Context, c *Client, in collection, filter m, opts ...options.Lister[options.FindOptions],
) ([]*T, error) {
	cursor, err := in.Find(ctx, filter, opts...)
	if err != nil {
		return nil, c.wrapError(ctx, err, backend.OutcomeNotSent)
	}
	var found []*T
	if err := cursor.All(ctx, &found); err != nil {
		return nil, c.wrapError(ctx, err, backend.OutcomeNotSent)
	}
	return found, nil
}

// eachChunk calls f with the matching documents in chunks, so that other operations run in between. The documents only
// have their IDs, queues, and for which source they were inserted. f may change these and other matching documents.
func (c *Client) eachChunk(ctx context.Context, filter m, f func(part []*document) error) (err error) {
	cursor, err := c.tasks.Find(ctx, filter, options.Find().SetBatchSize(chunk).SetProjection(m{"queue": 1, "kin.of": 1}))
	if err != nil {
		return c.wrapError(ctx, err, backend.OutcomeNotSent)
	}
	defer func() { err = cmp.Or(err, c.wrapError(ctx, cursor.Close(ctx), backend.OutcomeNotSent)) }()
	var part []*document
	for cursor.Next(ctx) {
		x := new(document)
		if err := cursor.Decode(x); err != nil {
			return c.wrapError(ctx, err, backend.OutcomeNotSent)
		}
		if part = append(part, x); cursor.RemainingBatchLength() == 0 {
			if err := f(part); err != nil {
				return err
			}
			part = part[:0]
		}
	}
	return c.wrapError(ctx, cursor.Err(), backend.OutcomeNotSent)
}

// updateChunks updates the matching documents in chunks.
func (c *Client) updateChunks(ctx context.Context, filter, update m) error {
	return c.eachChunk(ctx, filter, func(part []*document) error {
		guard := maps.Clone(filter)
		guard["_id"] = m{"$in": idsOf(part)}
		_, err := c.tasks.UpdateMany(ctx, guard, update, hintByID)
		return c.wrapError(ctx, err, backend.OutcomeUnknown)
	})
}

// findOne returns the document with an ID, or nil.
func (c *Client) findOne(ctx context.Context, id string) (*document, error) {
	x := new(document)
	err := c.tasks.FindOne(ctx, m{"_id": id}).Decode(x)
	if errors.Is(err, driver.ErrNoDocuments) {
		return nil, nil
	}
	if err != nil {
		return nil, c.wrapError(ctx, err, backend.OutcomeNotSent)
	}
	return x, nil
}

// exists reports whether any document matches.
func (c *Client) exists(ctx context.Context, filter m) (bool, error) {
	found, err := c.find(ctx, filter, options.Find().SetLimit(1).SetProjection(m{"_id": 1}))
	return len(found) > 0, err
}

// groupBy groups the matching documents by a field, which must exist.
func groupBy[T any](ctx context.Context, c *Client, filter m, by any, with m) ([]T, error) {
	stage := m{"_id": by}
	maps.Copy(stage, with)
	cursor, err := c.tasks.Aggregate(ctx, driver.Pipeline{{{Key: "$match", Value: filter}},
		{{Key: "$group", Value: stage}}})
	if err != nil {
		return nil, c.wrapError(ctx, err, backend.OutcomeNotSent)
	}
	var groups []T
	if err := cursor.All(ctx, &groups); err != nil {
		return nil, c.wrapError(ctx, err, backend.OutcomeNotSent)
	}
	return groups, nil
}

// Now implements backend.Store.
func (s *store) Now(ctx context.Context) (time.Time, error) {
	_, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return time.Time{}, err
	}
	return instant.Time(s.clock.now()), nil
}

// Get implements backend.Store.
func (s *store) Get(ctx context.Context, id string) (backend.Task, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return backend.Task{}, err
	}
	x, err := s.findOne(ctx, id)
	if x == nil {
		if err == nil {
			err = noTask(id)
		}
		return backend.Task{}, err
	}
	return x.task(), nil
}

// Statuses implements backend.Store.
func (s *store) Statuses(ctx context.Context, ids []string) (map[string]backend.Status, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return nil, err
	}
	found := make(map[string]backend.Status, len(ids))
	err = chunks(ids, func(part []string) error {
		some, err := s.find(ctx, m{"_id": m{"$in": part}}, options.Find().SetProjection(m{"status": 1}))
		for _, x := range some {
			found[x.ID] = backend.Status(x.Status)
		}
		return err
	})
	return found, err
}

func noTask(id string) error {
	return backend.Errorf(backend.ErrNotFound, "no task %q", id).With(backend.OutcomeAnswered)
}

func idsOf(found []*document) []string {
	ids := make([]string, len(found))
	for i, x := range found {
		ids[i] = x.ID
	}
	return ids
}

// chunk is how many documents one command names or changes, so that other commands run in between.
const chunk = 500

// chunks calls f with parts of a list.
func chunks[T any](list []T, f func(part []T) error) error {
	for part := range slices.Chunk(list, chunk) {
		if err := f(part); err != nil {
			return err
		}
	}
	return nil
}
