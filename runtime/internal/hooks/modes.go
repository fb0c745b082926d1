package hooks

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
)

// modesEvery is the interval in which conditions and lost log records are compared.
const modesEvery = time.Second

// closeWithin is how long Close waits for an instrument.
const closeWithin = time.Second

// modes observes the degraded modes of an App.
type modes struct {
	mu     sync.Mutex
	end    context.CancelFunc // nil before Watch
	ended  chan struct{}      // closed when the goroutine has ended
	closed bool

	// Only the goroutine uses these.
	down map[string]mode  // by the name of the condition
	lost map[string]int64 // log records, by reason
}

type mode struct {
	name  string
	since time.Time
}

// Watch observes degraded modes and lost log records until Close, on its own goroutine. conditions returns the App's
// conditions, and lost its lost records by reason. Neither may block. Watch must be called at most once. After Close,
// and on a nil Set, it does nothing.
func (s *Set) Watch(conditions func() []backend.Condition, lost func() map[string]int64) {
	if s == nil {
		return
	}
	s.modes.mu.Lock()
	defer s.modes.mu.Unlock()
	if s.modes.closed {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	s.modes.end, s.modes.ended, s.modes.down, s.modes.lost = cancel, ended, map[string]mode{}, map[string]int64{}
	go func() {
		defer close(ended)
		tick := time.NewTicker(modesEvery)
		defer tick.Stop()
		for {
			s.compare(conditions())
			s.compareLost(lost())
			select {
			case <-tick.C:
			case <-ctx.Done():
				s.compareLost(lost())
				return
			}
		}
	}()
}

// Close ends what Watch has begun. It waits for that, but no longer than a second, so that an instrument that blocks
// does not prevent the App from shutting down. A nil Set does nothing.
func (s *Set) Close() {
	if s == nil {
		return
	}
	s.modes.mu.Lock()
	s.modes.closed = true
	end, ended := s.modes.end, s.modes.ended
	s.modes.mu.Unlock()
	if end == nil {
		return
	}
	end()
	select {
	case <-ended:
	case <-time.After(closeWithin):
		s.log.Warn("an instrument blocks in Observe; the shutdown does not wait for it")
	}
}

// compareLost observes the log records that were lost since the last call. An instrument that logs can't make this a
// loop, since that is once a second.
func (s *Set) compareLost(lost map[string]int64) {
	for _, reason := range slices.Sorted(maps.Keys(lost)) {
		if n := lost[reason] - s.modes.lost[reason]; n > 0 {
			s.modes.lost[reason] = lost[reason]
			s.Observe(instrument.Event{Kind: instrument.LogLost, Reason: reason, Records: n})
		}
	}
}

// compare observes the modes that were entered or left since the last call.
func (s *Set) compare(conditions []backend.Condition) {
	now := time.Now()
	for _, c := range conditions {
		was, down := s.modes.down[c.Name]
		if down && (c.Up || c.Mode != was.name) {
			delete(s.modes.down, c.Name)
			s.Observe(instrument.Event{
				Kind: instrument.ModeLeft, Mode: was.name, Condition: c.Name, Duration: now.Sub(was.since)})
			down = false
		}
		if !down && !c.Up {
			s.modes.down[c.Name] = mode{c.Mode, now}
			s.Observe(instrument.Event{
				Kind: instrument.ModeEntered, Mode: c.Mode, Condition: c.Name, Cause: c.Cause})
		}
	}
}
