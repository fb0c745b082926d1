package amqp

import (
	"cmp"
	"slices"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
)

// RabbitMQ spends as much on an acknowledgement as on a message, so requests are acknowledged together. If the instance
// dies, the broker redelivers requests that were answered and not yet acknowledged. That can always happen, since the
// reply precedes the acknowledgement, and is handled like any redelivery. The limits below keep it rare.
const (
	ackBatch = 16                   // answered requests that are acknowledged without waiting for more
	ackDelay = 2 * time.Millisecond // the longest that an answered request waits for others
)

// defaultAckAfter is how long a running request stays unacknowledged. Until then, the broker redelivers it if this
// instance dies. RabbitMQ closes channels that hold a message for longer than its consumer_timeout, 30 minutes by
// default.
const defaultAckAfter = 20 * time.Minute

// acks are the acknowledgements of one subscription. An acknowledgement is only valid on the channel of its delivery.
// serving.mu guards all fields except timer.
type acks struct {
	unacked []*request  // delivered and not acknowledged, oldest first; at most the prefetch
	ready   int         // how many of them may be acknowledged
	batch   int         // number of ready requests that are acknowledged without waiting for more
	waiting bool        // ready requests wait for the timer
	timer   *time.Timer // owned by the serving's goroutine
}

// newAcks returns the acknowledgements of a consumer. Requests that are ready count against its prefetch, so with a
// short one they don't wait.
func newAcks(prefetch int) acks {
	timer := time.NewTimer(ackDelay)
	timer.Stop()
	return acks{batch: min(max(prefetch/4, 1), ackBatch), timer: timer}
}

// acknowledge lets the request be acknowledged. It may be called more than once.
func (r *request) acknowledge() {
	s := r.sub.serving
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.acknowledged {
		return
	}
	r.acknowledged = true
	a := &r.sub.acks
	a.ready++
	if !a.waiting || a.due() || s.isDraining() {
		s.wake.Set()
	}
}

// due reports whether the ready requests should be acknowledged now: they are many, or no other request will be ready
// soon. The caller holds serving.mu.
func (a *acks) due() bool { return a.ready >= a.batch || a.ready == len(a.unacked) }

// acknowledge acknowledges the requests that take returns. If any others are ready, the timer runs.
func (sub *callSubscription) acknowledge(late bool) {
	s, a := sub.serving, &sub.acks
	s.mu.Lock()
	upTo, n, single := a.take(late || s.isDraining())
	start := a.ready > 0 && !a.waiting
	a.waiting = a.ready > 0
	s.mu.Unlock()
	if start {
		a.timer.Reset(ackDelay)
	} else if !a.waiting {
		a.timer.Stop()
	}
	if n > 0 || len(single) > 0 {
		sub.gen.acknowledge(sub.ch, upTo, n > 1, single)
	}
}

// take removes ready requests if they are due, or late: they have waited for ackDelay. The n requests up to the oldest
// one that isn't ready are acknowledged together, by the tag upTo. Later ones are acknowledged on their own if they are
// late or many, so that a long call doesn't hold them up. The caller holds serving.mu.
func (a *acks) take(late bool) (upTo uint64, n int, single []uint64) {
	if !late && !a.due() {
		return 0, 0, nil
	}
	upTo, n = a.takeOldest()
	if late || a.ready >= a.batch {
		single = a.takeReady()
	}
	return upTo, n, single
}

// takeOldest removes the n ready requests that are older than all others, and returns the newest one's tag. The caller
// holds serving.mu.
func (a *acks) takeOldest() (upTo uint64, n int) {
	for n < len(a.unacked) && a.unacked[n].acknowledged {
		upTo = a.unacked[n].deliveryTag
		n++
	}
	clear(a.unacked[:n])
	a.unacked = a.unacked[n:]
	a.ready -= n
	return upTo, n
}

// takeReady removes all ready requests and returns their tags. The caller holds serving.mu.
func (a *acks) takeReady() (tags []uint64) {
	if a.ready == 0 {
		return nil
	}
	a.unacked = slices.DeleteFunc(a.unacked, func(r *request) bool {
		if r.acknowledged {
			tags = append(tags, r.deliveryTag)
		}
		return r.acknowledged
	})
	a.ready = 0
	return tags
}

// acknowledgeLong acknowledges requests that have been running for long.
func (sub *callSubscription) acknowledgeLong(now time.Time) {
	s := sub.serving
	ackAfter := cmp.Or(s.conn.config.ackAfter, defaultAckAfter)
	var long []*request
	s.mu.Lock()
	for _, r := range sub.acks.unacked {
		if r.cancel != nil && now.Sub(r.started) >= ackAfter {
			long = append(long, r)
		}
	}
	s.mu.Unlock()
	for _, r := range long {
		r.acknowledge()
	}
}

// acknowledge acknowledges messages of a channel with one write: upTo unless it is 0, with all older ones if multiple
// is set, and single ones. It returns false if the channel has ended; the broker then delivers the messages again.
func (g *generation) acknowledge(ch *amqp091.Channel, upTo uint64, multiple bool, single []uint64) bool {
	g.consume.cork.hold()
	var err error
	if upTo > 0 {
		err = ch.Ack(upTo, multiple)
	}
	for i := 0; i < len(single) && err == nil; i++ {
		err = ch.Ack(single[i], false)
	}
	if e := g.consume.cork.release(); e != nil {
		err = e
		g.end(backend.Errorf(backend.ErrUnavailable, "acknowledging to RabbitMQ at %s: %w", g.target, e))
	}
	return err == nil
}
