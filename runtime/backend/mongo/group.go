package mongo

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/groupcommit"
)

// Concurrent small inserts share a command, since most of the cost of an insert is that of its command and of the
// journal's commit. Each has its own result: documents are inserted unordered, and what follows a conflict is the
// caller's own business. Large inserts and those of many tasks have a command of their own: they would delay the others
// and gain little.

const (
	// groupsInFlight is how many of these commands may be under way. With one, a caller would wait for half a command on
	// average even if there were only two callers. With more, groups are smaller and the server commits more often.
	groupsInFlight = 2

	maxGroupDocuments = 1000
	maxGroupBytes     = 8 << 20

	// Larger inserts have a command of their own.
	maxSharedTasks = 100
	maxSharedBytes = 64 << 10

	// groupTimeout is how long a command may take once a server was selected. It only matters if a connection hangs while
	// the server answers on others: a server that is down ends all commands sooner.
	groupTimeout = 10 * time.Second
	// slowGroup is after how long a command doesn't count for groupsInFlight.
	slowGroup = time.Second
)

// An insertion is encoded documents that one Insert inserts.
type insertion []bson.Raw

// An inserted is the result of an insertion.
type inserted struct {
	refused []int // indexes of documents that conflict with existing ones
	some    bool  // a document was inserted
	err     error
}

func newInsertGroup(c *Client) *groupcommit.Group[insertion, inserted] {
	return groupcommit.New(groupcommit.Config[insertion, inserted]{
		Commit: c.insertGroup, Size: insertion.size,
		Max:      groupcommit.Size{Count: maxGroupDocuments, Bytes: maxGroupBytes},
		InFlight: groupsInFlight, Timeout: c.config.Patience + groupTimeout, Slow: slowGroup,
	})
}

func (in insertion) size() groupcommit.Size {
	size := groupcommit.Size{Count: len(in)}
	for _, x := range in {
		size.Bytes += len(x)
	}
	return size
}

// shareable reports whether tasks may be inserted together with those of other callers. A context with a session is
// that of a transaction. Subtasks are inserted in several steps.
func shareable(ctx context.Context, tasks []backend.NewTask) bool {
	return driver.SessionFromContext(ctx) == nil && len(tasks) <= maxSharedTasks &&
		!slices.ContainsFunc(tasks, func(t backend.NewTask) bool { return t.Gated })
}

// insertInGroup inserts documents with a command that concurrent calls share. It is an insertFunc. When ctx ends, it
// returns at once, and the command continues.
func (c *Client) insertInGroup(ctx context.Context, list []*document) (refused []int, err error) {
	in := make(insertion, len(list)) // encoded now, since the command may outlive the call
	for i, x := range list {
		if in[i], err = bson.Marshal(x); err != nil {
			return nil, c.wrapError(ctx, err, backend.OutcomeNotSent)
		}
	}
	if in.size().Bytes > maxSharedBytes {
		return c.insertMany(ctx, list)
	}
	result, err := c.inserts.Do(ctx, in)
	switch {
	case errors.Is(err, groupcommit.ErrSent):
		return nil, c.wrapError(ctx, err, backend.OutcomeUnknown)
	case err != nil:
		return nil, c.wrapError(ctx, err, backend.OutcomeNotSent)
	}
	noteWrite(ctx, result.some)
	if e := result.err; e != nil {
		shared := *backend.Coded(e) // with other callers
		return nil, shared.With(outcomeIn(ctx, shared.Outcome))
	}
	return result.refused, nil
}

// insertGroup inserts the documents of several calls with one command.
func (c *Client) insertGroup(ctx context.Context, group []insertion) []inserted {
	results := make([]inserted, len(group))
	var list []bson.Raw
	var from []int // the first document of each call
	for _, in := range group {
		from = append(from, len(list))
		list = append(list, in...)
	}
	ctx, done, err := c.conn.Guard(ctx)
	defer done()
	if err == nil {
		_, err = c.tasks.InsertMany(ctx, list, options.InsertMany().SetOrdered(false))
	}
	bulk, ok := errors.AsType[driver.BulkWriteException](err)
	if err != nil && (!ok || bulk.WriteConcernError != nil) {
		err = c.wrapGroupError(ctx, err)
		for k := range results {
			results[k].err = err
		}
		return results
	}
	failed := make([]int, len(group)) // documents of each call that were not inserted
	for _, e := range bulk.WriteErrors {
		k, found := slices.BinarySearch(from, e.Index)
		if !found {
			k--
		}
		failed[k]++
		if e.Code == duplicateKey {
			results[k].refused = append(results[k].refused, e.Index-from[k])
		} else {
			refusal := driver.WriteException{WriteErrors: driver.WriteErrors{e.WriteError}}
			results[k].err = c.wrapError(context.Background(), refusal, backend.OutcomeUnknown)
		}
	}
	for k, in := range group {
		results[k].some = failed[k] < len(in)
	}
	return results
}

// wrapGroupError is wrapError for a whole command. That its context has ended only means that the server didn't reply:
// the context is no caller's.
func (c *Client) wrapGroupError(ctx context.Context, err error) error {
	e := backend.Coded(c.wrapError(ctx, err, backend.OutcomeUnknown))
	if e.Code == backend.ErrDeadlineExceeded || e.Code == backend.ErrCanceled {
		return backend.Errorf(backend.ErrUnavailable, "%s", e.Message).With(e.Outcome)
	}
	return e
}
