package servers

import (
	"context"

	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/afgen/afgen/runtime/backend"
)

// Mongo returns the database in which an App over the servers keeps its tasks, the driver's own, for what a program keeps
// there besides: collections by other names than tasks, owners and docs. It is connected as the App is, with its pool and
// its options, by which writes wait for the journals of a majority; it lives as long as the App. Being the driver's, it knows
// nothing of degraded modes: while MongoDB is away an operation waits for 3 s. app is an *af.App; one over another backend
// is an error, unimplemented.
func Mongo(app interface{ Native() any }) (*driver.Database, error) {
	s, ok := app.Native().(*session)
	if !ok {
		return nil, backend.NewError(backend.ErrUnimplemented, "this App has no MongoDB: it doesn't run over the servers")
	}
	return s.mongo.Mongo(), nil
}

// InTx calls fn in a MongoDB transaction of the App's database, so that tasks and the program's own documents change together:
//
//	err := servers.InTx(ctx, app, func(ctx context.Context) error {
//		if _, err := db.Collection("orders").InsertOne(ctx, order); err != nil {
//			return err
//		}
//		_, err := queue.Submit(ctx, order.ID)
//		return err
//	})
//
// Everything that is done with the context that fn gets is part of the transaction: operations of the driver on the database
// that [Mongo] returns, and Submit, Store and SubmitMany. The tasks exist if and only if the transaction
// commits; their ids are known before, and their hints are sent after it. A TaskID or a UniqueKey that is taken returns the
// task that is there, as always.
//
// If fn returns an error the transaction is aborted, and InTx returns that error. It is the driver's WithTransaction: fn is
// called again after errors that may pass, such as a conflict with another transaction or an election, for up to two minutes. So
// fn must return the errors of what it does, wrapped or not, and have no other effects. If InTx returns an error whose outcome is
// unknown, the transaction may have been committed.
//
// Nothing else of an App takes part: reading, stopping and waiting for tasks, subtasks, limits and jobs. With fn's context,
// waiting for a task, making subtasks, RetryTask and RunJob are refused (failed_precondition), and all other operations happen outside of the
// transaction. With the context of a transaction that isn't InTx's, submitting is refused, too. A standalone server has no
// transactions: failed_precondition.
func InTx(ctx context.Context, app interface{ Native() any }, fn func(ctx context.Context) error) error {
	s, ok := app.Native().(*session)
	switch {
	case !ok:
		return backend.NewError(backend.ErrUnimplemented, "InTx: this App has no MongoDB: it doesn't run over the servers").With(backend.OutcomeNotSent)
	case ctx == nil || fn == nil:
		return backend.NewError(backend.ErrInvalidArgument, "InTx: the context or the function is nil").With(backend.OutcomeNotSent)
	}
	return s.mongo.InTx(ctx, fn)
}
