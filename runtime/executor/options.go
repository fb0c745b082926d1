package executor

import (
	"math/rand/v2"
	"runtime"
	"time"
)

// An Option is an option of a pool.
type Option func(*settings)

type settings struct {
	workers int
	queue   int
	keep    int
	retries int
	delay   func(failed int) time.Duration
	retryIf func(error) bool // nil means true
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

// Workers sets how many jobs run at once, at least 1. The default is GOMAXPROCS.
func Workers(n int) Option { return func(s *settings) { s.workers = max(n, 1) } }

// Queue sets how many jobs that have not begun can be queued, at least 1. The default is 1024.
func Queue(n int) Option { return func(s *settings) { s.queue = max(n, 1) } }

// Keep sets how many jobs a pool holds, including those that have ended and were not removed by [Pool.Take]. Submitting
// further ones fails. The default is 2²⁰.
func Keep(n int) Option { return func(s *settings) { s.keep = max(n, 1) } }

// Retries sets how often a failed job is retried. The default is 0.
func Retries(n int) Option { return func(s *settings) { s.retries = max(n, 0) } }

// Delay sets the pause before each retry. The default is 1 s.
func Delay(d time.Duration) Option {
	return func(s *settings) { s.delay = func(int) time.Duration { return max(d, 0) } }
}

// Backoff sets an exponential pause before each retry: base, doubled with each failure up to most, ±20 %.
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

// mostPause limits pauses, so that doubling one does not overflow.
const mostPause = 100 * 365 * 24 * time.Hour

// RetryIf sets a function that reports whether an error is retried. By default all are. It is called concurrently. If
// it panics, the job fails with a [PanicError].
func RetryIf(worth func(error) bool) Option { return func(s *settings) { s.retryIf = worth } }

// Timeout limits each attempt. Its context ends with the cause [ErrTimeout]. 0, the default, is no limit. If d is
// negative, the context has ended before the attempt begins.
func Timeout(d time.Duration) Option { return func(s *settings) { s.timeout = d } }

// Grace sets how long a job may run after its context has ended. The default is 5 s. Then a child process is killed. On
// Unix it gets SIGQUIT first, so that it writes its stacks to stderr. A goroutine can't be killed: Shutdown abandons
// it.
func Grace(d time.Duration) Option { return func(s *settings) { s.grace = max(d, 0) } }

// Memory limits the memory of each child process, in bytes. On Linux the kernel enforces the limit. On all systems it
// sets GOMEMLIMIT. 0, the default, is no limit.
func Memory(bytes int64) Option { return func(s *settings) { s.memory = max(bytes, 0) } }

// Recycle replaces a child process after n jobs. 0, the default, never does.
func Recycle(n int) Option { return func(s *settings) { s.recycle = n } }
