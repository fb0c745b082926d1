package amqp

import (
	"context"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// reconnectGrace is how long after a reconnect no instance counts as absent. Whatever ended this connection may have
// ended those of others. They retry within backoffMost and may need a while to connect.
const reconnectGrace = backoffMost + defaultConnectTimeout

// Absent implements backend.ConnectionChecker. A Conn's control queue is exclusive and is deleted with its connection,
// within milliseconds of the death of its process. A probe message to an absent instance is returned.
func (t *transport) Absent(ctx context.Context, instances []string) ([]string, error) {
	g, e := t.conn.usable()
	if e != nil {
		return nil, e
	}
	if g.number > 1 && time.Since(g.born) < reconnectGrace {
		return nil, backend.Errorf(backend.ErrUnavailable, "RabbitMQ at %s: other instances may still be reconnecting",
			g.target)
	}
	var messages []*confirmedPublishing
	for _, id := range instances {
		if id == "" || len(hereKey)+len(id) > envelope.MaxShort {
			continue // not a valid instance ID
		}
		messages = append(messages, g.probeMessage(exchangeControl, hereKey+id))
	}
	// This also fails if this Conn itself isn't visible: a deleted exchange makes all instances look absent.
	if err := g.probe(ctx, messages...); err != nil {
		return nil, err
	}
	var absent []string
	for _, p := range messages {
		if p.unroutable {
			absent = append(absent, strings.TrimPrefix(p.key, hereKey))
		}
	}
	return absent, nil
}

// Visible implements backend.ConnectionChecker. Other instances see this Conn while its control queue exists. The
// broker announces that it closes the connection or deletes the queue. It may be unable to announce that it drops the
// connection for missing heartbeats, so a connection that has been quiet for longer than silence counts as invisible.
func (t *transport) Visible() (since time.Time, changed <-chan struct{}) {
	c := t.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.current
	if c.closed || g == nil || g.hasEnded() || g.consume.sock.quiet() > silence(g.consume.Config.Heartbeat) {
		return time.Time{}, c.changed
	}
	return g.visibleSince, c.changed
}

// silence returns how long the broker may be quiet before it may have dropped the connection, given the negotiated
// heartbeat.
//
// RabbitMQ drops a connection no sooner than two heartbeats after the last byte it received (rabbit_heartbeat.erl). The
// client sends one every half heartbeat, or after a heartbeat less a second if it has just sent something else
// (Connection.heartbeater of amqp091-go). So the broker drops the connection no sooner than one heartbeat and a second
// after the client was cut off, or one and a half heartbeats if that is less. RabbitMQ itself sends a byte every
// heartbeat. The result is little more than that, and less for long heartbeats, so that it is shorter than the broker's
// time even with clocks that differ by 2 %.
func silence(heartbeat time.Duration) time.Duration {
	return heartbeat*95/100 + 700*time.Millisecond
}

var _ backend.ConnectionChecker = (*transport)(nil)
