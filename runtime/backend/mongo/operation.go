package mongo

import (
	"context"
	"sync/atomic"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
)

// An operation is the context of one call of a port's method. Many methods need several commands. Once one of them has changed
// something, no later error may report OutcomeNotSent: callers repeat such requests as new ones.
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

// wrote notes whether a command of the operation of ctx has changed something.
func wrote(ctx context.Context, changed bool) {
	if o, ok := ctx.Value(operationKey{}).(*operation); ok && changed {
		o.wrote.Store(true)
	}
}

// outcomeIn returns the outcome of the operation of ctx, given that of its last command.
func outcomeIn(ctx context.Context, outcome backend.Outcome) backend.Outcome {
	if o, ok := ctx.Value(operationKey{}).(*operation); ok && o.wrote.Load() {
		return backend.OutcomeUnknown
	}
	return outcome
}

// A collection is one whose writes are noted in their operations.
type collection struct{ *driver.Collection }

func (c collection) InsertOne(
	ctx context.Context, document any, opts ...options.Lister[options.InsertOneOptions],
) (*driver.InsertOneResult, error) {
	r, err := c.Collection.InsertOne(ctx, document, opts...)
	wrote(ctx, err == nil)
	return r, err
}

// InsertMany notes a write also if only some of the documents are refused.
func (c collection) InsertMany(
	ctx context.Context, documents any, opts ...options.Lister[options.InsertManyOptions],
) (*driver.InsertManyResult, error) {
	r, err := c.Collection.InsertMany(ctx, documents, opts...)
	wrote(ctx, r != nil && len(r.InsertedIDs) > 0)
	return r, err
}

func (c collection) UpdateOne(
	ctx context.Context, filter, update any, opts ...options.Lister[options.UpdateOneOptions],
) (*driver.UpdateResult, error) {
	r, err := c.Collection.UpdateOne(ctx, filter, update, opts...)
	wrote(ctx, err == nil && r.ModifiedCount+r.UpsertedCount > 0)
	return r, err
}

func (c collection) UpdateMany(
	ctx context.Context, filter, update any, opts ...options.Lister[options.UpdateManyOptions],
) (*driver.UpdateResult, error) {
	r, err := c.Collection.UpdateMany(ctx, filter, update, opts...)
	wrote(ctx, err == nil && r.ModifiedCount+r.UpsertedCount > 0)
	return r, err
}

func (c collection) FindOneAndUpdate(
	ctx context.Context, filter, update any, opts ...options.Lister[options.FindOneAndUpdateOptions],
) *driver.SingleResult {
	r := c.Collection.FindOneAndUpdate(ctx, filter, update, opts...)
	wrote(ctx, r.Err() == nil)
	return r
}

func (c collection) DeleteOne(
	ctx context.Context, filter any, opts ...options.Lister[options.DeleteOneOptions],
) (*driver.DeleteResult, error) {
	r, err := c.Collection.DeleteOne(ctx, filter, opts...)
	wrote(ctx, err == nil && r.DeletedCount > 0)
	return r, err
}

func (c collection) DeleteMany(
	ctx context.Context, filter any, opts ...options.Lister[options.DeleteManyOptions],
) (*driver.DeleteResult, error) {
	r, err := c.Collection.DeleteMany(ctx, filter, opts...)
	wrote(ctx, err == nil && r.DeletedCount > 0)
	return r, err
}

// BulkWrite notes a write also if only some of the models are refused.
func (c collection) BulkWrite(
	ctx context.Context, models []driver.WriteModel, opts ...options.Lister[options.BulkWriteOptions],
) (*driver.BulkWriteResult, error) {
	r, err := c.Collection.BulkWrite(ctx, models, opts...)
	wrote(ctx, r != nil && r.InsertedCount+r.ModifiedCount+r.DeletedCount+r.UpsertedCount > 0)
	return r, err
}
