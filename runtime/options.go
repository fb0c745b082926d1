package runtime

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/heartbeat"
)

// An AppOption is an option of [Open].
type AppOption func(*settings)

type settings struct {
	log          *slog.Logger // nil means slog.Default
	openLog      func() (slog.Handler, func() error, error)
	client       []func(Caller) Caller
	server       []func(Handler) Handler
	worker       []func(TaskHandler) TaskHandler
	submit       []func(Submitter) Submitter
	instruments  []Instrumentation
	drain        time.Duration
	redact       bool
	version      string
	nodeFacts    func(context.Context) Node // nil means package machine
	ip           string
	configFile   string // absolute path, for the log and errors; "" if there is none
	maxCalls     int64
	maxPending   int64
	lease        time.Duration
	retention    backend.Retention
	wrongVersion time.Duration // how long a task waits for a worker of its version
	maxCrashes   int
	child        childSettings
	observer     bool
	idle         bool                                // Start does not start the scheduler
	workers      map[string][]backend.WorkerSettings // by queue, the first ones are overridden by the next
}

func defaults() settings {
	return settings{
		drain: 25 * time.Second, maxCalls: 256, maxPending: 16 << 20,
		lease: heartbeat.DefaultLease, retention: backend.Retention{Age: 7 * 24 * time.Hour, Max: 100_000},
		wrongVersion: 24 * time.Hour, maxCrashes: 3,
		child: childSettings{grace: childGrace},
	}
}

// configure applies the settings of a backend's configuration.
func (s *settings) configure(c backend.Settings) {
	s.ip = cmp.Or(c.IP, s.ip)
	s.lease = cmp.Or(c.Lease, s.lease)
	s.retention = cmp.Or(c.Retention, s.retention)
	s.wrongVersion = cmp.Or(c.WrongVersionAfter, s.wrongVersion)
	s.openLog = c.OpenLog
	s.configFile = c.ConfigFile
	for queue, layer := range c.Workers {
		s.configureWorker(queue, layer)
	}
}

// Logger sets the App's logger. The default, and nil, is slog.Default.
func Logger(l *slog.Logger) AppOption {
	return func(s *settings) {
		s.log, s.openLog = l, nil
	}
}

// ClientMiddleware wraps the [Caller] through which the App sends its calls. The first middleware sees a call first and
// its result last. Each sees a call once, even if the App retries it. It may change the [Call], add Headers, or return
// a result without sending the call.
func ClientMiddleware(m ...func(Caller) Caller) AppOption {
	return func(s *settings) { s.client = append(s.client, withoutNil(m)...) }
}

// ServerMiddleware wraps the [Handler] of every method that the App serves. The first middleware sees a request first
// and its result last. It sees a panic of a handler as an error with the code [ErrInternal].
func ServerMiddleware(m ...func(Handler) Handler) AppOption {
	return func(s *settings) { s.server = append(s.server, withoutNil(m)...) }
}

// DrainTimeout limits the drain at the end of [App.Run]. The default is 25 s. Run returns at most 3 s after it, so a
// supervisor should wait at least 5 s longer than d before it kills the process: see docs/operations.md. Handlers that
// take longer can use [Draining].
func DrainTimeout(d time.Duration) AppOption { return func(s *settings) { s.drain = d } }

// RedactErrors hides the texts of errors from the callers of methods and from the readers of tasks. Only the message of
// an [Error] with a code other than [ErrUnknown] remains, which a handler returns on purpose. The text of any other
// error is replaced by "the handler failed". If it wraps a [Code] or an error of package context, the code remains. The
// value of a task's panic and the stderr of its child process are hidden, too. The instance that ran the handler logs
// the hidden text at level WARN. It is not stored with the task.
//
// Without RedactErrors callers get the texts of errors, and they are stored with tasks. A caller never gets the value
// or the stack of a panic.
func RedactErrors() AppOption { return func(s *settings) { s.redact = true } }

// Version sets the version that the App reports. The default is the version of the program's main module.
func Version(v string) AppOption { return func(s *settings) { s.version = v } }

// IP sets the address that the App reports. The default is the source address of the machine's default route, or if it
// has none, the first address of an interface that is up.
func IP(ip string) AppOption { return func(s *settings) { s.ip = ip } }

// MaxInFlight limits the number of calls that the App has in flight, and the total size of their arguments in bytes.
// Further calls wait. The default is 256 calls and 16 MiB. Calls made by handlers are not counted, since waiting for
// their own callers would be a deadlock. The service's concurrency limits them.
func MaxInFlight(calls, bytes int) AppOption {
	return func(s *settings) {
		s.maxCalls = int64(max(calls, 1))
		s.maxPending = int64(max(bytes, 1))
	}
}

// Lease sets the time without a heartbeat after which other processes declare this one dead and run its tasks. The
// default is 20 s. [Open] rejects less than 3 s. If this process can't send a heartbeat for 0.8 leases, it cancels its
// own tasks with [ErrLeaseLost].
func Lease(d time.Duration) AppOption { return func(s *settings) { s.lease = d } }

// MaxCrashes sets the number of crashes after which a task fails. If a process dies, a crash is counted for a task only
// if it was the one suspected task among those that the process ran. It applies to workers without max_crashes. The
// default is 3, the range 1 to 1000.
func MaxCrashes(n int) AppOption {
	return func(s *settings) { s.maxCrashes = min(max(n, 1), 1000) }
}

// Retention sets how long finished tasks are kept: until they reach an age, or until their queue has more than most of
// them. 0 is no limit. The default is 7 days and 100,000.
func Retention(age time.Duration, most int) AppOption {
	return func(s *settings) { s.retention = backend.Retention{Age: age, Max: most} }
}

// WrongVersionAfter sets how long a task waits for a worker of its version. If a worker can't decode a task's payload,
// and the payload's type has another fingerprint, another version of the program has submitted the task. The task then
// waits for a worker that can decode it, without being charged an attempt. After d it fails with
// [ErrFailedPrecondition]. The default is 24 h.
func WrongVersionAfter(d time.Duration) AppOption {
	return func(s *settings) { s.wrongVersion = max(d, 0) }
}
