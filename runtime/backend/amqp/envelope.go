package amqp

import (
	"fmt"
	"strconv"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// hNumber is a header with which a publisher recognises its returned messages.
const hNumber = envelope.Reserved + "n"

const (
	maxHeaders    = 64 << 10  // bytes; all headers and properties must fit into one frame
	frameReserve  = 4 << 10   // bytes of a frame reserved for properties
	maxExpiration = 1<<31 - 1 // milliseconds; the broker accepts at most twice that
)

// checkRequest returns an error if a request can't be sent.
func checkRequest(req *backend.Request) *backend.Error {
	if err := envelope.Check(req); err != nil {
		return err
	}
	if len(prefixCalls)+len(req.Service) > envelope.MaxShort {
		return backend.Errorf(backend.ErrInvalidArgument, "calling %.80s: service name longer than %d bytes", name(req),
			envelope.MaxShort-len(prefixCalls))
	}
	return nil
}

// encodeRequest returns the message of a checked request with left as its timeout.
func encodeRequest(req *backend.Request, id string, left time.Duration) amqp091.Publishing {
	return amqp091.Publishing{
		Headers: table(envelope.Request(req, left)), ContentType: envelope.JSON, DeliveryMode: amqp091.Transient,
		CorrelationId: id, ReplyTo: replyTo, Expiration: expiration(left), MessageId: req.ID, Type: envelope.Type(req),
		AppId: req.Caller, Body: req.Body,
	}
}

// expiration returns how long a request may wait in its queue, in milliseconds rounded up, since 0 would mean not at
// all.
func expiration(left time.Duration) string {
	left = min(left, maxExpiration*time.Millisecond)
	ms := (left + time.Millisecond - 1) / time.Millisecond
	return strconv.FormatInt(int64(max(ms, 1)), 10)
}

// decodeRequest returns the request in a delivery, or the error to reply if it can't be decoded.
func decodeRequest(d *amqp091.Delivery, service string) (*backend.Request, *backend.Error) {
	if cut := checkPlaceholder(d.Body); cut != nil {
		return nil, cut
	}
	req, refusal := envelope.ParseRequest(d.Type, d.ContentType, texts(d.Headers), d.Body)
	if refusal != nil {
		return nil, refusal
	}
	if req.Service != service {
		return nil, backend.Errorf(backend.ErrInvalidArgument, "type %q is not of the form %s/method", d.Type, service).
			With(backend.OutcomeAnswered)
	}
	req.ID, req.Caller, req.Redelivered = d.MessageId, d.AppId, d.Redelivered
	return req, nil
}

// encodeReply returns the message of a reply with at most maxSize bytes of headers.
func encodeReply(id string, r *backend.Reply, maxSize int) amqp091.Publishing {
	h, body := envelope.Reply(r, func(h map[string]string) bool { return size(table(h)) <= maxSize })
	return amqp091.Publishing{
		Headers: table(h), ContentType: envelope.JSON, DeliveryMode: amqp091.Transient, CorrelationId: id, Body: body,
	}
}

// decodeReply returns the reply in a delivery.
func decodeReply(d *amqp091.Delivery) *backend.Reply {
	r := envelope.ParseReply(texts(d.Headers), d.Body)
	if v, length := parsePlaceholder(d.Body); v != accepted && r.Err == nil {
		r.Body, r.Err = nil, backend.Errorf(backend.ErrResourceExhausted, "the reply is %d bytes; at most %d are allowed",
			length, backend.MaxMessage).With(backend.OutcomeAnswered)
	}
	return r
}

func table(headers map[string]string) amqp091.Table {
	h := make(amqp091.Table, len(headers)+1) // a confirmer adds hNumber
	for name, value := range headers {
		h[name] = value
	}
	return h
}

// size returns an upper estimate of the bytes that headers take in a frame.
func size(h amqp091.Table) int {
	n := 0
	for name, value := range h {
		n += len(name) + len(text(value)) + 8
	}
	return n
}

func texts(headers amqp091.Table) map[string]string {
	h := make(map[string]string, len(headers))
	for name, value := range headers {
		h[name] = text(value)
	}
	return h
}

// text returns a header's value as a string, since clients in other languages may send numbers and bytes.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []byte:
		return string(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}
