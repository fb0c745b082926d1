package memory

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/groupcommit"
)

// Grouped returns a backend on b whose stores group concurrent inserts, as package mongo does, for simulations: several
// callers share one Insert of b. Groups are those of one Open.
func Grouped(b backend.Backend) backend.Backend { return groupedBackend{b} }

type groupedBackend struct{ backend.Backend }

// Open implements [backend.Backend].
func (b groupedBackend) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := b.Backend.Open(ctx, env)
	if err != nil {
		return nil, err
	}
	s := &groupedStore{Store: ports.Store}
	s.inserts = groupcommit.New(groupcommit.Config[[]backend.NewTask, groupedInsert]{
		Commit: s.commit,
		Size:   func(tasks []backend.NewTask) groupcommit.Size { return groupcommit.Size{Count: len(tasks)} },
		Max:    groupcommit.Size{Count: 1000}, InFlight: 2, Timeout: 10 * time.Second, Slow: time.Second,
	})
	out := *ports
	out.Store = s
	out.Close = func(ctx context.Context) error {
		s.inserts.Close()
		return ports.Close(ctx)
	}
	return &out, nil
}

// A groupedStore is a store that groups inserts.
type groupedStore struct {
	backend.Store
	inserts *groupcommit.Group[[]backend.NewTask, groupedInsert]
}

// A groupedInsert is the result of one of the grouped calls.
type groupedInsert struct {
	stored []backend.Task
	err    error
}

// Insert implements [backend.Store].
func (s *groupedStore) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	gated := slices.ContainsFunc(tasks, func(t backend.NewTask) bool { return t.Gated })
	if len(tasks) == 0 || gated || backend.TxFrom(ctx) != nil {
		return s.Store.Insert(ctx, tasks)
	}
	if err := backend.ValidateInsert(tasks); err != nil { // it must not fail with others
		return nil, err
	}
	r, err := s.inserts.Do(ctx, tasks)
	switch {
	case err == nil:
		return r.stored, r.err
	case errors.Is(err, groupcommit.ErrClosed):
		return nil, backend.NewError(backend.ErrUnavailable, "the store was closed").With(backend.OutcomeNotSent)
	}
	e := backend.Errorf(backend.CodeOf(ctx.Err()), "%w: %w", err, context.Cause(ctx))
	if errors.Is(err, groupcommit.ErrNotSent) {
		return nil, e.With(backend.OutcomeNotSent)
	}
	return nil, e
}

// commit makes one Insert of several.
func (s *groupedStore) commit(ctx context.Context, calls [][]backend.NewTask) []groupedInsert {
	stored, err := s.Store.Insert(ctx, slices.Concat(calls...))
	if err != nil && groupcommit.Ended(ctx) { // no caller's context
		e := backend.Coded(err)
		err = backend.Errorf(backend.ErrUnavailable, "%s", e.Message).With(e.Outcome)
	}
	results := make([]groupedInsert, len(calls))
	for i, tasks := range calls {
		if results[i].err = err; err == nil {
			results[i].stored, stored = stored[:len(tasks):len(tasks)], stored[len(tasks):]
		}
	}
	return results
}
