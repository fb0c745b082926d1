package servers

import (
	"context"

	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/afgen/afgen/runtime/backend"
)

// Mongo returns the driver's handle of the database in which an App keeps its tasks, for a program's own collections.
// Names other than tasks, owners and docs are free. The handle shares the App's connections and options, including
// write concern majority with journaling, and is valid until the App is shut down.
//
// Operations of the driver don't observe degraded modes: while MongoDB is down, they fail after 3 s. app is an *af.App.
// If it runs on another backend, Mongo returns [backend.ErrUnimplemented].
func Mongo(app interface{ Native() any }) (*driver.Database, error) {
	s, ok := app.Native().(*session)
	if !ok {
		return nil, backend.NewError(backend.ErrUnimplemented, "servers.Mongo: the App doesn't run on package servers")
	}
	return s.mongo.Mongo(), nil
}

// MissingIndexes returns the names of the indexes on tasks that don't exist in the database of an App. Without them lists
// fail or claims are slow. Each program creates them when it starts, so that they are missing only if they were dropped,
// or if all programs that have used the database are older than the App, and it was opened with af.Observer. The user
// needs permission to listIndexes. app is an *af.App. If it runs on another backend, MissingIndexes returns
// [backend.ErrUnimplemented].
func MissingIndexes(ctx context.Context, app interface{ Native() any }) ([]string, error) {
	s, ok := app.Native().(*session)
	if !ok {
		return nil, backend.NewError(backend.ErrUnimplemented, "servers.MissingIndexes: the App doesn't run on package servers")
	}
	return s.mongo.MissingIndexes(ctx)
}

// InTx calls fn in a MongoDB transaction on the App's database, so that tasks and the program's own documents change
// together:
//
//	err := servers.InTx(ctx, app, func(ctx context.Context) error {
//		if _, err := db.Collection("orders").InsertOne(ctx, order); err != nil {
//			return err
//		}
//		_, err := queue.Submit(ctx, order.ID)
//		return err
//	})
//
// Operations that use fn's context are part of the transaction: those of the driver on the database that [Mongo]
// returns, and Submit, Store and SubmitMany. The tasks exist if and only if the transaction commits. Their IDs are
// returned before the commit, and their hints are sent after it. If a TaskID or UniqueKey is taken, the existing task
// is returned as usual.
//
// If fn returns an error, the transaction is aborted and InTx returns that error. As with the driver's WithTransaction,
// fn is called again after transient errors such as a write conflict or an election, for up to two minutes. So fn must
// return the errors of its operations, wrapped or not, and have no other side effects. If InTx returns an error whose
// outcome is unknown, the transaction may have been committed. If ctx ends, InTx returns within two seconds after fn.
//
// No other operation of an App is part of the transaction: reading, stopping and waiting for tasks, subtasks, limits
// and jobs. With fn's context, waiting for a task, creating subtasks, RetryTask and RunJob fail with
// failed_precondition. All others run outside of the transaction. Submitting with the context of a transaction that
// InTx didn't start fails too. A standalone server has no transactions, so InTx fails with failed_precondition.
func InTx(ctx context.Context, app interface{ Native() any }, fn func(ctx context.Context) error) error {
	s, ok := app.Native().(*session)
	switch {
	case !ok:
		return backend.NewError(backend.ErrUnimplemented, "servers.InTx: the App doesn't run on package servers").
			With(backend.OutcomeNotSent)
	case ctx == nil || fn == nil:
		return backend.NewError(backend.ErrInvalidArgument, "servers.InTx: nil context or function").
			With(backend.OutcomeNotSent)
	}
	return s.mongo.InTx(ctx, fn)
}
