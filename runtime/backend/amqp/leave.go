package amqp

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// leavingEvery is how often a serving that leaves looks whether another instance is there.
const leavingEvery = 100 * time.Millisecond

// Drain implements backend.Serving. A queue without a consumer goes, and takes what is in it along without a word. So while
// another instance consumes, this one stops at once and hands on what it has not begun; while it is the last one, it goes on
// consuming, only to say that it begins nothing, until what runs has been answered.
func (s *serving) Drain(ctx context.Context) error {
	s.depart(false)
	select {
	case <-s.idle:
		return nil
	default:
	}
	select {
	case <-s.idle:
		return nil
	case <-ctx.Done():
		s.mu.Lock()
		n := s.running
		s.mu.Unlock()
		return backend.Errorf(backend.ErrDeadlineExceeded, "%d calls of service %q still run: %w", n, s.endpoint.Service, context.Cause(ctx))
	}
}

// Close implements backend.Serving.
func (s *serving) Close(cause error) {
	s.depart(true)
	s.cancel(cause)
}

func (s *serving) depart(hurry bool) {
	s.mu.Lock()
	s.hurry = s.hurry || hurry
	s.mu.Unlock()
	s.leave()
	s.wake.Set()
}

func (s *serving) hasLeft() bool { return s.left.Err() != nil }

// leave takes the next step towards leaving the broker, and says whether there is nothing left to do.
func (sub *subscription) leave() bool {
	s := sub.serving
	s.mu.Lock()
	hurry, running := s.hurry, s.running
	s.mu.Unlock()
	if !sub.cancelled {
		sub.look()
	}
	for _, v := range sub.line {
		if sub.alone {
			v.refuse(errDraining)
		} else {
			v.handOn()
		}
	}
	sub.line = nil
	if !sub.cancelled && (hurry || !sub.alone || running == 0 && sub.empty) {
		sub.cancelled = true
		if sub.ch.Cancel(sub.tag, false) != nil {
			return true // the channel has ended
		}
		return false // what was on its way here still comes
	}
	if sub.deliveries != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running == 0 && len(sub.acks) == 0
}

// look asks whether another instance consumes from the queue, and whether there is more in it.
func (sub *subscription) look() {
	q, err := sub.ch.QueueDeclarePassive(sub.serving.queue, true, true, false, false, nil)
	if err == nil {
		sub.alone, sub.empty = q.Consumers < 2, q.Messages == 0
	}
}

// settle waits for what still runs when there is no subscription any more.
func (s *serving) settle() {
	for {
		s.mu.Lock()
		n := s.running
		s.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-s.wake.C():
		case <-s.conn.ctx.Done(): // Close waits for no handler
			return
		}
	}
}
