package amqp

import (
	"cmp"
	"context"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

const (
	maxHints       = 4096 // per queue; constant, since a queue's arguments can't change
	maxDepths      = 1024 // cached depths
	hintDeliveries = 1000 // of one hint before a quorum queue drops it; the dispatcher then sends another
	// rawDeliveries is effectively unlimited, since receivers count the deliveries of a message themselves. "Unlimited"
	// itself is expressed differently on 3.10 and 4.
	rawDeliveries = 1 << 30
	textContent   = "text/plain"

	// defaultHintPatience bounds an operation for hints. A node of a cluster that doesn't respond holds up declarations.
	defaultHintPatience = 3 * time.Second

	sendPause     = 5 * time.Millisecond // before a raw message that was not accepted is sent again; doubles
	sendPauseMost = 200 * time.Millisecond
)

// transport implements backend.Transport.
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

// rawArgs returns the arguments of a queue of raw messages. A dead-letter queue is bounded: it refuses further
// messages, which then stay in their queue.
func (t *transport) rawArgs(queue string) amqp091.Table {
	args := amqp091.Table{}
	if backend.IsDeadQueue(queue) {
		args["x-max-length"], args["x-overflow"] = int32(backend.MaxDead), "reject-publish"
	}
	return t.args(args, rawDeliveries)
}

// args adds the arguments for the configured type of queues. The type is explicit because a virtual host may have
// another default, and so is the delivery limit because RabbitMQ 4 has one by default.
func (t *transport) args(args amqp091.Table, deliveries int32) amqp091.Table {
	args["x-queue-type"] = "classic"
	if t.conn.config.Quorum {
		args["x-queue-type"] = "quorum"
		args["x-delivery-limit"] = deliveries
	}
	return args
}

func checkQueue(prefix, queue string) *backend.Error {
	if queue == "" || len(prefix)+len(queue) > envelope.MaxShort {
		return backend.Errorf(backend.ErrInvalidArgument, "queue %.80q: the name must have 1 to %d bytes", queue,
			envelope.MaxShort-len(prefix)).With(backend.OutcomeNotSent)
	}
	return nil
}

// hintPrefix returns the prefix of names of hint queues. Database names contain no dots, so the names of different
// databases' queues differ.
func (t *transport) hintPrefix() string {
	if db := t.conn.config.Database; db != "" {
		return prefixHints + db + "."
	}
	return prefixHints
}

// Hint implements backend.Transport. A hint is accepted if the broker confirms it, and not accepted if its queue is
// full. After an error the result is unknown. Hint fails if the broker confirms messages late.
func (t *transport) Hint(ctx context.Context, queue string, ids []string) ([]bool, error) {
	if err := checkQueue(t.hintPrefix(), queue); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, contextError(ctx, "hinting", backend.OutcomeNotSent)
	}
	g, err := t.conn.usable()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(t.conn.config.hintPatience, defaultHintPatience))
	defer cancel()
	ctx, done, down := g.hinting.Guard(ctx)
	if down != nil {
		return nil, down
	}
	defer done()
	messages := make([]*confirmedPublishing, len(ids))
	for i, id := range ids {
		messages[i] = &confirmedPublishing{publishing: publishing{key: t.hintPrefix() + queue, msg: amqp091.Publishing{
			ContentType: textContent, DeliveryMode: amqp091.Transient, AppId: t.conn.config.Instance.ID, Body: []byte(id),
		}}}
	}
	if err := t.publish(ctx, g, t.hintPrefix()+queue, t.hintArgs(), messages); err != nil {
		return nil, hintError(ctx, err)
	}
	taken := make([]bool, len(ids))
	for i, p := range messages {
		taken[i] = p.accepted
	}
	return taken, nil
}

// publish publishes to a queue, which it declares unless it is known to exist.
func (t *transport) publish(
	ctx context.Context, g *generation, name string, args amqp091.Table, messages []*confirmedPublishing,
) *backend.Error {
	if err := g.ensureQueue(ctx, name, args); err != nil {
		return err
	}
	if err := g.mayPublish(ctx, "publishing to queue "+name, route{"", g.control}); err != nil {
		return err
	}
	if err := g.confirmed.send(ctx, messages); err != nil {
		return err
	}
	for _, p := range messages {
		if p.unroutable {
			g.forgetQueue(name) // the queue was deleted
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
		return 0, contextError(ctx, "reading a queue's depth", backend.OutcomeNotSent)
	}
	g, e := t.conn.usable()
	if e != nil {
		return 0, e
	}
	t.mu.Lock()
	d, known := t.depths[queue]
	t.mu.Unlock()
	if known && time.Since(d.at) < backend.MaxDepthAge {
		return d.n, nil
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(t.conn.config.hintPatience, defaultHintPatience))
	defer cancel()
	ctx, done, down := g.hinting.Guard(ctx)
	if down != nil {
		return 0, down
	}
	defer done()
	q, _, err := g.declarer.inspectQueue(ctx, t.hintPrefix()+queue) // a missing queue has depth 0
	if err != nil {
		return 0, hintError(ctx, asError(explainQueue(t.hintPrefix()+queue, err), backend.ErrUnavailable,
			"reading a queue's depth", backend.OutcomeNotSent))
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
func (t *transport) Send(ctx context.Context, queue string, m backend.Message) error {
	if err := checkQueue(prefixRaw, queue); err != nil {
		return err
	}
	if len(m.Body) > backend.MaxMessage {
		return backend.Errorf(backend.ErrResourceExhausted, "a message for queue %q is %d bytes; at most %d are allowed",
			queue, len(m.Body), backend.MaxMessage).With(backend.OutcomeNotSent)
	}
	if ctx.Err() != nil {
		return contextError(ctx, "sending", backend.OutcomeNotSent)
	}
	g, e := t.conn.usable()
	if e != nil {
		return e
	}
	if err := t.publishRaw(ctx, g, queue, t.encodeMessage(&m)); err != nil {
		return err
	}
	return nil
}

// publishRaw publishes a message to a queue of raw messages. After a nil error the broker has stored it.
func (t *transport) publishRaw(
	ctx context.Context, g *generation, queue string, msg amqp091.Publishing,
) *backend.Error {
	for pause := sendPause; ; pause *= 2 {
		p := &confirmedPublishing{publishing: publishing{key: prefixRaw + queue, msg: msg}}
		if err := t.publish(ctx, g, prefixRaw+queue, t.rawArgs(queue), []*confirmedPublishing{p}); err != nil {
			return err
		}
		switch {
		case p.accepted:
			return nil
		case pause <= sendPauseMost:
		case backend.IsDeadQueue(queue) && !p.unroutable:
			return backend.ErrDeadFull(queue)
		default:
			return backend.Errorf(backend.ErrUnavailable, "RabbitMQ doesn't accept the message for queue %q", queue).
				With(backend.OutcomeNotSent)
		}
		select { // the queue was deleted and will be declared again, or is new and has no leader yet
		case <-time.After(pause):
		case <-ctx.Done():
			return contextError(ctx, "sending", backend.OutcomeNotSent)
		}
	}
}

var (
	_ backend.Transport = (*transport)(nil)
	_ backend.Calls     = (*calls)(nil)
)
