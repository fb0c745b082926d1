package conform

import (
	"sync/atomic"
	"time"
)

// A Skip is a clock that runs like the machine's and that Sleep advances without waiting. A store on it passes tests
// of long durations quickly, and has plenty of real time for short ones: a Tick of seconds costs nothing. The zero
// value is not ahead. It is safe for concurrent use.
type Skip struct{ ahead atomic.Int64 }

// Sleep advances the clock.
func (s *Skip) Sleep(d time.Duration) { s.ahead.Add(int64(d)) }

// Now returns the clock's time.
func (s *Skip) Now() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }

// Since returns the time since the machine's clock was t, plus the amount by which the clock is ahead.
func (s *Skip) Since(t time.Time) time.Duration { return time.Since(t) + time.Duration(s.ahead.Load()) }

// Options returns o for a store on this clock.
func (s *Skip) Options(o Options) Options {
	o.Sleep, o.Now, o.Tick = s.Sleep, s.Now, 5*time.Second
	return o
}
