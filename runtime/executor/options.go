package executor

import (
	"math/rand/v2"
	"runtime"
	"time"
)

// An Option changes a pool as it is made.
type Option func(*settings)

type settings struct {
	workers int
	queue   int
	keep    int
	retries int
	delay   func(failed int) time.Duration
	retryIf func(error) bool
	timeout time.Duration
	grace   time.Duration
	memory  int64
	recycle int
}

func newSettings(opts []Option) settings {
	s := settings{workers: runtime.GOMAXPROCS(0), queue: 1024, keep: 1 << 20, grace: 5 * time.Second}
	Delay(time.Second)(&s)
	for _, o := range opts {
		if o != nil {
			o(&s)
		}
	}
	return s
}

// Workers sets how many jobs run at once; GOMAXPROCS without it, 1 at least.
func Workers(n int) Option { return func(s *settings) { s.workers = max(n, 1) } }

// Queue sets how many jobs may be queued that have not begun; 1024 without it, 1 at least.
func Queue(n int) Option { return func(s *settings) { s.queue = max(n, 1) } }

// Keep sets how many jobs a pool remembers, ended ones included, until [Pool.Take] takes them away; further ones are
// refused. 2²⁰ without it.
func Keep(n int) Option { return func(s *settings) { s.keep = max(n, 1) } }

// Retries sets how often a job that fails is tried again; 0 without it.
func Retries(n int) Option { return func(s *settings) { s.retries = max(n, 0) } }

// Delay sets the pause before each retry; 1 s without it.
func Delay(d time.Duration) Option {
	return func(s *settings) { s.delay = func(int) time.Duration { return max(d, 0) } }
}

// Backoff makes the pause before a retry grow: base, doubled with each failure up to most, ±20 %.
func Backoff(base, most time.Duration) Option {
	return func(s *settings) {
		s.delay = func(failed int) time.Duration {
			d, most := max(base, 0), min(most, mostPause)
			for i := 1; i < failed && d < most; i++ {
				d *= 2
			}
			return time.Duration(float64(min(d, most)) * (0.8 + 0.4*rand.Float64()))
		}
	}
}

// mostPause bounds pauses. Its double is still a Duration.
const mostPause = 100 * 365 * 24 * time.Hour

// RetryIf says which errors are worth a retry; without it all are. It is called by several goroutines at once; where it
// panics, the job has failed by that.
func RetryIf(worth func(error) bool) Option { return func(s *settings) { s.retryIf = worth } }

// Timeout bounds each attempt: its context ends with the cause [ErrTimeout]. Without it, or with 0, nothing does. If d is less
// than zero, that context has ended before the attempt begins.
func Timeout(d time.Duration) Option { return func(s *settings) { s.timeout = d } }

// Grace sets how long a job may take to return once its context has ended. Then a child process is killed, on Unix
// by SIGQUIT first, so that it writes its stacks to stderr, and a goroutine, which can't be, is left behind by Shutdown. 5 s
// without it.
func Grace(d time.Duration) Option { return func(s *settings) { s.grace = max(d, 0) } }

// Memory limits the memory of each child process, in bytes: by the kernel on Linux, elsewhere by GOMEMLIMIT only.
func Memory(bytes int64) Option { return func(s *settings) { s.memory = max(bytes, 0) } }

// Recycle replaces a child process after n jobs; 1 is a process for each. Without it, or with 0, it stays.
func Recycle(n int) Option { return func(s *settings) { s.recycle = n } }
