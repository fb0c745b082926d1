package amqp

import (
	"slices"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// statsWindow is the number of calls whose durations are kept.
const statsWindow = 512

// stats counts the calls of a serving.
type stats struct {
	expired int64 // requests that expired before they started; guarded by serving.mu

	mu     sync.Mutex
	calls  int64
	errors map[backend.Code]int64
	took   [statsWindow]time.Duration // ring buffer
}

// note counts an answered call.
func (s *stats) note(r *backend.Reply, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took[s.calls%statsWindow] = took
	s.calls++
	if r.Err != nil {
		if s.errors == nil {
			s.errors = map[backend.Code]int64{}
		}
		s.errors[backend.ParseCode(string(r.Err.Code))]++
	}
}

// A statsReport is the reply to controlStats. Percentiles cover the last statsWindow calls.
type statsReport struct {
	Calls    int64                  `json:"calls"`
	Errors   map[backend.Code]int64 `json:"errors,omitempty"`
	Expired  int64                  `json:"expired"`
	Dropped  int64                  `json:"dropped"` // by the whole Conn: see trust.go
	InFlight int                    `json:"in_flight"`
	P50      float64                `json:"p50_ms"`
	P99      float64                `json:"p99_ms"`
}

func (s *serving) report() statsReport {
	s.mu.Lock()
	n := statsReport{Expired: s.stats.expired, Dropped: s.conn.droppedCount(), InFlight: s.slots}
	s.mu.Unlock()
	t := &s.stats
	t.mu.Lock()
	defer t.mu.Unlock()
	n.Calls, n.Errors = t.calls, make(map[backend.Code]int64, len(t.errors))
	for code, count := range t.errors {
		n.Errors[code] = count
	}
	took := slices.Clone(t.took[:min(t.calls, statsWindow)])
	if len(took) > 0 {
		slices.Sort(took)
		ms := func(i int) float64 { return float64(took[i].Microseconds()) / 1000 }
		n.P50, n.P99 = ms(len(took)/2), ms(len(took)*99/100)
	}
	return n
}
