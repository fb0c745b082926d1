// Package backend holds what stands between the runtime and the world: the ports, and the plain data that passes
// through them. The runtime uses nothing else of a backend, an adapter implements nothing else, and neither imports the
// other.
//
// # Ports
//
//   - [Calls] carries a call to one instance of a service and its reply back.
//   - [Store] keeps tasks: the only truth about them.
//   - [Docs] keeps small documents with a revision: jobs, limits, node numbers, node facts.
//   - [Transport] carries hints that a task may be ready, and raw messages.
//   - [Coordinator] says who is there and spreads news. Everything it knows may be forgotten at any time.
//
// A [Backend] opens some or all of them as [Ports]. Adapters only store and carry: retries, subtasks, weights, limits and
// cron live in the runtime, once.
//
// # Data
//
// [Error] with its [Code] and [Outcome] is the one error that crosses a port or the wire. [Request] and [Reply] are the
// envelope of a call. [Task] is the document of a task, and [Transitions] the table of what may happen to it: guards,
// the conformance tests and the documentation's diagram are made from that table.
//
// # Contract of every port
//
// Methods are safe for concurrent use and return as soon as their context ends, with an error that says what is known
// about the outcome. Errors are *Error. What a nil error means, and what it doesn't, stands at each method. Bytes passed
// in or handed out (bodies, payloads) are not modified afterwards by either side.
package backend

import (
	"context"
	"log/slog"
)

// A Backend is what sits under the runtime: memory, embedded, or the three servers. Making one does nothing; Open does.
type Backend interface {
	// Open connects. ctx bounds the opening only. Configuration errors and servers that can't be reached surface here.
	// The caller closes the Ports.
	Open(ctx context.Context, env Env) (*Ports, error)
}

// Env is what a backend learns of the App that opens it.
type Env struct {
	Instance Instance
	Logger   *slog.Logger // never nil
}

// Ports is an open backend. A nil port is one that this backend doesn't have.
type Ports struct {
	Name        string // for logs and errors, such as "memory"
	Calls       Calls
	Store       Store
	Docs        Docs
	Transport   Transport
	Coordinator Coordinator
	// Health returns how what the backend rests on stands, as last seen; it waits for nobody, and may be called after
	// Close. Nil: there is nothing that could be away.
	Health func() []Condition
	// ClockRate is how fast the monotonic clock of this process runs, compared with true time; 0 is 1. Simulations set it.
	ClockRate float64
	// AllowUnavailable is set if the backend was opened although a server can't be reached, and that an App shall start all the
	// same.
	AllowUnavailable bool
	// Native is the backend's own handle, beyond its ports. Only the backend's package knows its type.
	Native any
	// Close releases everything. Calls in flight fail as unavailable, outcome unknown. It is called once, after all
	// Servings are drained or closed; ctx bounds it.
	Close func(ctx context.Context) error
}

// An Instance is one running App: one copy of the services and workers registered with it.
type Instance struct {
	ID      string `json:"id"` // unique for every opening, also of the same program on the same machine
	IP      string `json:"ip"`
	Version string `json:"version,omitempty"` // of the program
}
