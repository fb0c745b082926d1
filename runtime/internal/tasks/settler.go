package tasks

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/guard"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A settler writes the results of attempts, in batches: those that were added while the last batch was written. A batch
// whose outcome is unknown is written again, with a fresh context, until the store answers.
//
// A batch that the store refuses is divided until the refused settlement is found, so that no other waits for it. That one is
// set aside for a second, and then written reduced: as a failure with a short error, if the attempt succeeded. While the store
// refuses that as well, it is written again from time to time, and is visible in App.Health.
type settler struct {
	e *Engine

	mu      sync.Mutex
	pending []settlement
	batch   []settlement  // being written
	aside   []settlement  // refused; written again in time
	empty   chan struct{} // closed when nothing is pending; made by flush

	wake signal.Signal
}

type settlement struct {
	backend.Settle
	task     *backend.Task // as it was claimed
	claim    claim         // is told when it has ended, or was lost; may be nil
	since    time.Time
	refusals int       // by the store, of this one alone
	next     time.Time // when it is written again after that
}

// A claim is one that a settlement ends.
type claim interface{ acknowledge() }

const (
	settleBatch   = 200
	settleBacklog = 2000             // pools don't claim while so much is unwritten
	asideFirst    = time.Second      // until what is refused is written again, at first
	asideEvery    = 10 * time.Second // and later
	maxRefusal    = 1 << 10          // bytes of the error of a settlement that was reduced
)

func newSettler(e *Engine) *settler { return &settler{e: e, wake: signal.New()} }

// add adds the result of an attempt. It never waits: the number of attempts bounds the backlog.
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

// size is how many results are unwritten. s.mu is held.
func (s *settler) size() int { return len(s.pending) + len(s.batch) + len(s.aside) }

// oldest returns how many results are unwritten, and since when the first of them is.
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
		left, err := s.settle(ctx, batch)
		s.e.signalPools() // they may have waited for the backlog to shrink
		if err != nil {
			s.putBack(left)
			if ctx.Err() == nil && !failing {
				failing = true
				s.e.LogUnavailable(ctx, "results not written yet; they are kept", err, "tasks", len(left))
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

// settle writes a batch, in parts if the store refuses it. After an error it returns what is not written: an error that may
// pass. What is refused for good is reduced or set aside.
func (s *settler) settle(ctx context.Context, batch []settlement) (left []settlement, err error) {
	settled, err := s.write(ctx, batch)
	switch {
	case err == nil:
		s.applied(ctx, batch, settled)
		return nil, nil
	case !refused(err):
		return batch, err
	case len(batch) > 1:
		half := len(batch) / 2
		left, err = s.settle(ctx, batch[:half])
		if err != nil {
			return append(left, batch[half:]...), err
		}
		return s.settle(ctx, batch[half:])
	}
	return s.settleRefused(ctx, batch[0], err)
}

// settleRefused deals with a settlement that the store refuses by itself. At first it is set aside, since the store may be at
// fault for a moment. One that is refused again is written reduced. If no form of it is taken, it is set aside as it was.
func (s *settler) settleRefused(ctx context.Context, b settlement, err error) (left []settlement, _ error) {
	b.refusals++
	b.next = time.Now().Add(asideFirst)
	if b.refusals > 1 {
		b.next = time.Now().Add(asideEvery)
		for _, less := range b.reduced(err) {
			settled, err := s.write(ctx, []settlement{less})
			switch {
			case err == nil:
				s.e.Log.Error("the store refuses the result of a task; it is settled without", "queue", b.task.Queue, "task", b.ID,
					"fence", b.Fence, "was", b.To, "is", less.To, "error", less.Error)
				s.applied(ctx, []settlement{less}, settled)
				return nil, nil
			case !refused(err):
				return []settlement{b}, err
			}
		}
	}
	if b.refusals <= 2 {
		s.e.Log.Warn("the store refuses the result of a task; it is kept and written again", "queue", b.task.Queue, "task", b.ID,
			"fence", b.Fence, "to", b.To, "error", err)
	}
	s.mu.Lock()
	s.aside = append(s.aside, b)
	s.mu.Unlock()
	return nil, nil
}

// reduced returns what may be written of a settlement that the store refuses, the best first: without what is large, then as a
// failure.
func (b *settlement) reduced(why error) []settlement {
	less := *b
	less.Result, less.Log = nil, nil
	failure := less
	failure.To, failure.Delay = backend.StatusFailed, 0
	failure.Error = guard.TaskError(backend.Errorf(backend.CodeOf(why), "the store refused the result of attempt %d: %s", b.task.Attempt,
		backend.Text(backend.Coded(why).Message, maxRefusal)))
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

// takeAside adds refused settlements to those to be written: all of them, or those that are due again.
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

// write writes one batch. Its context is its own: that of the attempt has often ended.
func (s *settler) write(ctx context.Context, batch []settlement) ([]backend.Settled, error) {
	settles := make([]backend.Settle, len(batch))
	for i, b := range batch {
		settles[i] = b.Settle
	}
	ctx, cancel := context.WithTimeout(ctx, retry.Timeout)
	defer cancel()
	return s.e.Ports.Store.Settle(ctx, settles)
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

// applied handles what follows from a batch.
func (s *settler) applied(ctx context.Context, batch []settlement, settled []backend.Settled) {
	var ended []completion
	queues := map[string]bool{}
	for i, b := range batch {
		switch settled[i] {
		case backend.SettledStopping:
			b.To, b.Result, b.Error, b.Delay = backend.StatusStopped, nil, guard.TaskError(ErrStopped), 0
			s.add(b)
			continue
		case backend.SettledLost:
			s.e.Log.Warn("the claim was lost; what this attempt did is void", "task", b.ID, "fence", b.Fence)
		default:
			if b.To.Final() {
				ended = append(ended, completion{id: b.ID, to: b.To, source: b.task.Source, policy: b.task.OnFailure, subtasks: settled[i] == backend.SettledWithSubtasks})
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

// unwritten returns the claims whose attempts have ended here and whose settlement the store may not have.
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

// flush waits until everything is written but what the store refuses, or ctx ends, and returns how much is not.
func (s *settler) flush(ctx context.Context) int {
	for range 2 { // what is refused for the first time is written reduced at the second
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
