package mongo

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	low "go.mongodb.org/mongo-driver/v2/x/mongo/driver"

	"github.com/afgen/afgen/runtime/backend"
)

// The driver passes sessions in contexts, and every operation with such a context is part of the session's transaction.
// Most operations of this package must not be: an abort would undo a claim, a stop or a document, others would not see
// it before the commit, and its errors would abort the caller's transaction. So every operation removes the session
// from its context (begin). Only Insert takes part in a transaction, that of InTx, which sends hints after the commit.

// withoutSession returns ctx without a session.
func withoutSession(ctx context.Context) context.Context {
	if driver.SessionFromContext(ctx) == nil {
		return ctx
	}
	return driver.NewSessionContext(ctx, nil)
}

// Limits of InTx. The first three are those of the driver's WithTransaction.
const (
	txRetryFor   = 2 * time.Minute
	txFirstPause = 5 * time.Millisecond // before the transaction is tried again; it grows by half each time, with full jitter
	txMostPause  = 500 * time.Millisecond

	// txEndTimeout is how long aborting a transaction may take. The server aborts those that are not, within a minute.
	txEndTimeout = 2 * time.Second
)

// InTx calls fn in a transaction, and again after transient errors, as the driver's WithTransaction does. Inserts with
// fn's context are part of the transaction. WithTransaction itself commits and aborts without a context, and would wait
// for a server that hangs.
func (c *Client) InTx(ctx context.Context, fn func(ctx context.Context) error) error {
	if backend.TxFrom(ctx) != nil || driver.SessionFromContext(ctx) != nil {
		return backend.NewError(backend.ErrFailedPrecondition, "InTx: the context already has a session or transaction").
			With(backend.OutcomeNotSent)
	}
	begun, done, err := c.begin(ctx)
	if err == nil {
		err = c.checkTransactions(begun)
	}
	done()
	if err != nil {
		return err
	}
	session, err := c.client.StartSession()
	if err != nil {
		return c.wrapError(ctx, err, backend.OutcomeNotSent)
	}
	defer func() { endTx(ctx, session.EndSession) }() // it aborts what was not committed, also if fn panics
	deadline := time.Now().Add(txRetryFor)
	for pause := txFirstPause; ; pause = min(pause*3/2, txMostPause) {
		err := c.tryTx(ctx, session, deadline, fn)
		if err == nil || !hasLabel(err, low.TransientTransactionError) || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(rand.N(pause)):
		case <-ctx.Done():
			return err
		}
	}
}

// tryTx calls fn in a transaction and commits it. The error has the driver's label if the transaction may be tried
// again.
func (c *Client) tryTx(
	ctx context.Context, session *driver.Session, deadline time.Time, fn func(ctx context.Context) error,
) error {
	if err := session.StartTransaction(); err != nil {
		return c.wrapError(ctx, err, backend.OutcomeNotSent)
	}
	tx := &backend.Tx{Of: c}
	if err := fn(backend.WithTx(driver.NewSessionContext(ctx, session), tx)); err != nil {
		endTx(ctx, func(ctx context.Context) { _ = session.AbortTransaction(ctx) }) // the server does so in the end
		return err                                                                  // the caller's own error
	}
	switch {
	case !session.TransactionRunning():
		return nil // fn has ended it
	case ctx.Err() != nil:
		return c.wrapError(ctx, ctx.Err(), backend.OutcomeNotSent)
	}
	return c.commitTx(ctx, session, tx, deadline)
}

// commitTx commits a transaction. While its outcome is unknown it tries again.
func (c *Client) commitTx(ctx context.Context, session *driver.Session, tx *backend.Tx, deadline time.Time) error {
	for sent := false; ; sent = true {
		try, done, err := c.begin(ctx)
		switch {
		case err != nil && sent:
			tx.Committed() // hints for missing tasks are harmless
			return backend.Errorf(backend.CodeOf(err), "InTx: the commit may have been applied: %w", err).
				With(backend.OutcomeUnknown)
		case err != nil:
			return err
		}
		err = session.CommitTransaction(try)
		again := hasLabel(err, low.UnknownTransactionCommitResult) && !hasCode(err, maxTimeExpired) && try.Err() == nil &&
			time.Now().Before(deadline)
		refused := hasLabel(err, low.TransientTransactionError)
		if refused {
			err = c.wrapError(try, err, backend.OutcomeNotSent)
		} else if !again {
			err = c.wrapError(withWrite(try), err, backend.OutcomeUnknown)
		}
		done()
		switch {
		case refused:
			return err
		case again:
			continue
		}
		tx.Committed()
		return err
	}
}

// endTx ends a transaction, also if ctx has ended.
func endTx(ctx context.Context, end func(ctx context.Context)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), txEndTimeout)
	defer cancel()
	end(ctx)
}

const maxTimeExpired = 50

func hasLabel(err error, label string) bool {
	e, ok := errors.AsType[driver.LabeledError](err)
	return ok && e.HasErrorLabel(label)
}

// checkTransactions returns an error if the server has no transactions. The answer can't change while the server runs,
// so success is cached.
func (c *Client) checkTransactions(ctx context.Context) error {
	if c.hasTransactions.Load() {
		return nil
	}
	var hello struct {
		SetName string `bson:"setName"`
		Msg     string `bson:"msg"`
	}
	if err := c.client.Database("admin").RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello); err != nil {
		return c.wrapError(ctx, err, backend.OutcomeNotSent)
	}
	if hello.SetName == "" && hello.Msg != "isdbgrid" {
		return backend.Errorf(backend.ErrFailedPrecondition,
			"InTx: MongoDB at %s is a standalone server, which has no transactions: "+
				"make it a replica set (one member is enough)", c.config.Address).With(backend.OutcomeNotSent)
	}
	c.hasTransactions.Store(true)
	return nil
}

// txSession returns the session of the transaction that an Insert takes part in, or nil. It rejects transactions that
// InTx didn't start, since their commit can't be observed.
func (c *Client) txSession(ctx context.Context, tasks []backend.NewTask) (*driver.Session, error) {
	refuse := func(format string, args ...any) (*driver.Session, error) {
		return nil, backend.Errorf(backend.ErrFailedPrecondition, format, args...).With(backend.OutcomeNotSent)
	}
	session, tx := driver.SessionFromContext(ctx), backend.TxFrom(ctx)
	switch {
	case tx == nil && (session == nil || !session.TransactionRunning()):
		return nil, nil
	case tx == nil:
		return refuse("submitting with the context of a MongoDB transaction: " +
			"use servers.InTx, or a context without the session")
	case tx.Of != c:
		return refuse("submitting in the transaction of another App")
	case session == nil || !session.TransactionRunning():
		return refuse("submitting in a transaction that has ended")
	case slices.ContainsFunc(tasks, func(t backend.NewTask) bool { return t.Gated }):
		return refuse("subtasks can't be submitted in a transaction")
	}
	return session, nil
}

// insertInTx inserts documents in a transaction. Any error of the server aborts the transaction, so it looks for
// conflicts first. Conflicts that arise in between make the driver retry the whole transaction.
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
			found, err := c.findHeads(ctx, m{field: m{"$in": part}})
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
		again := driver.CommandError{Code: duplicateKey, Name: "DuplicateKey",
			Message: "a task with this id or unique key was inserted concurrently",
			Labels:  []string{low.TransientTransactionError}}
		return nil, backend.Errorf(backend.ErrAborted, "MongoDB at %s: %w", c.config.Address, again).
			With(backend.OutcomeNotSent)
	}
	if err != nil {
		return nil, c.wrapError(ctx, err, backend.OutcomeNotSent)
	}
	return stored, nil
}
