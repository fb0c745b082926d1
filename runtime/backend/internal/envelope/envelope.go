// Package envelope converts calls and replies to and from wire headers, independent of the carrier. AMQP messages and
// socket frames carry the same headers, which docs/wire.md documents.
//
// All values are strings, so that they fit every carrier. A carrier reads and writes the fields that it has natively:
// IDs, caller, type and content type.
package envelope

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// The names of headers. Other names with the prefix Reserved belong to a carrier or a later version; all other names
// belong to middleware.
const (
	Reserved = "af-"
	Version  = "af-v"
	Timeout  = "af-timeout-ms"
	Contract = "af-contract"
	Metadata = "af-md-" // prefix of names of the user's metadata
	Code     = "af-code"
	Message  = "af-msg"
	Details  = "af-details"
	Outcome  = "af-outcome"
	Server   = "af-srv"
	Trace    = "traceparent" // of W3C Trace Context
)

// The names of headers of raw messages.
const (
	Attempts     = "af-attempts"      // deliveries before the message was published again; 0 if missing
	First        = "af-first"         // when a delivery first failed
	Last         = "af-last"          // when the last one failed; of dead letters, as the following
	DeadQueue    = "af-dead-queue"    // the queue in which the message was sent
	DeadReason   = "af-dead-reason"   // see backend.DeadReason
	DeadAttempts = "af-dead-attempts" // deliveries to that queue
)

const (
	V1       = "1"                // the version that this package implements
	JSON     = "application/json" // the only content type
	MaxShort = 255                // bytes of a type, an ID or a header name, as in AMQP
	MaxText  = 1 << 10            // bytes of an error's message if the whole error is too large for its carrier
)

// Type returns the type of a request.
func Type(req *backend.Request) string { return req.Service + "/" + req.Method }

// Check returns an error if no carrier can send a request.
func Check(req *backend.Request) *backend.Error {
	switch {
	case len(req.Body) > backend.MaxMessage:
		return backend.Errorf(backend.ErrResourceExhausted, "the arguments of %s.%s are %d bytes; at most %d are allowed",
			req.Service, req.Method, len(req.Body), backend.MaxMessage)
	case req.Service == "" || strings.Contains(req.Service, "/") || req.Method == "":
		return backend.Errorf(backend.ErrInvalidArgument,
			"a call needs a service, without a slash in its name, and a method, "+
				"not %q and %q", req.Service, req.Method)
	case len(req.Service)+1+len(req.Method) > MaxShort || len(req.ID) > MaxShort || len(req.Caller) > MaxShort:
		return backend.Errorf(backend.ErrInvalidArgument,
			"calling %.80s.%.80s: both names together, the ID and the caller may have "+
				"at most %d bytes each", req.Service, req.Method, MaxShort)
	}
	for name := range req.Headers {
		if strings.HasPrefix(name, Reserved) || len(name) > MaxShort || name == "" {
			return backend.Errorf(backend.ErrInvalidArgument,
				"header %.80q: the name must have 1 to %d bytes, and must not start "+
					"with %q, which is reserved", name, MaxShort, Reserved)
		}
	}
	for name := range req.Metadata {
		if len(name)+len(Metadata) > MaxShort {
			return backend.Errorf(backend.ErrInvalidArgument, "metadata %.80q: the name may have at most %d bytes", name,
				MaxShort-len(Metadata))
		}
	}
	return nil
}

// Request returns the headers of a checked request with left as its timeout.
func Request(req *backend.Request, left time.Duration) map[string]string {
	h := make(map[string]string, 3+len(req.Headers)+len(req.Metadata))
	PutRequest(req, left, func(name, value string) { h[name] = value })
	return h
}

// PutRequest calls put with each header of a checked request with left as its timeout. No name occurs twice.
func PutRequest(req *backend.Request, left time.Duration, put func(name, value string)) {
	for name, value := range req.Headers {
		put(name, value)
	}
	for name, value := range req.Metadata {
		put(Metadata+name, value)
	}
	if req.Fingerprint != "" {
		put(Contract, req.Fingerprint)
	}
	put(Version, V1)
	put(Timeout, Milliseconds(left))
}

// ParseRequest returns the request with a type, a content type and headers, or the error to reply if it can't be
// parsed. The carrier sets ID, Caller and Redelivered.
func ParseRequest(typ, content string, h map[string]string, body []byte) (*backend.Request, *backend.Error) {
	service, method, ok := strings.Cut(typ, "/")
	timeout, err := Duration(h[Timeout])
	var refusal *backend.Error
	switch {
	case h[Version] != V1:
		refusal = backend.Errorf(backend.ErrUnimplemented, "envelope version %.20q; this instance supports %s", h[Version],
			V1)
	case content != JSON:
		refusal = backend.Errorf(backend.ErrUnimplemented, "content type %.80q; this instance supports %s", content, JSON)
	case !ok || service == "" || method == "":
		refusal = backend.Errorf(backend.ErrInvalidArgument, "type %.80q is not of the form service/method", typ)
	case err != nil:
		refusal = backend.Errorf(backend.ErrInvalidArgument, "%s: %w", Timeout, err)
	case len(body) > backend.MaxMessage:
		refusal = backend.Errorf(backend.ErrResourceExhausted, "the arguments are %d bytes; at most %d are allowed",
			len(body), backend.MaxMessage)
	}
	if refusal != nil {
		return nil, refusal.With(backend.OutcomeAnswered)
	}
	req := &backend.Request{Service: service, Method: method, Timeout: timeout, Fingerprint: h[Contract], Body: body}
	for name, value := range h {
		if user, ok := strings.CutPrefix(name, Metadata); ok {
			put(&req.Metadata, user, value)
		} else if !strings.HasPrefix(name, Reserved) {
			put(&req.Headers, name, value)
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

// outcomes are the header values of outcomes; answered has none.
var outcomes = map[backend.Outcome]string{backend.OutcomeNotSent: "not_sent", backend.OutcomeUnknown: "unknown"}

// Reply returns the headers and the body of a reply. fits reports whether the carrier can carry given headers; errors
// that don't fit are truncated.
func Reply(r *backend.Reply, fits func(map[string]string) bool) (map[string]string, json.RawMessage) {
	h := map[string]string{Version: V1}
	if r.Server != "" {
		h[Server] = Cut(r.Server, MaxShort)
	}
	e := r.Err
	if e == nil && len(r.Body) > backend.MaxMessage {
		e = tooLarge(r.Body)
	}
	if e == nil {
		return h, r.Body
	}
	if e.Outcome != backend.OutcomeAnswered {
		h[Outcome] = outcomes[e.Outcome]
	}
	PutError(h, e, fits)
	return h, nil
}

func tooLarge(body json.RawMessage) *backend.Error {
	return backend.Errorf(backend.ErrResourceExhausted, "the reply is %d bytes; at most %d are allowed", len(body),
		backend.MaxMessage).
		With(backend.OutcomeAnswered)
}

// PutError adds an error, except its outcome, to headers.
func PutError(h map[string]string, e *backend.Error, fits func(map[string]string) bool) {
	h[Code], h[Message] = string(backend.ParseCode(string(e.Code))), e.Message
	if len(e.Details) > 0 {
		if details, err := json.Marshal(e.Details); err == nil {
			h[Details] = string(details)
		}
	}
	if fits(h) {
		return
	}
	delete(h, Details)
	h[Message] = Cut(e.Message, MaxText) + " (truncated: the error doesn't fit into a message)"
}

// ParseReply returns the reply with given headers and body.
func ParseReply(h map[string]string, body []byte) *backend.Reply {
	r := &backend.Reply{Server: h[Server]}
	switch {
	case h[Code] != "":
		r.Err = ParseError(h)
		switch h[Outcome] {
		case "":
			r.Err.Outcome = backend.OutcomeAnswered
		case outcomes[backend.OutcomeNotSent]:
			r.Err.Outcome = backend.OutcomeNotSent
		}
	case len(body) > backend.MaxMessage:
		r.Err = tooLarge(body)
	default:
		r.Body = body
	}
	return r
}

// ParseError returns the error in headers, with an unknown outcome.
func ParseError(h map[string]string) *backend.Error {
	e := &backend.Error{Code: backend.ParseCode(h[Code]), Message: h[Message]}
	if details := h[Details]; details != "" && json.Unmarshal([]byte(details), &e.Details) != nil {
		e.Details = nil
		e.Message += " (details can't be decoded)"
	}
	return e
}

// Milliseconds formats a duration as a decimal number of milliseconds, rounded down to microseconds.
func Milliseconds(d time.Duration) string {
	return strconv.FormatFloat(float64(d/time.Microsecond)/1000, 'f', -1, 64)
}

// Duration parses the output of Milliseconds.
func Duration(s string) (time.Duration, error) {
	ms, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil || !(ms > 0): // NaN too
		return 0, fmt.Errorf("%.20q is not a positive number of milliseconds", s)
	case ms >= math.MaxInt64/float64(time.Millisecond):
		return math.MaxInt64, nil
	}
	return time.Duration(ms * float64(time.Millisecond)), nil
}

// Cut truncates a text to at most n bytes, at a rune boundary.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
