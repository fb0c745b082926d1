package amqp

import (
	"context"
	"strings"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// gathering is for how long after a connection was opened anew nobody is absent: what ended the one before may have ended
// those of the others, who try again within backoffMost, and may take a while to get through.
const gathering = backoffMost + defaultConnectTimeout

// Absent implements backend.Lookout. The queue of control messages of a Conn is exclusive, and ends with its connection: in
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
		parcels = append(parcels, &parcel{letter: letter{exchange: exchangeControl, key: hereKey + id, msg: amqp091.Publishing{
			Headers: amqp091.Table{envelope.Version: envelope.V1}, DeliveryMode: amqp091.Transient, Type: controlHere, AppId: t.conn.config.Instance.ID,
		}}})
	}
	if err := g.confirmed.send(ctx, parcels); err != nil {
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

var _ backend.Lookout = (*transport)(nil)
