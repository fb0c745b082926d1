// Package bubble runs tests in virtual time. [Test] is [synctest.Test] and works around a fault of Go that crashes
// tests which run with the race detector.
//
// While a timer's function runs, the race detector records it in a context. Go 1.26 keeps one context for all timers of
// a bubble (runtime.synctestBubble.timers.raceCtx), but runs them on several threads at once: the bubble's root runs
// those that are due, and a goroutine that one of them has already woken runs the elapsed timer whose channel it
// receives from (runtime.timer.maybeRunChan). A context is not safe for concurrent use, so that the process ends with a
// segmentation violation in ThreadSanitizer, now and then. On one processor no two threads run Go code at once. The
// race detector still finds races, as it compares what is ordered, not what coincides.
package bubble

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
)

// Test calls [synctest.Test]. With the race detector, Go code runs on one processor until no bubble is left.
func Test(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if race {
		processors.reserve()
		defer processors.release()
	}
	synctest.Test(t, f)
}

// processors is global because GOMAXPROCS is. Tests run bubbles in parallel.
var processors limit

type limit struct {
	mu      sync.Mutex
	bubbles int
	before  int
}

func (l *limit) reserve() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bubbles++; l.bubbles == 1 {
		l.before = runtime.GOMAXPROCS(1)
	}
}

func (l *limit) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bubbles--; l.bubbles == 0 {
		runtime.GOMAXPROCS(l.before)
	}
}
