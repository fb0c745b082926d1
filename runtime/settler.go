package runtime

import (
	"context"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
)

// A settler writes what came of attempts, in batches: all that has come together while the batch before was written. A
// batch whose outcome is unknown is written again, with a fresh context, until the store has said what came of it.
type settler struct {
	e *engine

	mu      sync.Mutex
	pending []settlement
	batch   []settlement  // being written
	empty   chan struct{} // closed when nothing is pending; made by flush

	wake chan struct{}
}

type settlement struct {
	backend.Settle
	a *attempt
}

const (
	settleBatch   = 200
	settleBacklog = 2000 // pools don't claim while so much is unwritten
)

func newSettler(e *engine) *settler { return &settler{e: e, wake: make(chan struct{}, 1)} }

// add takes what came of an attempt. It never waits: the number of attempts bounds it.
func (s *settler) add(v settlement) {
	s.mu.Lock()
	s.pending = append(s.pending, v)
	s.mu.Unlock()
	s.signal()
}

func (s *settler) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *settler) backlog() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending) + len(s.batch)
}

func (s *settler) run(ctx context.Context) {
	pause, failing := retryBase, false
	for {
		batch := s.take()
		if len(batch) == 0 {
			select {
			case <-s.wake:
			case <-ctx.Done():
				return
			}
			continue
		}
		settled, err := s.write(ctx, batch)
		if err != nil {
			s.putBack(batch)
			if ctx.Err() == nil && !failing {
				failing = true
				s.e.logAway("results not written yet; they are kept", err, "tasks", len(batch))
			}
			if !sleep(ctx, jitter(pause)) {
				return
			}
			pause = min(2*pause, pollMost)
			continue
		}
		pause, failing = retryBase, false
		s.applied(ctx, batch, settled)
		s.e.signalPools() // they may have waited for the backlog to shrink
	}
}

// write writes one batch. Its context is its own: that of the attempt has often ended.
func (s *settler) write(ctx context.Context, batch []settlement) ([]backend.Settled, error) {
	settles := make([]backend.Settle, len(batch))
	for i, b := range batch {
		settles[i] = b.Settle
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	return s.e.store.Settle(ctx, settles)
}

func (s *settler) take() []settlement {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.pending), settleBatch)
	batch := s.pending[:n:n]
	s.pending = s.pending[n:]
	s.batch = batch
	if n == 0 {
		s.pending = nil
		if s.empty != nil {
			close(s.empty)
			s.empty = nil
		}
	}
	return batch
}

func (s *settler) putBack(batch []settlement) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(append([]settlement(nil), batch...), s.pending...)
	s.batch = nil
}

// applied sees to what follows from a batch.
func (s *settler) applied(ctx context.Context, batch []settlement, settled []backend.Settled) {
	var ended []ending
	queues := map[string]bool{}
	for i, b := range batch {
		switch settled[i] {
		case backend.SettleStopping:
			b.To, b.Result, b.Error, b.Delay = backend.StatusStopped, nil, taskError(ErrTaskStopped), 0
			s.add(b)
			continue
		case backend.SettleLost:
			s.e.lost.Add(1)
			s.e.log.Warn("the claim was lost; what this attempt did is void", "task", b.ID, "fence", b.Fence)
		default:
			if b.To.Final() {
				ended = append(ended, ending{id: b.ID, to: b.To, source: b.a.task.Source, policy: b.a.task.OnFailure, family: settled[i] == backend.SettleFamily})
			} else {
				queues[b.a.task.Queue] = true
			}
		}
		b.a.acknowledge()
	}
	s.e.endings(ctx, ended)
	for q := range queues {
		s.e.wake(q, nil)
	}
}

// unwritten returns the claims whose attempts have ended here and whose settlement the store may not have.
func (s *settler) unwritten() map[claimed]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[claimed]bool{}
	for _, p := range s.pending {
		out[p.a.key()] = true
	}
	for _, p := range s.batch {
		out[p.a.key()] = true
	}
	return out
}

// flush waits until everything is written, or ctx ends, and returns how much is not.
func (s *settler) flush(ctx context.Context) int {
	s.mu.Lock()
	if s.empty == nil {
		s.empty = make(chan struct{})
	}
	empty := s.empty
	s.mu.Unlock()
	s.signal()
	select {
	case <-empty:
		return 0
	case <-ctx.Done():
		return s.backlog()
	}
}
