// Package memory is the backend that lives in one process and needs nothing: for tests, simulations and first steps. It
// is plain Go and the reference model that every other backend is compared with.
//
// [New] makes an empty world. Every App opened on the same Backend lives in it, so that several Apps in one process
// call each other and share tasks as they would across machines: arguments and results are encoded all the same, a
// caller competes for the instances of a service, and an App that shuts down leaves the others alone. The world goes
// with the last reference to it.
//
//	world := memory.New()
//	servers, err := af.Open(ctx, world)
//	client, err := af.Open(ctx, world)
//
// # Tasks
//
// One mutex guards the store, and every task changes its status in one function, which follows the state table of
// package backend. What a hot path needs is indexed: a queue keeps its ready tasks by weight and age, the others by due
// time, deadline and hint; a source keeps its subtasks and how many are live; an owner keeps its claims. So nothing but
// a list sorted by end looks at all tasks, and a store of a million is as fast as one of a thousand.
//
// Time is package time's, and waiting is done by whoever calls: the store has no goroutine of its own and runs inside
// testing/synctest as it does outside. A step of the wall clock moves no due time.
//
// # Hints
//
// Hints are mere wake-ups by default, since everybody looks into the same store. With [HintIDs] they carry task ids
// through a bounded queue, as over a broker, for simulations.
package memory

import (
	"context"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/slots"
)

// A Backend is one world in memory. It is safe for concurrent use and goes with the last reference to it.
type Backend struct {
	mu       sync.Mutex
	services slots.Services[*instance, *waiter]

	store     *store
	docs      *docs
	transport *transport
	presence  *presence
}

// An Option changes a new world.
type Option func(*Backend)

// HintIDs makes hints carry task ids, at most max of them waiting in a queue: more are refused. Those that a listener
// has not acknowledged when it closes, or its Ports do, go back to the queue under suspicion.
func HintIDs(max int) Option { return func(b *Backend) { b.transport.bound = max } }

// New returns an empty world.
func New(opts ...Option) *Backend {
	b := &Backend{
		services:  slots.Services[*instance, *waiter]{},
		store:     newStore(),
		docs:      &docs{},
		transport: &transport{},
		presence:  &presence{},
	}
	for _, o := range opts {
		o(b)
	}
	return b
}

// Open joins the world. It always succeeds.
func (b *Backend) Open(_ context.Context, env backend.Env) (*backend.Ports, error) {
	s := &session{backend: b, instance: env.Instance, closed: make(chan struct{})}
	t := &carrier{transport: b.transport, closed: s.closed, listeners: map[*listener]struct{}{}}
	return &backend.Ports{
		Name:        "memory",
		Calls:       s,
		Store:       b.store,
		Docs:        b.docs,
		Transport:   t,
		Coordinator: b.presence,
		Close: func(ctx context.Context) error {
			err := s.close(ctx)
			t.close()
			return err
		},
	}, nil
}

// alive returns the error of a method whose context has ended before it began.
func alive(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return backend.Errorf(backend.CodeOf(ctx.Err()), "not begun: %w", context.Cause(ctx)).With(backend.OutcomeNotSent)
}
