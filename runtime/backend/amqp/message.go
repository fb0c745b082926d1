package amqp

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// Headers of raw messages. RabbitMQ doesn't count the deliveries of a message in a classic queue, so receivers do: they
// publish a message that failed again, with its number of deliveries, and then acknowledge the original.

// timeFormat is that of times in headers.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// maxAttempts bounds the number of deliveries that a header may have.
const maxAttempts = 1 << 30

// encodeMessage returns the message of a sender.
func (t *transport) encodeMessage(m *backend.Message) amqp091.Publishing {
	h := make(amqp091.Table, len(m.Metadata)+2) // a confirmer adds hNumber
	for name, value := range m.Metadata {
		h[envelope.Metadata+name] = value
	}
	if m.Trace != "" {
		h[envelope.Trace] = m.Trace
	}
	return amqp091.Publishing{
		Headers: h, ContentType: envelope.JSON, DeliveryMode: amqp091.Persistent, AppId: t.conn.config.Instance.ID,
		Body: m.Body,
	}
}

// decodeMessage returns the message in a delivery. All parts of its headers are optional and may be those of any
// publisher. Metadata that is not valid is omitted as a whole, and the error tells why.
func decodeMessage(d *amqp091.Delivery) (*backend.Message, error) {
	m := &backend.Message{Body: d.Body, Trace: text(d.Headers[envelope.Trace]), Attempt: attemptsOf(d.Headers) + 1}
	for name, value := range d.Headers {
		if name, ok := strings.CutPrefix(name, envelope.Metadata); ok && name != "" {
			if m.Metadata == nil {
				m.Metadata = map[string]string{}
			}
			m.Metadata[name] = text(value)
		}
	}
	if queue := text(d.Headers[envelope.DeadQueue]); queue != "" {
		m.Dead = &backend.DeadLetter{
			Queue: queue, Reason: backend.DeadReason(text(d.Headers[envelope.DeadReason])),
			Attempts: count(d.Headers[envelope.DeadAttempts]),
			First:    timeOf(d.Headers[envelope.First]), Last: timeOf(d.Headers[envelope.Last]),
			Code: backend.ParseCode(text(d.Headers[envelope.Code])), Message: text(d.Headers[envelope.Message]),
		}
	}
	err := backend.ValidateMetadata(m.Metadata)
	if err != nil {
		m.Metadata = nil
	}
	return m, err
}

// attemptsOf returns the number of deliveries before a message was published.
func attemptsOf(h amqp091.Table) int { return count(h[envelope.Attempts]) }

func count(v any) int {
	n, err := strconv.Atoi(text(v))
	if err != nil {
		return 0
	}
	return min(max(n, 0), maxAttempts)
}

func timeOf(v any) time.Time {
	if t, ok := v.(time.Time); ok {
		return t.UTC()
	}
	t, err := time.Parse(time.RFC3339Nano, text(v))
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// again returns a delivered message as it is published again: persistent, with all of its properties and headers except
// those that are the broker's or would have another effect. user_id must be that of the connection's user.
func again(d *amqp091.Delivery, maxSize int) amqp091.Publishing {
	h := make(amqp091.Table, len(d.Headers)+8)
	for name, v := range d.Headers {
		if !ofBroker(name) {
			if (amqp091.Table{name: v}).Validate() != nil {
				v = text(v) // a type that the library reads but doesn't write
			}
			h[name] = v
		}
	}
	if size(h) > maxSize-maxOwnHeaders { // the copy has more headers and must fit into a frame
		for name := range h {
			if !strings.HasPrefix(name, envelope.Reserved) && name != envelope.Trace {
				delete(h, name)
			}
		}
	}
	return amqp091.Publishing{
		Headers: h, ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, DeliveryMode: amqp091.Persistent,
		Priority: d.Priority, CorrelationId: d.CorrelationId, ReplyTo: d.ReplyTo, Expiration: d.Expiration,
		MessageId: d.MessageId, Timestamp: d.Timestamp, Type: d.Type, AppId: d.AppId, Body: d.Body,
	}
}

// maxOwnHeaders is the most bytes of the headers that receivers add to a message.
const maxOwnHeaders = 4 << 10

// ofBroker reports whether a header is set by the broker, routes the message elsewhere, or belongs to one publishing.
func ofBroker(name string) bool {
	return slices.Contains([]string{"CC", "BCC", hNumber, "x-delivery-count", "x-acquired-count"}, name) ||
		strings.HasPrefix(name, "x-death") || strings.HasPrefix(name, "x-first-death-") ||
		strings.HasPrefix(name, "x-last-death-")
}

// retried returns a message as it is delivered again. counted are the deliveries until now.
func retried(d *amqp091.Delivery, counted int, failed bool, now time.Time, maxSize int) amqp091.Publishing {
	msg := again(d, maxSize)
	msg.Headers[envelope.Attempts] = strconv.Itoa(counted)
	if failed && text(msg.Headers[envelope.First]) == "" {
		msg.Headers[envelope.First] = now.UTC().Format(timeFormat)
	}
	return msg
}

// deadLetter returns a message of a queue as it is moved to the dead-letter queue. attempts are the deliveries until
// now. It doesn't expire.
func deadLetter(
	d *amqp091.Delivery, queue string, attempts int, dead *backend.DeadLetter, now time.Time, maxSize int,
) amqp091.Publishing {
	msg := again(d, maxSize)
	msg.Expiration = ""
	at := now.UTC().Format(timeFormat)
	h := msg.Headers
	delete(h, envelope.Attempts)
	h[envelope.First] = cmp.Or(text(h[envelope.First]), at)
	h[envelope.Last] = at
	h[envelope.DeadQueue], h[envelope.DeadReason] = queue, string(dead.Reason)
	h[envelope.DeadAttempts] = strconv.Itoa(attempts)
	h[envelope.Code], h[envelope.Message] = string(dead.Code), envelope.Cut(dead.Message, backend.MaxDeadText)
	return msg
}
