package mongo

import (
	"context"
	"encoding/json"
	"errors"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
)

// A storedDoc is a document of Docs as stored. The first revision of a document is a timestamp of the server's clock,
// so that revisions of a deleted document aren't reused.
type storedDoc struct {
	Name     string `bson:"_id"`
	Revision int64  `bson:"revision"`
	Value    []byte `bson:"value"`
}

func (d *storedDoc) doc() backend.Doc {
	return backend.Doc{Name: d.Name, Revision: d.Revision, Value: d.Value}
}

// Get implements backend.Docs.
func (s *docs) Get(ctx context.Context, name string) (backend.Doc, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return backend.Doc{}, err
	}
	var p storedDoc
	err = s.docs.FindOne(ctx, m{"_id": name}).Decode(&p)
	if errors.Is(err, driver.ErrNoDocuments) {
		return backend.Doc{}, backend.Errorf(backend.ErrNotFound, "no document %q", name).With(backend.OutcomeAnswered)
	}
	return p.doc(), s.wrapError(ctx, err, backend.OutcomeNotSent)
}

// PutIf implements backend.Docs.
func (s *docs) PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return 0, err
	}
	if rev == 0 {
		first := s.clock.timestamps(1)
		_, err := s.docs.InsertOne(ctx, storedDoc{name, first, value})
		if driver.IsDuplicateKeyError(err) {
			return 0, conflict(name, rev)
		}
		return first, s.wrapError(ctx, err, backend.OutcomeUnknown)
	}
	r, err := s.docs.UpdateOne(ctx, m{"_id": name, "revision": rev},
		m{"$set": m{"value": []byte(value), "revision": rev + 1}})
	if err != nil {
		return 0, s.wrapError(ctx, err, backend.OutcomeUnknown)
	}
	if r.MatchedCount == 0 {
		return 0, conflict(name, rev)
	}
	return rev + 1, nil
}

func conflict(name string, rev int64) error {
	return backend.Errorf(backend.ErrAborted, "document %q does not have revision %d", name, rev).
		With(backend.OutcomeAnswered)
}

// List implements backend.Docs.
func (s *docs) List(ctx context.Context, prefix string) ([]backend.Doc, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return nil, err
	}
	filter := m{}
	if prefix != "" {
		filter["_id"] = m{"$gte": prefix, "$lt": prefix + "\U0010FFFF"} // the last code point
	}
	found, err := findIn[storedDoc](ctx, s.Client, s.docs, filter, options.Find().SetSort(d{asc("_id")}))
	list := make([]backend.Doc, len(found))
	for i, p := range found {
		list[i] = p.doc()
	}
	return list, err
}

// Delete implements backend.Docs.
func (s *docs) Delete(ctx context.Context, name string, rev int64) error {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return err
	}
	r, err := s.docs.DeleteOne(ctx, m{"_id": name, "revision": rev})
	if err != nil {
		return s.wrapError(ctx, err, backend.OutcomeUnknown)
	}
	if r.DeletedCount == 0 {
		n, err := s.docs.CountDocuments(ctx, m{"_id": name})
		if err != nil {
			return s.wrapError(ctx, err, backend.OutcomeNotSent)
		}
		if n > 0 {
			return conflict(name, rev)
		}
	}
	return nil
}
