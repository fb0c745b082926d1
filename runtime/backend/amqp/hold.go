package amqp

import (
	"context"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	maxHeld      = 64                     // failed messages that a receiver holds until they are due
	maxHeldBytes = 3 * backend.MaxMessage // of their bodies
)

// A holding has the failed messages of a receiver that are not due yet. They are not acknowledged: if the receiver
// ends, they return to the queue. RabbitMQ can't delay messages by itself without a queue for each delay, from which it
// would move them without a confirmation.
type holding struct {
	ended   chan struct{}
	running sync.WaitGroup

	mu    sync.Mutex
	all   map[*heldMessage]struct{}
	bytes int
}

// A heldMessage waits on its own goroutine.
type heldMessage struct {
	due   time.Time
	bytes int
	early chan struct{} // closed to deliver it before it is due
	gone  chan struct{} // closed once it is not held anymore
}

func (h *holding) open() { h.ended, h.all = make(chan struct{}), map[*heldMessage]struct{}{} }

// close ends all goroutines and waits for them.
func (h *holding) close() {
	close(h.ended)
	h.running.Wait()
}

// first returns the message that is due first if one more message of so many bytes would be too much, or else nil.
func (h *holding) first(bytes int) (first *heldMessage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.all) < maxHeld && (h.bytes+bytes <= maxHeldBytes || len(h.all) == 0) {
		return nil
	}
	for m := range h.all {
		if first == nil || m.due.Before(first.due) {
			first = m
		}
	}
	return first
}

func (h *holding) add(m *heldMessage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[m] = struct{}{}
	h.bytes += m.bytes
}

func (h *holding) remove(m *heldMessage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, m)
	h.bytes -= m.bytes
	close(m.gone)
}

// hold delivers a message again after a delay, and meanwhile receives others by a further consumer. If it holds too
// many messages, the one that is due first is delivered early. It returns false if the receiver must end.
func (r *receiver) hold(moving context.Context, d *amqp091.Delivery, msg amqp091.Publishing, delay time.Duration) bool {
	for m := r.held.first(len(d.Body)); m != nil; m = r.held.first(len(d.Body)) {
		close(m.early)
		<-m.gone
	}
	tag := r.tag
	if r.subscribe(true) != nil {
		return false
	}
	m := &heldMessage{
		due: time.Now().Add(delay), bytes: len(d.Body), early: make(chan struct{}), gone: make(chan struct{}),
	}
	r.held.add(m)
	r.held.running.Go(func() {
		defer r.held.remove(m)
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-m.early:
		case <-r.held.ended:
			return
		case <-r.gen.lost:
			return
		}
		// Otherwise its consumer would get another message once this one is acknowledged.
		if r.ch.Cancel(tag, true) == nil && !r.redeliver(moving, d, msg) {
			r.gen.dispose(r.ch) // the receiver ends and subscribes again
		}
	})
	return true
}
