package runtime

import (
	"context"
	"log/slog"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/heartbeat"
)

// An AppOption changes an App as it is opened.
type AppOption func(*settings)

type settings struct {
	log        *slog.Logger // nil: slog.Default
	openLog    func() (slog.Handler, func() error, error)
	client     []func(Caller) Caller
	server     []func(Handler) Handler
	drain      time.Duration
	redact     bool
	version    string
	nodeFacts  func(context.Context) Node // nil: package machine
	ip         string
	maxCalls   int64
	maxPending int64
	lease      time.Duration
	retention  backend.Retention
	// wrongVersion is how long a task waits for a worker of its version.
	wrongVersion time.Duration
	maxCrashes   int
	child        childSettings
	idle         bool // no scheduler from Start on
}

func defaults() settings {
	return settings{
		drain: 25 * time.Second, maxCalls: 256, maxPending: 16 << 20,
		lease: heartbeat.DefaultLease, retention: backend.Retention{Age: 7 * 24 * time.Hour, Max: 100_000},
		wrongVersion: 24 * time.Hour, maxCrashes: 3,
		child: childSettings{grace: childGrace},
	}
}

// Logger sets where the App logs; nil leaves slog.Default.
func Logger(l *slog.Logger) AppOption {
	return func(s *settings) {
		s.log, s.openLog = l, nil
	}
}

// ClientMiddleware wraps the App's Caller: the first one given sees a call first and its result last. A middleware sees
// each call once, however often it is repeated; it may change the Call, answer it itself, or add Headers.
func ClientMiddleware(m ...func(Caller) Caller) AppOption {
	return func(s *settings) { s.client = append(s.client, given(m)...) }
}

// ServerMiddleware wraps the handler of every method: the first one given sees a request first and its result last. A
// panic in a handler reaches it as an error of code ErrInternal.
func ServerMiddleware(m ...func(Handler) Handler) AppOption {
	return func(s *settings) { s.server = append(s.server, given(m)...) }
}

// DrainTimeout bounds the drain at the end of [App.Run]; 25 s where it is not given. Run returns 3 s later at the latest, so a
// supervisor should wait at least this long plus 5 s before it kills the process: see docs/operations.md. Handlers that take
// longer can be told at the beginning, by [Draining].
func DrainTimeout(d time.Duration) AppOption { return func(s *settings) { s.drain = d } }

// RedactErrors hides the texts of errors from the callers of methods and from the readers of tasks. Only the message of an
// [Error] with a code other than [ErrUnknown] remains, which a handler returns on purpose. The text of any other error is
// replaced by "the handler failed", also if it wraps a [Code] or an error of package context, whose code remains. The same
// holds for the value of a task's panic and the stderr of its child process. What is hidden is logged by the instance that ran
// the handler, at level WARN, and is not kept with the task.
//
// Without RedactErrors callers get the texts of errors, and tasks keep them. A caller never gets the value or the stack of a
// panic.
func RedactErrors() AppOption { return func(s *settings) { s.redact = true } }

// Version sets the version that instances report; by default that of the program's main module.
func Version(v string) AppOption { return func(s *settings) { s.version = v } }

// IP sets the address that instances report; by default that from which this machine reaches others, or the first of an
// interface that is up where it has no route.
func IP(ip string) AppOption { return func(s *settings) { s.ip = ip } }

// MaxInFlight bounds the calls that an App has in flight, and the bytes of their arguments; further ones wait. Without
// it, 256 and 16 MiB. Calls that a handler makes are not counted: the service's concurrency bounds those, and waiting
// for its own callers would be a deadlock.
func MaxInFlight(calls, bytes int) AppOption {
	return func(s *settings) {
		s.maxCalls = int64(max(calls, 1))
		s.maxPending = int64(max(bytes, 1))
	}
}

// Lease sets how long this process may send no heartbeat before others declare it dead and run its tasks: 10 s by default.
// [Open] refuses less than 3 s. The process itself cancels its tasks after 0.8 leases, with [ErrLeaseLost].
func Lease(d time.Duration) AppOption { return func(s *settings) { s.lease = d } }

// MaxCrashes sets by how many processes a task fails that died while it was the only suspect in them, for workers that don't
// say max_crashes themselves; 3 where it is not given, 1 to 1000.
func MaxCrashes(n int) AppOption {
	return func(s *settings) { s.maxCrashes = min(max(n, 1), 1000) }
}

// Retention sets how long finished tasks are kept: for an age, and up to a number in each queue, whichever is less; 0
// doesn't limit. Without it, 7 days and 100,000.
func Retention(age time.Duration, most int) AppOption {
	return func(s *settings) { s.retention = backend.Retention{Age: age, Max: most} }
}

// WrongVersionAfter sets how long a task waits for a worker of its version. A task whose payload does not decode, and has
// another fingerprint than that of the worker which has claimed it, was submitted by another version of the program: it
// waits, uncharged, and fails with [ErrFailedPrecondition] once that has been so for d. Without it, 24 h.
func WrongVersionAfter(d time.Duration) AppOption {
	return func(s *settings) { s.wrongVersion = max(d, 0) }
}
