package runtime

import (
	"log/slog"
	"time"
)

// An AppOption changes an App as it is opened.
type AppOption func(*settings)

type settings struct {
	log        *slog.Logger
	client     []func(Caller) Caller
	server     []func(Handler) Handler
	drain      time.Duration
	redact     bool
	version    string
	ip         string
	maxCalls   int64
	maxPending int64
}

func defaults() settings {
	return settings{log: slog.Default(), drain: 30 * time.Second, maxCalls: 256, maxPending: 16 << 20}
}

// Logger sets where the App logs; nil leaves slog.Default.
func Logger(l *slog.Logger) AppOption {
	return func(s *settings) {
		if l != nil {
			s.log = l
		}
	}
}

// ClientMiddleware wraps the App's Caller: the first one given sees a call first and its result last. A middleware sees
// each call once, however often it is repeated; it may change the Call, answer it itself, or add Headers.
func ClientMiddleware(m ...func(Caller) Caller) AppOption {
	return func(s *settings) { s.client = append(s.client, m...) }
}

// ServerMiddleware wraps the handler of every method: the first one given sees a request first and its result last. A
// panic in a handler reaches it as an error of code ErrInternal.
func ServerMiddleware(m ...func(Handler) Handler) AppOption {
	return func(s *settings) { s.server = append(s.server, m...) }
}

// DrainTimeout bounds the drain at the end of [App.Run]; 30 s where it is not given.
func DrainTimeout(d time.Duration) AppOption { return func(s *settings) { s.drain = d } }

// RedactErrors sends errors without a code as unknown, "the handler failed", and keeps their text in the server's log.
func RedactErrors() AppOption { return func(s *settings) { s.redact = true } }

// Version sets the version that instances report; by default that of the program's main module.
func Version(v string) AppOption { return func(s *settings) { s.version = v } }

// IP sets the address that instances report; by default the first of an interface that is up.
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
