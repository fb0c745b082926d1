package amqp

import (
	"context"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// gathering is for how long after a connection was opened anew nobody is absent: what ended the one before may have ended
// those of the others, who try again within backoffMost, and may take a while to get through.
const gathering = backoffMost + defaultConnectTimeout

// Absent implements backend.ConnectionChecker. The queue of control messages of a Conn is exclusive, and ends with its connection: in
// milliseconds when its process dies. A message that nobody can hear comes back.
func (t *transport) Absent(ctx context.Context, instances []string) ([]string, error) {
	g, e := t.conn.usable()
	if e != nil {
		return nil, e
	}
	if g.number > 1 && time.Since(g.born) < gathering {
		return nil, backend.Errorf(backend.ErrUnavailable, "RabbitMQ at %s: others may be connecting again", g.target)
	}
	var parcels []*parcel
	for _, id := range instances {
		if id == "" || len(hereKey)+len(id) > envelope.MaxShort {
			continue // nobody can have this name
		}
		parcels = append(parcels, g.here(exchangeControl, hereKey+id))
	}
	if err := g.probe(ctx, parcels...); err != nil { // also if this Conn isn't visible itself: a deletion says nothing of the others
		return nil, err
	}
	var absent []string
	for _, p := range parcels {
		if p.homeless {
			absent = append(absent, strings.TrimPrefix(p.key, hereKey))
		}
	}
	return absent, nil
}

// Visible implements backend.ConnectionChecker. Others see this Conn while its queue of control messages is there. When the broker closes the
// connection or deletes the queue it says so. When it drops the connection since it hears nothing, it may be unable to say so: then
// nothing has been read from it for longer than silence.
func (t *transport) Visible() (since time.Time, changed <-chan struct{}) {
	c := t.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.current
	if c.closed || g == nil || g.hasEnded() || g.consume.sock.quiet() > silence(g.consume.Config.Heartbeat) {
		return time.Time{}, c.changed
	}
	return g.seen, c.changed
}

// silence is after how long without a byte from the broker it may have dropped the connection, with a heartbeat negotiated. RabbitMQ
// drops one no sooner than two heartbeats after the last byte that it received. The client sends one every half heartbeat, or after
// a heartbeat less a second if it has just sent something else. So RabbitMQ drops the connection one heartbeat and a second after the
// client was cut off, or later (one and a half heartbeats, if that is less). RabbitMQ itself sends a byte every heartbeat: silence is
// little more than that, and less for long ones, so that it is the shorter time on clocks that are 2 % wrong.
// (rabbit_heartbeat.erl; Connection.heartbeater of amqp091-go.)
func silence(heartbeat time.Duration) time.Duration {
	return heartbeat*95/100 + 700*time.Millisecond
}

var _ backend.ConnectionChecker = (*transport)(nil)
