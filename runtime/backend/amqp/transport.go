package amqp

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

const (
	maxHints       = 4096                  // that wait in a queue; a constant, since a queue's arguments can't change
	depthFresh     = 50 * time.Millisecond // how long a depth is believed
	maxDepths      = 1024                  // queues whose depths are remembered
	hintDeliveries = 1000                  // of one hint, before a quorum queue drops it; the dispatcher hints again
	// rawDeliveries is as good as no limit, which 3.10 and 4 would each write in another way: a message that fails comes
	// again and again.
	rawDeliveries = 1 << 30
	textContent   = "text/plain"

	sendPause     = 5 * time.Millisecond // before a raw message that was not taken is sent again; it doubles
	sendPauseMost = 200 * time.Millisecond
)

// transport is the port for hints and raw messages.
type transport struct {
	conn *Conn

	mu     sync.Mutex
	depths map[string]depth
}

type depth struct {
	n  int
	at time.Time
}

// Ids implements backend.Transport.
func (t *transport) Ids() bool { return true }

func (t *transport) hintArgs() amqp091.Table {
	return t.args(amqp091.Table{"x-max-length": int32(maxHints), "x-overflow": "reject-publish"}, hintDeliveries)
}

func (t *transport) rawArgs() amqp091.Table { return t.args(amqp091.Table{}, rawDeliveries) }

// args returns the arguments of a durable queue. A quorum queue has a limit of deliveries: RabbitMQ 4 has one by default.
func (t *transport) args(args amqp091.Table, deliveries int32) amqp091.Table {
	if t.conn.config.Quorum {
		args["x-queue-type"] = "quorum"
		args["x-delivery-limit"] = deliveries
	}
	return args
}

func checkQueue(prefix, queue string) *backend.Error {
	if queue == "" || len(prefix)+len(queue) > envelope.MaxShort {
		return backend.Errorf(backend.ErrInvalidArgument, "a queue named %.80q: the name has 1 to %d bytes", queue, envelope.MaxShort-len(prefix)).
			With(backend.OutcomeNotSent)
	}
	return nil
}

// hintPrefix begins the names of queues of hints. A database's name has no dots, so no two names are equal.
func (t *transport) hintPrefix() string {
	if db := t.conn.config.Database; db != "" {
		return prefixHints + db + "."
	}
	return prefixHints
}

// Hint implements backend.Transport: what the broker confirms has been taken, what it refuses because the queue is full has
// not. With an error it isn't known.
func (t *transport) Hint(ctx context.Context, queue string, ids []string) ([]bool, error) {
	if err := checkQueue(t.hintPrefix(), queue); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, gaveUp(ctx, "hinting", backend.OutcomeNotSent)
	}
	g, err := t.conn.usable()
	if err != nil {
		return nil, err
	}
	parcels := make([]*parcel, len(ids))
	for i, id := range ids {
		parcels[i] = &parcel{letter: letter{key: t.hintPrefix() + queue, msg: amqp091.Publishing{
			ContentType: textContent, DeliveryMode: amqp091.Transient, AppId: t.conn.config.Instance.ID, Body: []byte(id),
		}}}
	}
	if err := t.publish(ctx, g, t.hintPrefix()+queue, t.hintArgs(), parcels); err != nil {
		return nil, err
	}
	taken := make([]bool, len(ids))
	for i, p := range parcels {
		taken[i] = p.taken
	}
	return taken, nil
}

// publish publishes to a queue that is declared where it isn't known to be there.
func (t *transport) publish(ctx context.Context, g *generation, name string, args amqp091.Table, parcels []*parcel) *backend.Error {
	if err := g.durable(ctx, name, args); err != nil {
		return err
	}
	if err := g.mayPublish(ctx, "publishing to queue "+name, route{"", g.control}); err != nil {
		return err
	}
	if err := g.confirmed.send(ctx, parcels); err != nil {
		return err
	}
	for _, p := range parcels {
		if p.homeless {
			g.forget(name) // somebody deleted the queue
			break
		}
	}
	return nil
}

// Depth implements backend.Transport.
func (t *transport) Depth(ctx context.Context, queue string) (int, error) {
	if err := checkQueue(t.hintPrefix(), queue); err != nil {
		return 0, err
	}
	if ctx.Err() != nil {
		return 0, gaveUp(ctx, "asking for a depth", backend.OutcomeNotSent)
	}
	g, e := t.conn.usable()
	if e != nil {
		return 0, e
	}
	t.mu.Lock()
	d, known := t.depths[queue]
	t.mu.Unlock()
	if known && time.Since(d.at) < depthFresh {
		return d.n, nil
	}
	q, _, err := g.clerk.look(ctx, t.hintPrefix()+queue) // one that isn't there has none
	if err != nil {
		return 0, asError(explainQueue(t.hintPrefix()+queue, err), backend.ErrUnavailable, "asking for a depth", backend.OutcomeNotSent)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.depths) >= maxDepths {
		clear(t.depths)
	}
	t.depths[queue] = depth{q.Messages, time.Now()}
	return q.Messages, nil
}

// Send implements backend.Transport.
func (t *transport) Send(ctx context.Context, queue string, body json.RawMessage) error {
	if err := checkQueue(prefixRaw, queue); err != nil {
		return err
	}
	if len(body) > backend.MaxMessage {
		return backend.Errorf(backend.ErrResourceExhausted, "a message of %d bytes; at most %d are allowed", len(body), backend.MaxMessage).
			With(backend.OutcomeNotSent)
	}
	if ctx.Err() != nil {
		return gaveUp(ctx, "sending", backend.OutcomeNotSent)
	}
	g, e := t.conn.usable()
	if e != nil {
		return e
	}
	for pause := sendPause; ; pause *= 2 {
		p := &parcel{letter: letter{key: prefixRaw + queue, msg: amqp091.Publishing{
			ContentType: envelope.JSON, DeliveryMode: amqp091.Persistent, AppId: t.conn.config.Instance.ID, Body: body,
		}}}
		if err := t.publish(ctx, g, prefixRaw+queue, t.rawArgs(), []*parcel{p}); err != nil {
			return err
		}
		if p.taken {
			return nil
		}
		if pause > sendPauseMost {
			return backend.Errorf(backend.ErrUnavailable, "RabbitMQ doesn't take the message for queue %q", queue).With(backend.OutcomeNotSent)
		}
		select { // the queue was deleted and is declared anew, or it has only just been declared and has no leader yet
		case <-time.After(pause):
		case <-ctx.Done():
			return gaveUp(ctx, "sending", backend.OutcomeNotSent)
		}
	}
}

var (
	_ backend.Transport = (*transport)(nil)
	_ backend.Calls     = (*calls)(nil)
)
