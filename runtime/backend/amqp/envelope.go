package amqp

import (
	"cmp"
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

// The wire's versions, for the property priority of a request: the latest one that its sender reads. No queue of a
// service has priorities. Headers are the expensive part of a message, and version 2 avoids them:
//
//   - A reply has headers only if it is an error, and its instance in app_id. It is only sent to callers that read it.
//   - A request has headers only for metadata, middleware and its contract. Instances read it, but it isn't sent yet:
//     an instance that reads only version 1 refuses it, even if it was begun elsewhere and redelivered to that
//     instance. The caller can't know that no such instance runs.
const (
	version1 = 1 // also if the property is missing
	version2 = 2
)

// encodeRequest returns the message of a checked request with left as its timeout, for a caller that reads a version.
func encodeRequest(req *backend.Request, id string, left time.Duration, reads uint8) amqp091.Publishing {
	h := make(amqp091.Table, 4+len(req.Headers)+len(req.Metadata))
	envelope.PutRequest(req, left, func(name, value string) { h[name] = value })
	return amqp091.Publishing{
		Headers: h, ContentType: envelope.JSON, DeliveryMode: amqp091.Transient, Priority: reads,
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
	content, h := d.ContentType, texts(d.Headers)
	if _, found := h[envelope.Version]; !found && d.Priority >= version2 {
		h[envelope.Version] = envelope.V1
		content = cmp.Or(content, envelope.JSON)
		h[envelope.Timeout] = cmp.Or(h[envelope.Timeout], d.Expiration)
	}
	req, refusal := envelope.ParseRequest(d.Type, content, h, d.Body)
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

// encodeReply returns the message of a reply with at most maxSize bytes of headers, for a caller that reads a version.
func encodeReply(id string, r *backend.Reply, maxSize int, reads uint8) amqp091.Publishing {
	if reads >= version2 && r.Err == nil && len(r.Body) <= backend.MaxMessage {
		return amqp091.Publishing{CorrelationId: id, AppId: envelope.Cut(r.Server, envelope.MaxShort), Body: r.Body}
	}
	h, body := envelope.Reply(r, func(h map[string]string) bool { return size(table(h)) <= maxSize })
	if reads < version2 {
		return amqp091.Publishing{
			Headers: table(h), ContentType: envelope.JSON, DeliveryMode: amqp091.Transient, CorrelationId: id, Body: body,
		}
	}
	server := h[envelope.Server]
	delete(h, envelope.Server)
	delete(h, envelope.Version)
	return amqp091.Publishing{Headers: table(h), CorrelationId: id, AppId: server, Body: body}
}

// decodeReply returns the reply in a delivery.
func decodeReply(d *amqp091.Delivery) *backend.Reply {
	r := envelope.ParseReply(texts(d.Headers), d.Body)
	r.Server = cmp.Or(r.Server, d.AppId)
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
