package amqp

import (
	"context"
	"encoding/json"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// When the queue of a service is deleted, what is in it is lost, and its callers are told by the instance that makes a new
// one. Any program that may publish to af.ctl can forge that event, unless an administrator has restricted it (docs/servers.md). So
// a caller asks the instance when it made the queue, and fails the calls that are older.

const (
	confirmTime   = 5 * time.Second // for the answers of an instance
	maxQuestions  = 10              // to an instance, about one event
	maxConfirming = 64              // events that are confirmed at a time; others are dropped
)

// A renewal is the body of controlNew: what keptID returns of the requests from the queue before that are still answered.
type renewal struct {
	Kept []string `json:"kept,omitempty"`
}

// announce tells callers that the queue of the service is a new one. It is not bound yet, so that no request can be in it
// of a caller that will hear this.
func (s *serving) announce(g *generation) *backend.Error {
	var n renewal
	s.mu.Lock()
	for _, v := range s.visits {
		n.Kept = append(n.Kept, keptID(v.id))
	}
	s.mu.Unlock()
	body, _ := json.Marshal(n)
	return g.confirmed.send(s.left, []*parcel{{letter: letter{exchange: exchangeControl, key: newKey + s.endpoint.Service, msg: amqp091.Publishing{
		Headers: amqp091.Table{envelope.Version: envelope.V1}, ContentType: envelope.JSON, DeliveryMode: amqp091.Transient, Type: controlNew,
		AppId: s.endpoint.Instance.ID, Body: body,
	}}}})
}

// renewed confirms the event of a new queue, if a call may be lost with the one before.
func (c *calls) renewed(g *generation, d *amqp091.Delivery, service string) {
	var n renewal
	if json.Unmarshal(d.Body, &n) != nil || len(service)+1+len(d.AppId) > envelope.MaxShort {
		return
	}
	now := time.Now()
	lost := c.doubtful(service, n.Kept, now)
	instance := route{exchangeControl, service + "." + d.AppId}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(lost) == 0 || c.confirming[instance] || len(c.confirming) >= maxConfirming {
		return
	}
	if g.begin(func() {
		defer func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			delete(c.confirming, instance)
		}()
		c.confirm(g, instance, service, lost)
	}) {
		c.confirming[instance] = true
	}
}

// confirm fails the calls that are older than the queue that an instance has made. How long its answer was under way isn't known, so it
// is asked again if that decides about a call.
func (c *calls) confirm(g *generation, instance route, service string, lost []*pending) {
	ctx, cancel := context.WithTimeout(c.conn.ctx, confirmTime)
	defer cancel()
	for range maxQuestions {
		earliest, latest, ok := c.made(ctx, g, instance)
		if !ok {
			return
		}
		var undecided []*pending
		for _, p := range lost {
			if p.since.Before(earliest) {
				p.end(outcome{err: gone(service)})
			} else if p.since.Before(latest) {
				undecided = append(undecided, p)
			}
		}
		if lost = undecided; lost == nil {
			return
		}
	}
}

// doubtful returns the calls that have gone with the queue of their service, if there is a new one. That was not bound yet
// when the event was published, so a call is in the new one only if it is younger than the event, except for the time that this took.
// Those in kept are still answered. (Instances of older versions name them by their ids.)
func (c *calls) doubtful(service string, kept []string, now time.Time) (lost []*pending) {
	spared := make(map[string]bool, len(kept))
	for _, id := range kept {
		spared[id] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, p := range c.pending {
		if p.service == service && now.Sub(p.since) > newsTravel && !spared[id] && !spared[keptID(id)] {
			lost = append(lost, p)
		}
	}
	return lost
}

// made asks an instance when it made the queue of its service, at the earliest and at the latest.
func (c *calls) made(ctx context.Context, g *generation, instance route) (earliest, latest time.Time, ok bool) {
	if g.mayPublish(ctx, "confirming an event", instance) != nil {
		return earliest, latest, false
	}
	id, now := c.newID(), time.Now()
	p := &pending{since: now, until: now.Add(confirmTime), gen: g, came: make(chan outcome, 1), letter: letter{
		exchange: instance.exchange, key: instance.key, mandatory: true, msg: amqp091.Publishing{
			Headers: amqp091.Table{envelope.Version: envelope.V1}, DeliveryMode: amqp091.Transient, Expiration: expiration(confirmTime),
			Type: controlInfo, CorrelationId: id, ReplyTo: replyTo, AppId: c.conn.config.Instance.ID,
		},
	}}
	c.add(id, p)
	defer c.remove(id)
	if g.requests.send(ctx, &p.letter) != nil {
		return earliest, latest, false
	}
	select {
	case o := <-p.came: // without a reply: the broker has returned the question
		var said info
		if o.err != nil || json.Unmarshal(decodeReply(o.reply).Body, &said) != nil || said.QueueAge == nil {
			return earliest, latest, false
		}
		age := time.Duration(*said.QueueAge * float64(time.Millisecond))
		return now.Add(-age), time.Now().Add(-age), true
	case <-g.lost:
	case <-ctx.Done():
	}
	return earliest, latest, false
}
