package amqp

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
)

// The names of headers that have a meaning. All others that begin with reserved are a later version's; what doesn't
// belongs to middleware.
const (
	reserved    = "af-"
	hVersion    = "af-v"
	hTimeout    = "af-timeout-ms"
	hContract   = "af-contract"
	hMetadata   = "af-md-" // before each name of the user's metadata
	hCode       = "af-code"
	hMessage    = "af-msg"
	hDetails    = "af-details"
	hOutcome    = "af-outcome"
	hServer     = "af-srv"
	hNumber     = "af-n" // a publisher's own, by which it knows what comes back
	version     = "1"
	jsonContent = "application/json"

	maxShort      = 255       // bytes of a property, of a header's name, of a queue's
	maxHeaders    = 64 << 10  // bytes of all headers: they must fit into one frame, with the properties
	frameReserve  = 4 << 10   // of a frame, for the properties
	maxErrorText  = 1 << 10   // of an error whose headers would be too large
	maxExpiration = 1<<31 - 1 // milliseconds; the broker takes no more than twice that
)

// checkRequest returns why a request can't be sent.
func checkRequest(req *backend.Request) *backend.Error {
	switch {
	case len(req.Body) > backend.MaxMessage:
		return backend.Errorf(backend.ErrResourceExhausted, "the arguments of %s.%s are %d bytes; at most %d are allowed",
			req.Service, req.Method, len(req.Body), backend.MaxMessage)
	case req.Service == "" || strings.Contains(req.Service, "/") || req.Method == "":
		return backend.Errorf(backend.ErrInvalidArgument, "a call needs a service, without a slash in its name, and a method; they are %q and %q",
			req.Service, req.Method)
	case len(req.Service)+1+len(req.Method) > maxShort || len(prefixCalls)+len(req.Service) > maxShort || len(req.ID) > maxShort || len(req.Caller) > maxShort:
		return backend.Errorf(backend.ErrInvalidArgument, "calling %.80s.%.80s: the names together, the id and the caller may have %d bytes each",
			req.Service, req.Method, maxShort)
	}
	for name := range req.Headers {
		if strings.HasPrefix(name, reserved) || len(name) > maxShort || name == "" {
			return backend.Errorf(backend.ErrInvalidArgument, "a header named %.80q: names have 1 to %d bytes, and those that begin with %q are reserved",
				name, maxShort, reserved)
		}
	}
	for name := range req.Metadata {
		if len(name)+len(hMetadata) > maxShort {
			return backend.Errorf(backend.ErrInvalidArgument, "metadata named %.80q…: a name may have %d bytes", name, maxShort-len(hMetadata))
		}
	}
	return nil
}

// encodeRequest returns the message of a request that has been checked, with left of its time.
func encodeRequest(req *backend.Request, id string, left time.Duration) amqp091.Publishing {
	h := make(amqp091.Table, 3+len(req.Headers)+len(req.Metadata))
	for name, value := range req.Headers {
		h[name] = value
	}
	for name, value := range req.Metadata {
		h[hMetadata+name] = value
	}
	if req.Fingerprint != "" {
		h[hContract] = req.Fingerprint
	}
	h[hVersion] = version
	h[hTimeout] = milliseconds(left)
	return amqp091.Publishing{
		Headers: h, ContentType: jsonContent, DeliveryMode: amqp091.Transient, CorrelationId: id, ReplyTo: replyTo,
		Expiration: expiration(left), MessageId: req.ID, Type: req.Service + "/" + req.Method, AppId: req.Caller, Body: req.Body,
	}
}

// expiration is how long a request may wait in its queue: whole milliseconds, since 0 would mean not at all.
func expiration(left time.Duration) string {
	ms := (int64(left) + int64(time.Millisecond) - 1) / int64(time.Millisecond)
	return strconv.FormatInt(min(max(ms, 1), maxExpiration), 10)
}

// decodeRequest returns the request in a delivery, or the answer to one that can't be understood.
func decodeRequest(d *amqp091.Delivery, service string) (*backend.Request, *backend.Error) {
	named, method, ok := strings.Cut(d.Type, "/")
	timeout, err := duration(text(d.Headers[hTimeout]))
	var refusal *backend.Error
	switch {
	case text(d.Headers[hVersion]) != version:
		refusal = backend.Errorf(backend.ErrUnimplemented, "version %.20q of the envelope; this instance speaks %s", text(d.Headers[hVersion]), version)
	case d.ContentType != jsonContent:
		refusal = backend.Errorf(backend.ErrUnimplemented, "content type %q; this instance speaks %s", d.ContentType, jsonContent)
	case !ok || named != service || method == "":
		refusal = backend.Errorf(backend.ErrInvalidArgument, "type %q is not of the form %s/method", d.Type, service)
	case err != nil:
		refusal = backend.Errorf(backend.ErrInvalidArgument, "%s: %w", hTimeout, err)
	case len(d.Body) > backend.MaxMessage:
		refusal = backend.Errorf(backend.ErrResourceExhausted, "the arguments are %d bytes; at most %d are allowed", len(d.Body), backend.MaxMessage)
	}
	if refusal != nil {
		return nil, refusal.With(backend.OutcomeAnswered)
	}
	req := &backend.Request{
		Service: service, Method: method, ID: d.MessageId, Caller: d.AppId, Timeout: timeout,
		Fingerprint: text(d.Headers[hContract]), Body: d.Body, Redelivered: d.Redelivered,
	}
	for name, value := range d.Headers {
		if user, ok := strings.CutPrefix(name, hMetadata); ok {
			put(&req.Metadata, user, text(value))
		} else if !strings.HasPrefix(name, reserved) {
			put(&req.Headers, name, text(value))
		}
	}
	return req, nil
}

func put(m *map[string]string, name, value string) {
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[name] = value
}

// text returns a header's value as a string: other languages' clients send numbers and bytes where they have them.
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

// milliseconds writes a duration as a decimal number of milliseconds, to the microsecond below.
func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(float64(d/time.Microsecond)/1000, 'f', -1, 64)
}

// duration reads what milliseconds writes.
func duration(s string) (time.Duration, error) {
	ms, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil || !(ms > 0): // NaN too
		return 0, fmt.Errorf("%.20q is not a positive number of milliseconds", s)
	case ms >= math.MaxInt64/float64(time.Millisecond):
		return math.MaxInt64, nil
	}
	return time.Duration(ms * float64(time.Millisecond)), nil
}

// encodeReply returns the message of a reply, with headers of at most most bytes.
func encodeReply(id string, r *backend.Reply, most int) amqp091.Publishing {
	h := amqp091.Table{hVersion: version}
	if r.Server != "" {
		h[hServer] = cut(r.Server, maxShort)
	}
	msg := amqp091.Publishing{Headers: h, ContentType: jsonContent, DeliveryMode: amqp091.Transient, CorrelationId: id, Body: r.Body}
	e := r.Err
	if e == nil && len(r.Body) > backend.MaxMessage {
		e = backend.Errorf(backend.ErrResourceExhausted, "a reply of %d bytes; at most %d are allowed",
			len(r.Body), backend.MaxMessage).With(backend.OutcomeAnswered)
	}
	if e != nil {
		msg.Body = nil
		encodeError(h, e, most)
	}
	return msg
}

// encodeError puts an error into headers: as it is, or as much of it as fits.
func encodeError(h amqp091.Table, e *backend.Error, most int) {
	h[hCode], h[hMessage] = string(backend.ParseCode(string(e.Code))), e.Message
	if e.Outcome != backend.OutcomeAnswered {
		h[hOutcome] = outcomes[e.Outcome]
	}
	if len(e.Details) > 0 {
		if details, err := json.Marshal(e.Details); err == nil {
			h[hDetails] = string(details)
		}
	}
	if size(h) <= most {
		return
	}
	delete(h, hDetails)
	h[hMessage] = cut(e.Message, maxErrorText) + " (cut: the whole error doesn't fit into a message)"
}

// size returns how many bytes headers take in a frame, roughly and not less.
func size(h amqp091.Table) int {
	n := 0
	for name, value := range h {
		n += len(name) + len(text(value)) + 8
	}
	return n
}

// outcomes are what replies say of the outcome; answered is not said.
var outcomes = map[backend.Outcome]string{backend.OutcomeNotSent: "not_sent", backend.OutcomeUnknown: "unknown"}

// decodeReply returns the reply in a delivery.
func decodeReply(d *amqp091.Delivery) *backend.Reply {
	r := &backend.Reply{Server: text(d.Headers[hServer])}
	switch {
	case text(d.Headers[hCode]) != "":
		r.Err = decodeError(d.Headers)
		switch text(d.Headers[hOutcome]) {
		case "":
			r.Err.Outcome = backend.OutcomeAnswered
		case outcomes[backend.OutcomeNotSent]:
			r.Err.Outcome = backend.OutcomeNotSent
		}
	case len(d.Body) > backend.MaxMessage:
		r.Err = backend.Errorf(backend.ErrResourceExhausted, "a reply of %d bytes; at most %d are allowed",
			len(d.Body), backend.MaxMessage).With(backend.OutcomeAnswered)
	default:
		r.Body = d.Body
	}
	return r
}

// decodeError returns the error in headers, its outcome unknown.
func decodeError(h amqp091.Table) *backend.Error {
	e := &backend.Error{Code: backend.ParseCode(text(h[hCode])), Message: text(h[hMessage])}
	if details := text(h[hDetails]); details != "" && json.Unmarshal([]byte(details), &e.Details) != nil {
		e.Details = nil
		e.Message += " (its details do not decode)"
	}
	return e
}

// cut shortens a text to n bytes at most, at the end of a rune.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
