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

// modes observes the degraded modes of an App.
type modes struct {
	mu      sync.Mutex
	end     context.CancelFunc // nil before Watch
	closed  bool
	running sync.WaitGroup

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
	s.modes.end, s.modes.down, s.modes.lost = cancel, map[string]mode{}, map[string]int64{}
	s.modes.running.Go(func() {
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
	})
}

// Close ends what Watch has begun. A nil Set does nothing.
func (s *Set) Close() {
	if s == nil {
		return
	}
	s.modes.mu.Lock()
	s.modes.closed = true
	if s.modes.end != nil {
		s.modes.end()
	}
	s.modes.mu.Unlock()
	s.modes.running.Wait()
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
