package tasks

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/guard"
	"github.com/afgen/afgen/runtime/internal/history"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A settler writes the results of attempts in batches: those added while the previous batch was written. It retries a
// batch with an unknown outcome, with a fresh context, until the store replies.
//
// If the store refuses a batch, the settler splits it until it finds the refused settlement, so that no other result
// waits. It sets that one aside for a second and then writes it reduced: as a failure with a short error, if the
// attempt succeeded. If the store refuses that as well, the settler retries it periodically and App.Health reports
// it.
type settler struct {
	e *Engine

	mu      sync.Mutex
	pending []settlement
	batch   []settlement  // being written
	aside   []settlement  // refused; retried later
	empty   chan struct{} // closed when nothing is pending; created by flush

	wake signal.Signal
}

type settlement struct {
	backend.Settle
	task     *backend.Task // as claimed
	claim    claim         // notified when the claim has ended or was lost; may be nil
	begun    time.Time     // when the handler was called; zero if it was not
	since    time.Time     // when the settlement was added
	refusals int           // how often the store refused this settlement by itself
	next     time.Time     // when to retry it
}

// A claim is ended by a settlement.
type claim interface{ acknowledge() }

const (
	settleBatch   = 200
	settleBacklog = 2000             // unwritten results above which pools don't claim
	asideFirst    = time.Second      // first retry of a refused settlement
	asideEvery    = 10 * time.Second // later retries
	maxRefusal    = 1 << 10          // bytes of the error in a reduced settlement
)

func newSettler(e *Engine) *settler { return &settler{e: e, wake: signal.New()} }

// add adds the result of an attempt. It never blocks; the number of attempts bounds the backlog.
func (s *settler) add(v settlement) {
	if v.since.IsZero() {
		v.since = time.Now()
	}
	s.mu.Lock()
	s.pending = append(s.pending, v)
	s.mu.Unlock()
	s.wake.Set()
}

func (s *settler) backlog() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size()
}

// size returns the number of unwritten results. The caller holds s.mu.
func (s *settler) size() int { return len(s.pending) + len(s.batch) + len(s.aside) }

// oldest returns the number of unwritten results, and since when the first is waiting.
func (s *settler) oldest() (n int, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	older := func(list []settlement) {
		if len(list) > 0 && (since.IsZero() || list[0].since.Before(since)) {
			since = list[0].since
		}
	}
	older(s.batch)
	older(s.pending)
	for i := range s.aside {
		older(s.aside[i : i+1])
	}
	return s.size(), since
}

func (s *settler) run(ctx context.Context) {
	pause, failing := retry.Base, false
	again := time.NewTicker(asideFirst)
	defer again.Stop()
	for {
		runtime.Gosched() // handlers that are about to return add their results first
		batch := s.take()
		if len(batch) == 0 {
			select {
			case <-s.wake.C():
			case <-again.C:
				s.takeAside(false)
			case <-ctx.Done():
				return
			}
			continue
		}
		left, err := s.settleBatch(ctx, batch)
		s.e.resumePools()
		if err != nil {
			s.putBack(left)
			if ctx.Err() == nil && !failing {
				failing = true
				s.e.LogUnavailable(ctx, "writing results failed, retrying", err, "tasks", len(left))
			}
			if !retry.Sleep(ctx, retry.Jitter(pause)) {
				return
			}
			pause = min(2*pause, retry.MaxPoll)
			continue
		}
		pause, failing = retry.Base, false
	}
}

// settleBatch writes a batch, in parts if the store refuses it. After a transient error it returns what is not written.
// Refused settlements are reduced or set aside.
func (s *settler) settleBatch(ctx context.Context, batch []settlement) (left []settlement, err error) {
	settled, err := s.write(ctx, batch)
	switch {
	case err == nil:
		s.applied(ctx, batch, settled)
		return nil, nil
	case !retry.Refused(err):
		return batch, err
	case len(batch) > 1:
		half := len(batch) / 2
		left, err = s.settleBatch(ctx, batch[:half])
		if err != nil {
			return append(left, batch[half:]...), err
		}
		return s.settleBatch(ctx, batch[half:])
	}
	return s.settleRefused(ctx, batch[0], err)
}

// settleRefused handles a settlement that the store refuses by itself. It sets it aside first, because the refusal
// may be transient. The second time it writes it reduced. If the store accepts no form of it, it sets the original
// aside.
func (s *settler) settleRefused(ctx context.Context, b settlement, err error) (left []settlement, _ error) {
	b.refusals++
	b.next = time.Now().Add(asideFirst)
	if b.refusals > 1 {
		b.next = time.Now().Add(asideEvery)
		for _, less := range b.reduced(err) {
			settled, err := s.write(ctx, []settlement{less})
			switch {
			case err == nil:
				s.e.Log.Error("store refused a task's result, settled without it", "queue", b.task.Queue, "task", b.ID,
					"fence", b.Fence, "was", b.To, "is", less.To, "error", less.Error)
				s.applied(ctx, []settlement{less}, settled)
				return nil, nil
			case !retry.Refused(err):
				return []settlement{b}, err
			}
		}
	}
	if b.refusals <= 2 {
		s.e.Log.Warn("store refused a task's result, retrying later", "queue", b.task.Queue, "task", b.ID,
			"fence", b.Fence, "to", b.To, "error", err)
	}
	s.mu.Lock()
	s.aside = append(s.aside, b)
	s.mu.Unlock()
	return nil, nil
}

// reduced returns smaller forms of a refused settlement, best first: without its large fields, and then as a failure.
func (b *settlement) reduced(why error) []settlement {
	less := *b
	less.Result, less.Log = nil, nil
	failure := less
	failure.To, failure.Delay = backend.StatusFailed, 0
	failure.Error = guard.TaskError(backend.Errorf(backend.CodeOf(why),
		"store refused the result of attempt %d: %s",
		b.task.Attempt, backend.Text(backend.Coded(why).Message, maxRefusal)))
	if b.To == backend.StatusSuccess {
		return []settlement{failure}
	}
	if b.Error != nil {
		less.Error = &backend.TaskError{Code: b.Error.Code, Message: backend.Text(b.Error.Message, maxRefusal)}
	}
	if b.To == backend.StatusFailed || b.To == backend.StatusStopped {
		return []settlement{less}
	}
	return []settlement{less, failure}
}

// takeAside adds refused settlements to the next batch: all of them, or those that are due.
func (s *settler) takeAside(all bool) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aside = slices.DeleteFunc(s.aside, func(b settlement) bool {
		due := all || !now.Before(b.next)
		if due {
			s.pending = append(s.pending, b)
		}
		return due
	})
}

// write writes one batch. It has its own context, because the attempt's has often ended.
func (s *settler) write(ctx context.Context, batch []settlement) ([]backend.Settled, error) {
	settles := make([]backend.Settle, len(batch))
	for i, b := range batch {
		settles[i] = b.Settle
	}
	ctx, cancel := context.WithTimeout(ctx, retry.Timeout)
	defer cancel()
	if s.e.Hooks != nil && len(batch) == 1 {
		ctx = batch[0].within(ctx)
	}
	begun := time.Now()
	settled, err := s.e.Ports.Store.Settle(ctx, settles)
	if s.e.Hooks != nil {
		s.observeWrite(begun, len(settles), err)
	}
	return settled, err
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

// applied handles the outcome of a batch.
func (s *settler) applied(ctx context.Context, batch []settlement, settled []backend.Settled) {
	var ended []completion
	queues := map[string]bool{}
	for i, b := range batch {
		switch settled[i] {
		case backend.SettledStopping:
			b.To, b.Result, b.Error, b.Delay = backend.StatusStopped, nil, nil, 0
			s.add(b)
			continue
		case backend.SettledLost:
			s.e.Log.Warn("lease lost, discarding the attempt's result", "task", b.ID, "fence", b.Fence)
		default:
			b.count(s.e.History)
			if b.To.Final() {
				if s.e.Hooks != nil {
					b.observeSettled(s.e)
				}
				ended = append(ended,
					completion{id: b.ID, to: b.To, source: b.task.Source, policy: b.task.OnFailure,
						subtasks: settled[i] == backend.SettledWithSubtasks})
			} else {
				queues[b.task.Queue] = true
			}
		}
		if b.claim != nil {
			b.claim.acknowledge()
		}
	}
	s.e.complete(ended)
	for q := range queues {
		s.e.Wake(q, nil)
	}
}

// count counts the end of the attempt. Claims whose replies were lost have not begun one.
func (b *settlement) count(h *history.Recorder) {
	if b.claim == nil {
		return
	}
	run := time.Duration(-1)
	if !b.begun.IsZero() {
		run = b.since.Sub(b.begun)
	}
	h.Settled(b.task.Queue, b.To, b.Error, run)
}

// unwritten returns the claims whose attempts have ended here but whose settlements the store may not have.
func (s *settler) unwritten() map[claimed]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[claimed]bool{}
	for _, list := range [][]settlement{s.pending, s.batch, s.aside} {
		for _, b := range list {
			out[claimed{b.ID, b.Fence}] = true
		}
	}
	return out
}

// flush waits until everything except refused results is written, or ctx ends. It returns how many are not written.
func (s *settler) flush(ctx context.Context) int {
	for range 2 { // results refused for the first time are reduced in the second round
		s.mu.Lock()
		if s.empty == nil {
			s.empty = make(chan struct{})
		}
		empty := s.empty
		s.mu.Unlock()
		s.takeAside(true)
		s.wake.Set()
		select {
		case <-empty:
		case <-ctx.Done():
			return s.backlog()
		}
		if s.backlog() == 0 {
			break
		}
	}
	return s.backlog()
}
