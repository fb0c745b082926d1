package amqp

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// drainPoll is how often a draining serving checks whether another instance consumes.
const drainPoll = 100 * time.Millisecond

// Drain implements backend.Serving. A service's queue is deleted with its last consumer, and its messages are lost
// silently. So if another instance consumes, this one stops at once and hands over the requests it hasn't started. The
// last instance keeps consuming, only to reject requests, until its running calls have been answered.
func (s *serving) Drain(ctx context.Context) error {
	s.stopAccepting(false)
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
		return backend.Errorf(backend.ErrDeadlineExceeded, "%d calls of service %q still run: %w", n,
			s.endpoint.Service, context.Cause(ctx))
	}
}

// Close implements backend.Serving.
func (s *serving) Close(cause error) {
	s.stopAccepting(true)
	s.cancel(cause)
}

// stopAccepting starts draining. If closing is set, the serving unsubscribes without waiting for running calls.
func (s *serving) stopAccepting(closing bool) {
	s.mu.Lock()
	s.closing = s.closing || closing
	s.mu.Unlock()
	s.startDraining()
	s.wake.Set()
}

func (s *serving) isDraining() bool { return s.draining.Err() != nil }

// drainStep takes the next step of draining and reports whether draining is complete.
func (sub *callSubscription) drainStep() bool {
	s := sub.serving
	s.mu.Lock()
	closing, running := s.closing, s.running
	s.mu.Unlock()
	if !sub.cancelled {
		sub.inspectQueue()
	}
	for _, r := range sub.waiting {
		if sub.last {
			r.refuse(errDraining)
		} else {
			r.handOn()
		}
	}
	sub.waiting = nil
	if !sub.cancelled && (closing || !sub.last || running == 0 && sub.empty) {
		sub.cancelled = true
		if sub.ch.Cancel(sub.tag, false) != nil {
			return true // the channel has ended
		}
		return false // deliveries in transit still arrive
	}
	if sub.deliveries != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running == 0 && sub.acks.ready == 0
}

// inspectQueue finds out whether another instance consumes from the queue, and whether the queue is empty.
func (sub *callSubscription) inspectQueue() {
	q, err := sub.ch.QueueDeclarePassive(sub.serving.queue, true, true, false, false, nil)
	if err == nil {
		sub.last, sub.empty = q.Consumers < 2, q.Messages == 0
	}
}

// waitForHandlers waits for running handlers after the last subscription has ended.
func (s *serving) waitForHandlers() {
	for {
		s.mu.Lock()
		n := s.running
		s.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-s.wake.C():
		case <-s.conn.ctx.Done(): // Conn.Close doesn't wait for handlers
			return
		}
	}
}
