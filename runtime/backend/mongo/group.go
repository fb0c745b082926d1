package mongo

import (
	"context"
	"errors"
	"slices"
	"time"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/groupcommit"
)

// Concurrent small inserts share a command, since most of the cost of an insert is that of its command and of the
// journal's commit. Each call has its own result: documents are inserted unordered, and a call resolves conflicts by
// itself. Large inserts and those of many tasks have a command of their own: they would delay others and gain little.

const (
	// groupsInFlight is how many of these commands may be under way. With one, even the second of two callers would wait
	// for half a command on average. With more, groups are smaller: with one, two and four, 64 callers in a loop take
	// 0.03, 0.05 and 0.08 commands per insert, and 8 callers 0.16, 0.28 and 0.52.
	groupsInFlight = 2

	// Bounds of one command.
	maxGroupDocuments = 1000
	maxGroupBytes     = 8 << 20

	// maxSharedBytes is the size beyond which an insert has a command of its own.
	maxSharedBytes = 64 << 10

	// groupTimeout is how long a command may take once a server was selected. It only matters if a connection hangs while
	// the server answers on others: a server that is down ends all commands sooner.
	groupTimeout = 10 * time.Second
	// slowGroup is after how long a command doesn't count for groupsInFlight.
	slowGroup = time.Second
)

// An inserted is the result of one call's documents.
type inserted struct {
	refused []int // indexes of documents that conflict with existing ones
	some    bool  // a document was inserted
	err     error
}

// An insertGroup has calls of Insert with their documents.
type insertGroup = groupcommit.Group[[]*document, inserted]

func newInsertGroup(c *Client) *insertGroup {
	return groupcommit.New(groupcommit.Config[[]*document, inserted]{
		Commit: c.commitInserts, Size: insertSize,
		Max:      groupcommit.Size{Count: maxGroupDocuments, Bytes: maxGroupBytes},
		InFlight: groupsInFlight, Timeout: c.config.Patience + groupTimeout, Slow: c.config.slowGroup,
	})
}

// insertSize returns the size of new documents, and for the bytes an upper bound.
func insertSize(list []*document) groupcommit.Size {
	const rest = 1 << 10 // names of fields, and fields of a fixed size
	size := groupcommit.Size{Count: len(list), Bytes: rest * len(list)}
	for _, x := range list {
		size.Bytes += len(x.ID) + 3*len(x.Queue) + len(x.Payload) + len(x.Fingerprint) + len(x.Batch) + len(x.DoneOf) +
			len(x.RetryOf) + len(x.UniqueKey) + len(x.Key) + len(x.Trace)
		for _, network := range x.Allow {
			size.Bytes += len(network) + 16
		}
		for name, value := range x.Metadata {
			size.Bytes += len(name) + len(value) + 16
		}
	}
	return size
}

// shareable reports whether tasks may be inserted together with those of other callers. A context with a session may be
// that of a transaction, and subtasks are inserted in several steps.
func shareable(ctx context.Context, tasks []backend.NewTask) bool {
	return driver.SessionFromContext(ctx) == nil &&
		!slices.ContainsFunc(tasks, func(t backend.NewTask) bool { return t.Gated })
}

// insertInGroup inserts documents with a command that concurrent calls share. It is an insertFunc. If ctx ends while
// that command is under way, it returns at once, and the command continues.
func (c *Client) insertInGroup(ctx context.Context, list []*document) (refused []int, err error) {
	if insertSize(list).Bytes > maxSharedBytes {
		return c.insertMany(ctx, list)
	}
	result, err := c.inserts.Do(ctx, list)
	switch {
	case errors.Is(err, groupcommit.ErrSent):
		return nil, c.wrapError(ctx, err, backend.OutcomeUnknown)
	case err != nil:
		return nil, c.wrapError(ctx, err, backend.OutcomeNotSent)
	}
	noteWrite(ctx, result.some)
	if result.err != nil {
		e := *backend.Coded(result.err) // shared with other callers
		return nil, e.With(outcomeIn(ctx, e.Outcome))
	}
	return result.refused, nil
}

// commitInserts inserts the documents of one or several calls with one command. If ctx is that of a call, it is guarded.
func (c *Client) commitInserts(ctx context.Context, calls [][]*document) []inserted {
	results := make([]inserted, len(calls))
	list := calls[0]
	if len(calls) > 1 {
		list = slices.Concat(calls...)
	}
	var err error
	if groupcommit.Queued(ctx) {
		var done context.CancelFunc
		ctx, done, err = c.conn.Guard(ctx)
		defer done()
	}
	if err == nil {
		_, err = c.tasks.InsertMany(ctx, list, options.InsertMany().SetOrdered(false))
	}
	bulk, ok := errors.AsType[driver.BulkWriteException](err)
	if err != nil && (!ok || bulk.WriteConcernError != nil) {
		err = c.wrapInsertError(ctx, err)
		for k := range results {
			results[k].err = err
		}
		return results
	}
	failed := make([]int, len(calls)) // documents of each call that were not inserted
	for _, e := range bulk.WriteErrors {
		k, i := 0, e.Index
		for ; i >= len(calls[k]); k++ {
			i -= len(calls[k])
		}
		failed[k]++
		if e.Code == duplicateKey {
			results[k].refused = append(results[k].refused, i)
		} else {
			refusal := driver.WriteException{WriteErrors: driver.WriteErrors{e.WriteError}}
			results[k].err = c.wrapError(context.Background(), refusal, backend.OutcomeUnknown)
		}
	}
	for k, list := range calls {
		results[k].some = failed[k] < len(list)
	}
	return results
}

// wrapInsertError is wrapError for a command of the group. If the command took too long, that isn't the deadline of any
// caller: the server is unavailable.
func (c *Client) wrapInsertError(ctx context.Context, err error) error {
	e := backend.Coded(c.wrapError(ctx, err, backend.OutcomeUnknown))
	if ended := e.Code == backend.ErrDeadlineExceeded || e.Code == backend.ErrCanceled; ended && groupcommit.Ended(ctx) {
		return backend.Errorf(backend.ErrUnavailable, "%s", e.Message).With(e.Outcome)
	}
	return e
}
