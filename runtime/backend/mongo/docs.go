package mongo

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
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

// GetAll implements backend.Docs.
func (s *docs) GetAll(ctx context.Context, names []string) ([]backend.Doc, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return nil, err
	}
	all := make([]backend.Doc, 0, len(names))
	err = chunks(names, func(part []string) error {
		found, err := findIn[storedDoc](ctx, s.Client, s.docs, m{"_id": m{"$in": part}})
		for _, p := range found {
			all = append(all, p.doc())
		}
		return err
	})
	return all, err
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

// PutAll implements backend.Docs. It is one command for new documents and one for existing ones, unless they are very
// large. If another process has changed one of them, a third command reads which updates were applied: the reply has
// only their number.
func (s *docs) PutAll(ctx context.Context, docs []backend.Doc) ([]backend.Put, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return nil, err
	}
	puts := make([]backend.Put, len(docs))
	var models []driver.WriteModel
	var sent []int // index in docs of each model
	created, call := s.clock.timestamps(len(docs)), bson.NewObjectID()
	for i, d := range docs {
		switch {
		case len(d.Value) > maxDocValue:
			puts[i].Err = backend.Errorf(backend.ErrResourceExhausted, "document %q of %d bytes exceeds the maximum of %d",
				d.Name, len(d.Value), maxDocValue).With(backend.OutcomeNotSent)
			continue
		case d.Revision == 0:
			puts[i].Revision = created + int64(i)
			models = append(models, driver.NewInsertOneModel().SetDocument(storedDoc{d.Name, puts[i].Revision, d.Value}))
		default:
			// The driver makes updates of one document retryable, which costs the server another write for each.
			puts[i].Revision = d.Revision + 1
			models = append(models, driver.NewUpdateManyModel().SetFilter(m{"_id": d.Name, "revision": d.Revision}).
				SetUpdate(m{"$set": m{"value": []byte(d.Value), "revision": puts[i].Revision, "put": call}}))
		}
		sent = append(sent, i)
	}
	if len(models) == 0 {
		return puts, nil
	}
	r, err := s.docs.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	refused, ok := errors.AsType[driver.BulkWriteException](err)
	if err != nil && (!ok || refused.WriteConcernError != nil) {
		// If both commands failed, this is the error of the second, and the first may have been applied.
		creates := slices.ContainsFunc(sent, func(i int) bool { return docs[i].Revision == 0 })
		changes := slices.ContainsFunc(sent, func(i int) bool { return docs[i].Revision != 0 })
		noteWrite(ctx, creates && changes)
		return nil, s.wrapError(ctx, err, backend.OutcomeUnknown)
	}
	for _, e := range refused.WriteErrors {
		i := sent[e.Index]
		puts[i] = backend.Put{Err: s.wrapError(ctx, e, backend.OutcomeUnknown)}
		if e.Code == duplicateKey {
			puts[i].Err = conflict(docs[i].Name, docs[i].Revision)
		}
	}
	return puts, s.findConflicts(ctx, docs, puts, call, r.MatchedCount)
}

// findConflicts sets the errors of updates that were not applied. call is in the documents that were updated.
func (s *docs) findConflicts(
	ctx context.Context, docs []backend.Doc, puts []backend.Put, call bson.ObjectID, applied int64,
) error {
	var names []string
	for i, d := range docs {
		if d.Revision != 0 && puts[i].Err == nil {
			names = append(names, d.Name)
		}
	}
	if applied == int64(len(names)) {
		return nil
	}
	wrote := make(map[string]bool, len(names))
	err := chunks(names, func(part []string) error {
		found, err := findIn[storedDoc](ctx, s.Client, s.docs, m{"_id": m{"$in": part}, "put": call},
			options.Find().SetProjection(m{"_id": 1}))
		for _, d := range found {
			wrote[d.Name] = true
		}
		return err
	})
	for i, d := range docs {
		if d.Revision != 0 && puts[i].Err == nil && !wrote[d.Name] {
			puts[i] = backend.Put{Err: conflict(d.Name, d.Revision)}
		}
	}
	return err
}

// maxDocValue is below the server's limit of 16 MB for a document, which includes the name and other fields.
const maxDocValue = 16<<20 - 64<<10

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

// Latest implements backend.Docs.
func (s *docs) Latest(ctx context.Context, prefix, before string, max int) ([]backend.Doc, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil || max <= 0 {
		return nil, err
	}
	end := prefix + "\U0010FFFF" // the last code point
	if before != "" {
		end = min(end, before)
	}
	found, err := findIn[storedDoc](ctx, s.Client, s.docs, m{"_id": m{"$gte": prefix, "$lt": end}},
		options.Find().SetSort(d{desc("_id")}).SetLimit(int64(max)))
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
