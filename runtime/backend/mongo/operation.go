package mongo

import (
	"context"
	"sync/atomic"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
)

// An operation is the context of one method call of a port. Many methods send several commands. Once one of them has
// changed something, no later error may have OutcomeNotSent, since callers repeat such requests as new ones.
type operation struct {
	context.Context
	wrote atomic.Bool
}

type operationKey struct{}

// Value implements context.Context.
func (o *operation) Value(key any) any {
	if key == (operationKey{}) {
		return o
	}
	return o.Context.Value(key)
}

// noteWrite records that a command of the operation of ctx has changed something.
func noteWrite(ctx context.Context, changed bool) {
	if o, ok := ctx.Value(operationKey{}).(*operation); ok && changed {
		o.wrote.Store(true)
	}
}

// withWrite returns ctx as that of an operation that may have changed something.
func withWrite(ctx context.Context) context.Context {
	o := &operation{Context: ctx}
	o.wrote.Store(true)
	return o
}

// outcomeIn returns the outcome of the operation of ctx, given that of its last command.
func outcomeIn(ctx context.Context, outcome backend.Outcome) backend.Outcome {
	if o, ok := ctx.Value(operationKey{}).(*operation); ok && o.wrote.Load() {
		return backend.OutcomeUnknown
	}
	return outcome
}

// A collection records writes in their operations.
type collection struct{ *driver.Collection }

func (c collection) InsertOne(
	ctx context.Context, document any, opts ...options.Lister[options.InsertOneOptions],
) (*driver.InsertOneResult, error) {
	r, err := c.Collection.InsertOne(ctx, document, opts...)
	noteWrite(ctx, err == nil)
	return r, err
}

// InsertMany also records a write if only some of the documents were refused.
func (c collection) InsertMany(
	ctx context.Context, documents any, opts ...options.Lister[options.InsertManyOptions],
) (*driver.InsertManyResult, error) {
	r, err := c.Collection.InsertMany(ctx, documents, opts...)
	noteWrite(ctx, r != nil && len(r.InsertedIDs) > 0)
	return r, err
}

func (c collection) UpdateOne(
	ctx context.Context, filter, update any, opts ...options.Lister[options.UpdateOneOptions],
) (*driver.UpdateResult, error) {
	r, err := c.Collection.UpdateOne(ctx, filter, update, opts...)
	noteWrite(ctx, err == nil && r.ModifiedCount+r.UpsertedCount > 0)
	return r, err
}

func (c collection) UpdateMany(
	ctx context.Context, filter, update any, opts ...options.Lister[options.UpdateManyOptions],
) (*driver.UpdateResult, error) {
	r, err := c.Collection.UpdateMany(ctx, filter, update, opts...)
	noteWrite(ctx, err == nil && r.ModifiedCount+r.UpsertedCount > 0)
	return r, err
}

// findAndUpdate updates one matching document and decodes the result into to. It reports whether there is one. It must
// be repeatable: unlike the driver's FindOneAndUpdate it is not a retryable write, for which the server would also
// store an image of the document and a record of the session.
func (c collection) findAndUpdate(ctx context.Context, filter, update m, to any) (found bool, err error) {
	var reply struct {
		Value bson.RawValue `bson:"value"`
	}
	err = c.Database().RunCommand(ctx, d{
		{Key: "findAndModify", Value: c.Name()}, {Key: "query", Value: filter}, {Key: "update", Value: update},
		{Key: "new", Value: true}, {Key: "writeConcern", Value: durableOption},
	}).Decode(&reply)
	if err != nil || reply.Value.Type != bson.TypeEmbeddedDocument {
		return false, err
	}
	noteWrite(ctx, true)
	return true, reply.Value.Unmarshal(to)
}

// countUpTo counts the matching documents in an index, up to limit. It sends the command count, which takes the server
// half the time of the aggregation that the driver sends. Transactions allow only the latter.
func (c collection) countUpTo(ctx context.Context, filter m, limit int, index string) (int, error) {
	if driver.SessionFromContext(ctx) != nil {
		n, err := c.CountDocuments(ctx, filter, options.Count().SetLimit(int64(limit)).SetHint(index))
		return int(n), err
	}
	var reply struct {
		N int `bson:"n"`
	}
	err := c.Database().RunCommand(ctx, d{
		{Key: "count", Value: c.Name()}, {Key: "query", Value: filter}, {Key: "limit", Value: limit}, {Key: "hint", Value: index},
	}).Decode(&reply)
	return reply.N, err
}

func (c collection) DeleteOne(
	ctx context.Context, filter any, opts ...options.Lister[options.DeleteOneOptions],
) (*driver.DeleteResult, error) {
	r, err := c.Collection.DeleteOne(ctx, filter, opts...)
	noteWrite(ctx, err == nil && r.DeletedCount > 0)
	return r, err
}

func (c collection) DeleteMany(
	ctx context.Context, filter any, opts ...options.Lister[options.DeleteManyOptions],
) (*driver.DeleteResult, error) {
	r, err := c.Collection.DeleteMany(ctx, filter, opts...)
	noteWrite(ctx, err == nil && r.DeletedCount > 0)
	return r, err
}

// BulkWrite also records a write if only some of the models were refused.
func (c collection) BulkWrite(
	ctx context.Context, models []driver.WriteModel, opts ...options.Lister[options.BulkWriteOptions],
) (*driver.BulkWriteResult, error) {
	r, err := c.Collection.BulkWrite(ctx, models, opts...)
	noteWrite(ctx, r != nil && r.InsertedCount+r.ModifiedCount+r.DeletedCount+r.UpsertedCount > 0)
	return r, err
}
