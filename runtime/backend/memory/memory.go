// Package memory is a backend that lives in one process and needs nothing installed: for tests, simulations and first
// steps. It is also the reference model that every other backend is tested against.
//
// [New] returns an empty backend. All Apps opened on one Backend share it: they call each other and share tasks as they
// would across machines. Arguments and results are still encoded, callers compete for the instances of a service, and
// an App that shuts down doesn't affect the others.
//
//	b := memory.New()
//	servers, err := af.Open(ctx, b)
//	client, err := af.Open(ctx, b)
//
// # Tasks
//
// One mutex guards the store. A single function, transition, changes the status of tasks and follows the state table of
// package backend. Hot paths are indexed: a queue keeps its ready tasks by weight and age, and the others by due time,
// deadline and hint, and those that failed by the code of their error; a source keeps its subtasks and counts the live
// ones; an owner keeps its claims. So a store of a million tasks is as fast as one of a thousand. Only a list sorted by
// end time scans tasks, if its page has some that have not ended, or is limited to a time range. A list with a filter
// scans up to the bounds of package look.
//
// The clock is that of package time, and only callers wait: the store starts no goroutine, so it also works inside
// testing/synctest. Changing the wall clock doesn't move due times.
//
// # Hints
//
// By default hints are plain wake-ups, since all Apps share one store. With [HintIDs] they carry task ids through a
// bounded queue, as a broker would, for simulations. [Grouped] adds another property of servers.
package memory

import (
	"context"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/slots"
)

// A Backend holds tasks, documents and services in memory. It is safe for concurrent use.
type Backend struct {
	mu       sync.Mutex
	services slots.Services[*instance, *waiter]

	store       *store
	docs        *docs
	transport   *transport
	coordinator *coordinator
}

// An Option configures a new Backend.
type Option func(*Backend)

// HintIDs makes hints carry task ids. A queue holds at most max waiting hints and refuses more. When a listener or its
// Ports close, hints that it has not acknowledged return to the queue, marked as redelivered.
func HintIDs(max int) Option { return func(b *Backend) { b.transport.bound = max } }

// New returns an empty Backend.
func New(opts ...Option) *Backend {
	b := &Backend{
		services:    slots.Services[*instance, *waiter]{},
		store:       newStore(),
		docs:        &docs{},
		transport:   &transport{},
		coordinator: &coordinator{},
	}
	for _, o := range opts {
		o(b)
	}
	return b
}

// Open opens the Backend for one App. It always succeeds.
func (b *Backend) Open(_ context.Context, env backend.Env) (*backend.Ports, error) {
	s := &session{backend: b, instance: env.Instance, closed: make(chan struct{})}
	t := &appTransport{transport: b.transport, closed: s.closed, listeners: map[*listener]struct{}{}}
	return &backend.Ports{
		Name:        "memory",
		Calls:       s,
		Store:       b.store,
		Docs:        b.docs,
		Transport:   t,
		Coordinator: b.coordinator,
		Close: func(ctx context.Context) error {
			err := s.close(ctx)
			t.close()
			return err
		},
	}, nil
}

// checkContext returns an error if ctx has ended, before an operation begins.
func checkContext(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return backend.Errorf(backend.CodeOf(ctx.Err()), "not begun: %w", context.Cause(ctx)).With(backend.OutcomeNotSent)
}
