package mongo

import (
	"context"
	"encoding/json"
	"errors"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
)

// A paper is a document of Docs as it is stored. The first revision of a name is a moment of the server's clock: those of
// a document that is deleted and made anew don't come again.
type paper struct {
	Name     string `bson:"_id"`
	Revision int64  `bson:"revision"`
	Value    []byte `bson:"value"`
}

func (p *paper) doc() backend.Doc {
	return backend.Doc{Name: p.Name, Revision: p.Revision, Value: p.Value}
}

// Get implements backend.Docs.
func (s *docs) Get(ctx context.Context, name string) (backend.Doc, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return backend.Doc{}, err
	}
	var p paper
	err = s.papers.FindOne(ctx, m{"_id": name}).Decode(&p)
	if errors.Is(err, driver.ErrNoDocuments) {
		return backend.Doc{}, backend.Errorf(backend.ErrNotFound, "no document %q", name).With(backend.OutcomeAnswered)
	}
	return p.doc(), s.failed(ctx, err, backend.OutcomeNotSent)
}

// PutIf implements backend.Docs.
func (s *docs) PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return 0, err
	}
	if rev == 0 {
		first := s.clock.moments(1)
		_, err := s.papers.InsertOne(ctx, paper{name, first, value})
		if driver.IsDuplicateKeyError(err) {
			return 0, conflict(name, rev)
		}
		return first, s.failed(ctx, err, backend.OutcomeUnknown)
	}
	r, err := s.papers.UpdateOne(ctx, m{"_id": name, "revision": rev}, m{"$set": m{"value": []byte(value), "revision": rev + 1}})
	if err != nil {
		return 0, s.failed(ctx, err, backend.OutcomeUnknown)
	}
	if r.MatchedCount == 0 {
		return 0, conflict(name, rev)
	}
	return rev + 1, nil
}

func conflict(name string, rev int64) error {
	return backend.Errorf(backend.ErrAborted, "document %q does not have revision %d", name, rev).With(backend.OutcomeAnswered)
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
		filter["_id"] = m{"$gte": prefix, "$lt": prefix + "\U0010FFFF"} // the last of all characters
	}
	found, err := findIn[paper](ctx, s.Client, s.papers, filter, options.Find().SetSort(d{asc("_id")}))
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
	r, err := s.papers.DeleteOne(ctx, m{"_id": name, "revision": rev})
	if err != nil {
		return s.failed(ctx, err, backend.OutcomeUnknown)
	}
	if r.DeletedCount == 0 {
		n, err := s.papers.CountDocuments(ctx, m{"_id": name})
		if err != nil {
			return s.failed(ctx, err, backend.OutcomeNotSent)
		}
		if n > 0 {
			return conflict(name, rev)
		}
	}
	return nil
}
