// Package backend defines the ports between the runtime and its backends, and the data types that pass through them. A
// backend implements the ports; the runtime uses nothing else of it.
//
// # Ports
//
// A [Backend] opens some or all of the five ports:
//
//   - [Calls] sends a call to one instance of a service and returns the reply.
//   - [Store] stores tasks. It is the only source of truth about them.
//   - [Docs] stores small documents with a revision: jobs, limits, node numbers, node facts.
//   - [Transport] delivers hints that a task may be ready, and raw messages.
//   - [Coordinator] knows which instances are running and delivers events. All of its state may be lost at any time.
//
// Adapters only store and deliver. Retries, subtasks, weights, limits and cron are implemented once, in the runtime.
//
// # Data
//
// [Error], with its [Code] and [Outcome], is the only error type that crosses a port or the wire. [Request] and [Reply]
// are the envelope of a call. [Task] is the document of a task, and [Transitions] the table of its state machine, from
// which guards, conformance tests and the diagram in the documentation are derived.
//
// # Requirements for all ports
//
// Methods must be safe for concurrent use. They must return when their context ends, with an error that states what is
// known about the outcome. All errors are of type [*Error], or wrap one. Each method documents what a nil error
// guarantees. After a call, neither side modifies bytes that were passed or returned (bodies, payloads).
//
// Package memory is the reference implementation. The tests in internal/conform check all implementations.
package backend

import (
	"context"
	"log/slog"
	"time"
)

// A Backend is something that the runtime can run on, such as an SQLite file or a set of servers. Creating one has no
// effect until Open is called.
type Backend interface {
	// Open connects and returns the open ports, which the caller must close. ctx bounds only Open itself. Configuration
	// errors and unreachable servers are reported here.
	Open(ctx context.Context, env Env) (*Ports, error)
}

// A Configured is a Backend made from a configuration that also has settings of the App. They apply unless an option of
// the App replaces them.
type Configured interface {
	Backend
	Settings() Settings
}

// Settings are settings of an App. A zero field leaves the App's default.
type Settings struct {
	IP                string
	Lease             time.Duration
	Retention         Retention
	WrongVersionAfter time.Duration
	Workers           map[string]WorkerSettings // by queue
	// OpenLog opens the App's log, and returns its handler and a function that closes it.
	OpenLog func() (slog.Handler, func() error, error)
	// ConfigFile is the absolute path of the configuration's file, for the log and errors; "" without a file.
	ConfigFile string
}

// Env describes the App that opens a backend.
type Env struct {
	Instance Instance
	// Observer is set for an App that only reads and administers. It serves, claims and announces nothing. Opening writes
	// nothing: it creates no indexes, migrates no file, and succeeds on a full disk and a read-only file.
	Observer bool
	Logger   *slog.Logger // never nil
}

// Ports is an open backend. Ports that the backend doesn't support are nil.
type Ports struct {
	Name        string // for logs and errors, such as "memory"
	Location    string // what other processes must open to share it, without secrets: a path or addresses; "" if none can
	Calls       Calls
	Store       Store
	Docs        Docs
	Transport   Transport
	Coordinator Coordinator
	// Health reports the last known state of the backend's dependencies. It never blocks and may be called after Close. It
	// is nil if the backend has no dependencies that could be unavailable.
	Health func() []Condition
	// ClockRate is the rate of this process's monotonic clock relative to true time; 0 means 1. Only simulations set it.
	ClockRate float64
	// AllowUnavailable reports that the backend was opened although a server is unavailable, and that the App should start
	// anyway.
	AllowUnavailable bool
	// Native is the backend's own handle, for use by its package only.
	Native any
	// Close releases all resources. Calls in flight fail with ErrUnavailable and OutcomeUnknown. The runtime calls Close
	// once, after all Servings are drained or closed. ctx bounds it.
	Close func(ctx context.Context) error
}

// An Instance is one running App, with the services and workers registered with it.
type Instance struct {
	ID      string `json:"id"` // unique per Open, even for the same program on the same machine
	IP      string `json:"ip"`
	Version string `json:"version,omitempty"` // of the program
}
