package conform

import (
	"sync/atomic"
	"time"
)

// A Skip is a clock that runs as the machine's does, and is put forward by Sleep instead of waiting. A store that goes by
// it passes tests of what takes long in no time, and has all the time it needs for what must be soon: a Tick of seconds
// costs nothing. The zero value is not ahead. It is safe for concurrent use.
type Skip struct{ ahead atomic.Int64 }

// Sleep puts the clock forward.
func (s *Skip) Sleep(d time.Duration) { s.ahead.Add(int64(d)) }

// Now is the clock's time.
func (s *Skip) Now() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }

// Since is the time that the clock has counted since the machine's clock was t, had it never been put forward before.
func (s *Skip) Since(t time.Time) time.Duration { return time.Since(t) + time.Duration(s.ahead.Load()) }

// Options returns o for a store that goes by this clock.
func (s *Skip) Options(o Options) Options {
	o.Sleep, o.Now, o.Tick = s.Sleep, s.Now, 5*time.Second
	return o
}
