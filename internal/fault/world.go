package fault

import (
	"context"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A World is the backend under test as shared by all processes. It can be down for all of them, and it records
// changes of tasks. Its methods are safe for concurrent use.
type World struct {
	inner backend.Backend
	start time.Time

	mu  sync.Mutex // held while an operation takes effect, so that the log has the order of the effects
	log *Log

	members sync.Map // the *Backend of each instance

	out  sync.Mutex
	up   chan struct{} // closed at the end of an outage; nil while there is none
	hang bool          // calls wait for that end instead of failing
}

// Around returns a World around b, which must not be used otherwise.
func Around(b backend.Backend) *World {
	return &World{inner: b, start: time.Now(), log: newLog()}
}

// Open implements [backend.Backend] for a process without faults.
func (w *World) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	return New(w, 0, Plan{}).Open(ctx, env)
}

func (w *World) join(ctx context.Context, env backend.Env, dead <-chan struct{}) (*backend.Ports, error) {
	in, err := w.inner.Open(ctx, env)
	if err != nil {
		return nil, err
	}
	return wrap(in, &edge{w, in.Store, env.Instance.ID, dead}, nil), nil
}

// Down begins an outage: the store answers no calls. With hang, calls wait and are executed when the outage ends,
// unless their context or their process ends first. Otherwise they fail at once, without effect.
func (w *World) Down(hang bool) {
	w.out.Lock()
	defer w.out.Unlock()
	w.hang = hang
	if w.up == nil {
		w.up = make(chan struct{})
	}
}

// Up ends an outage.
func (w *World) Up() {
	w.out.Lock()
	defer w.out.Unlock()
	if w.up != nil {
		close(w.up)
		w.up = nil
	}
}

// Log returns the record of everything until now.
func (w *World) Log() *Log {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.clone()
}

// Left returns the unfinished work, like [Log.CheckEnd] on the current log.
func (w *World) Left(stored []backend.Task) []Violation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.CheckEnd(stored)
}

// Births returns how often a task with this id was inserted: an id may be reused after retention has removed the
// task.
func (w *World) Births(id string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.births[id]
}

// An edge is the store's end of one process's connection.
type edge struct {
	w        *World
	store    backend.Store
	instance string
	dead     <-chan struct{}
}

// pass makes a call and records its effect, one at a time.
func (e *edge) pass(ctx context.Context, c call, run func(context.Context) (any, error)) (any, error) {
	if err := e.awaitUp(ctx, c); err != nil {
		return nil, err
	}
	if c.reads() {
		return run(ctx)
	}
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	v, err := run(ctx)
	e.w.log.note(e, c, v, err)
	return v, err
}

// awaitUp blocks a call while the store is down.
func (e *edge) awaitUp(ctx context.Context, c call) error {
	for {
		e.w.out.Lock()
		up, hang := e.w.up, e.w.hang
		e.w.out.Unlock()
		if up == nil {
			return nil
		}
		if !hang {
			return backend.Errorf(backend.ErrUnavailable, "%s: the store is down", c.op).With(backend.OutcomeNotSent)
		}
		select {
		case <-up:
		case <-ctx.Done():
			return backend.Errorf(backend.CodeOf(ctx.Err()), "%s: the store does not answer: %w", c.op, context.Cause(ctx))
		case <-e.dead:
			return gone(c)
		}
	}
}

// reads reports whether a call changes nothing that the log tracks.
func (c call) reads() bool {
	switch c.op {
	case "Insert", "Claim", "Settle", "Beat", "ExpireOwner", "Refund", "Promote", "Spawn", "Discard", "Finish", "Stop",
		"Purge", "Delete",
		"Docs.PutIf", "Docs.PutAll", "Docs.Delete":
		return false
	}
	return true
}
