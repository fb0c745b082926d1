package mongo

import (
	"context"
	"errors"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	low "go.mongodb.org/mongo-driver/v2/x/mongo/driver"

	"github.com/afgen/afgen/runtime/backend"
)

// Sessions of the driver travel in contexts, and whatever is done with such a context is done in their transactions. What this
// package does must not be, where it happens to be called with one: a claim, a stop or a document would be undone by an abort,
// invisible to others until the commit, and its errors would abort what is the caller's. So every operation takes the session
// out of its context (begin). Only Insert takes part in a transaction, in that of InTx, which hints after the commit.

// outside returns ctx without a session.
func outside(ctx context.Context) context.Context {
	if driver.SessionFromContext(ctx) == nil {
		return ctx
	}
	return driver.NewSessionContext(ctx, nil)
}

// InTx calls fn in a transaction, again while the driver's WithTransaction says so. What Insert is called with the context
// that fn gets becomes part of it.
func (c *Client) InTx(ctx context.Context, fn func(ctx context.Context) error) error {
	if backend.TxFrom(ctx) != nil || driver.SessionFromContext(ctx) != nil {
		return backend.NewError(backend.ErrFailedPrecondition, "InTx: the context is that of a transaction, or of a session, already").
			With(backend.OutcomeNotSent)
	}
	_, done, err := c.begin(ctx)
	done()
	if err != nil {
		return err
	}
	if err := c.checkTransactions(ctx); err != nil {
		return err
	}
	session, err := c.client.StartSession()
	if err != nil {
		return c.failed(ctx, err, backend.OutcomeNotSent)
	}
	defer session.EndSession(context.WithoutCancel(ctx))
	var last *backend.Tx
	var failed error // of fn
	_, err = session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
		last = &backend.Tx{Of: c}
		failed = fn(backend.WithTx(ctx, last))
		return nil, failed
	}, options.Transaction())
	switch {
	case err == nil:
		last.Committed()
		return nil
	case failed != nil && errors.Is(err, failed):
		return err // as it is: it is the caller's
	case hasLabel(err, low.UnknownTransactionCommitResult):
		last.Committed() // a hint of what isn't there is harmless
		return c.failed(ctx, err, backend.OutcomeUnknown)
	}
	return c.failed(ctx, err, backend.OutcomeNotSent)
}

func hasLabel(err error, label string) bool {
	e, ok := errors.AsType[driver.LabeledError](err)
	return ok && e.HasErrorLabel(label)
}

// checkTransactions refuses a server that has no transactions. What it is doesn't change while it runs.
func (c *Client) checkTransactions(ctx context.Context) error {
	if c.transacts.Load() {
		return nil
	}
	var hello struct {
		SetName string `bson:"setName"`
		Msg     string `bson:"msg"`
	}
	if err := c.client.Database("admin").RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello); err != nil {
		return c.failed(ctx, err, backend.OutcomeNotSent)
	}
	if hello.SetName == "" && hello.Msg != "isdbgrid" {
		return backend.Errorf(backend.ErrFailedPrecondition, "InTx: MongoDB at %s is a standalone server, and has no transactions: make it a "+
			"replica set, one member is enough", c.config.Address).With(backend.OutcomeNotSent)
	}
	c.transacts.Store(true)
	return nil
}

// inTx returns the session of the transaction that an Insert takes part in, nil if there is none. A transaction that isn't
// InTx's is refused: there is no telling when it has committed.
func (c *Client) inTx(ctx context.Context, tasks []backend.NewTask) (*driver.Session, error) {
	refuse := func(format string, args ...any) (*driver.Session, error) {
		return nil, backend.Errorf(backend.ErrFailedPrecondition, format, args...).With(backend.OutcomeNotSent)
	}
	session, tx := driver.SessionFromContext(ctx), backend.TxFrom(ctx)
	switch {
	case tx == nil && (session == nil || !session.TransactionRunning()):
		return nil, nil
	case tx == nil:
		return refuse("submitting with the context of a MongoDB transaction: use servers.InTx, by which the task is there if and only if " +
			"the transaction commits, or a context without the session")
	case tx.Of != c:
		return refuse("submitting in the transaction of another App")
	case session == nil || !session.TransactionRunning():
		return refuse("submitting in a transaction that has ended")
	case slices.ContainsFunc(tasks, func(t backend.NewTask) bool { return t.Gated }):
		return refuse("subtasks can't be submitted in a transaction")
	}
	return session, nil
}

// insertInTx inserts documents in a transaction. Any error of the server aborts that, so conflicts are looked for
// before. What came between is seen by a new try of the whole transaction, which the error asks for.
func (c *Client) insertInTx(ctx context.Context, fresh []*document) ([]*document, error) {
	var ids, keys []string
	for _, x := range fresh {
		ids = append(ids, x.ID)
		if x.Key != "" {
			keys = append(keys, x.Key)
		}
	}
	byID, byKey := map[string]*document{}, map[string]*document{}
	for field, values := range map[string][]string{"_id": ids, "key": keys} {
		err := chunks(values, func(part []string) error {
			found, err := c.heads(ctx, m{field: m{"$in": part}})
			for _, x := range found {
				byID[x.ID] = x
				if x.Key != "" {
					byKey[x.Key] = x
				}
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	stored := make([]*document, len(fresh))
	var list []any
	for i, x := range fresh {
		switch {
		case byID[x.ID] != nil:
			stored[i] = byID[x.ID]
		case x.Key != "" && byKey[x.Key] != nil:
			stored[i] = byKey[x.Key]
		default:
			stored[i], list = x, append(list, x)
			byID[x.ID] = x
			if x.Key != "" {
				byKey[x.Key] = x
			}
		}
	}
	if len(list) == 0 {
		return stored, nil
	}
	_, err := c.tasks.InsertMany(ctx, list)
	if driver.IsDuplicateKeyError(err) {
		again := driver.CommandError{Code: duplicateKey, Name: "DuplicateKey", Message: "another task with this id or unique key has come meanwhile",
			Labels: []string{low.TransientTransactionError}}
		return nil, backend.Errorf(backend.ErrAborted, "MongoDB at %s: %w", c.config.Address, again).With(backend.OutcomeNotSent)
	}
	if err != nil {
		return nil, c.failed(ctx, err, backend.OutcomeNotSent)
	}
	return stored, nil
}
