package amqp

import (
	"context"
	"encoding/json"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// When a service's queue is deleted, its requests are lost. The instance that creates the next queue tells callers with
// a renewal event. Any program that may publish to af.ctl can forge such an event, unless an administrator has
// restricted it (docs/servers.md). So a caller asks the instance when it created the queue, and fails only the calls
// that are older.

const (
	confirmTime   = 5 * time.Second // for the answer of an instance
	maxQuestions  = 10              // to an instance, about one event
	maxConfirming = 64              // events being confirmed concurrently; others are dropped
)

// renewal is the body of controlNew. Kept lists the calls of the previous queue that will still be answered; see
// keptID.
type renewal struct {
	Kept []string `json:"kept,omitempty"`
}

// announceQueue tells callers that the service has a new queue. The queue isn't bound yet, so it contains no request of
// a caller that receives this event.
func (s *serving) announceQueue(g *generation) *backend.Error {
	var n renewal
	s.mu.Lock()
	for _, r := range s.requests {
		n.Kept = append(n.Kept, keptID(r.correlationID))
	}
	s.mu.Unlock()
	body, _ := json.Marshal(n)
	return g.confirmed.send(s.draining, []*confirmedPublishing{{publishing: publishing{
		exchange: exchangeControl, key: newKey + s.endpoint.Service, msg: amqp091.Publishing{
			Headers: amqp091.Table{envelope.Version: envelope.V1}, ContentType: envelope.JSON, DeliveryMode: amqp091.Transient,
			Type: controlNew, AppId: s.endpoint.Instance.ID, Body: body,
		},
	}}})
}

// onRenewal starts to confirm a renewal event if it may mean that calls were lost.
func (c *calls) onRenewal(g *generation, d *amqp091.Delivery, service string) {
	var n renewal
	if json.Unmarshal(d.Body, &n) != nil || len(service)+1+len(d.AppId) > envelope.MaxShort {
		return
	}
	now := time.Now()
	lost := c.maybeLost(service, n.Kept, now)
	instance := route{exchangeControl, service + "." + d.AppId}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(lost) == 0 || c.confirming[instance] || len(c.confirming) >= maxConfirming {
		return
	}
	if g.spawn(func() {
		defer func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			delete(c.confirming, instance)
		}()
		c.confirmRenewal(g, instance, service, lost)
	}) {
		c.confirming[instance] = true
	}
}

// confirmRenewal fails the calls that are older than the queue an instance has created. The delay of its answer is
// unknown, so it is asked again while that decides about a call.
func (c *calls) confirmRenewal(g *generation, instance route, service string, lost []*pending) {
	ctx, cancel := context.WithTimeout(c.conn.ctx, confirmTime)
	defer cancel()
	for range maxQuestions {
		earliest, latest, ok := c.queueCreated(ctx, g, instance)
		if !ok {
			return
		}
		var undecided []*pending
		for _, p := range lost {
			if p.since.Before(earliest) {
				p.end(outcome{err: lastInstanceGone(service)})
			} else if p.since.Before(latest) {
				undecided = append(undecided, p)
			}
		}
		if lost = undecided; lost == nil {
			return
		}
	}
}

// maybeLost returns the calls that were lost with the previous queue if a service has a new one. The new queue was not
// bound when the event was published, so it holds only calls younger than the event, give or take its delay. Calls in
// kept will still be answered; instances of older versions name them by their IDs.
func (c *calls) maybeLost(service string, kept []string, now time.Time) (lost []*pending) {
	keep := make(map[string]bool, len(kept))
	for _, id := range kept {
		keep[id] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, p := range c.pending {
		if p.service == service && now.Sub(p.since) > maxEventDelay && !keep[id] && !keep[keptID(id)] {
			lost = append(lost, p)
		}
	}
	return lost
}

// queueCreated asks an instance when it created the queue of its service, and returns bounds of that time.
func (c *calls) queueCreated(ctx context.Context, g *generation, instance route) (earliest, latest time.Time, ok bool) {
	if g.mayPublish(ctx, "confirming an event", instance) != nil {
		return earliest, latest, false
	}
	id, now := c.newID(), time.Now()
	p := &pending{since: now, deadline: now.Add(confirmTime), gen: g, done: make(chan outcome, 1), request: publishing{
		exchange: instance.exchange, key: instance.key, mandatory: true, msg: amqp091.Publishing{
			Headers: amqp091.Table{envelope.Version: envelope.V1}, DeliveryMode: amqp091.Transient,
			Expiration: expiration(confirmTime), Type: controlInfo, CorrelationId: id, ReplyTo: replyTo,
			AppId: c.conn.config.Instance.ID,
		},
	}}
	c.add(id, p)
	defer c.remove(id)
	if g.requests.send(ctx, &p.request) != nil {
		return earliest, latest, false
	}
	select {
	case o := <-p.done: // no reply: the broker has returned the question
		var answer info
		if o.err != nil || json.Unmarshal(decodeReply(o.reply).Body, &answer) != nil || answer.QueueAge == nil {
			return earliest, latest, false
		}
		age := time.Duration(*answer.QueueAge * float64(time.Millisecond))
		return now.Add(-age), time.Now().Add(-age), true
	case <-g.lost:
	case <-ctx.Done():
	}
	return earliest, latest, false
}
