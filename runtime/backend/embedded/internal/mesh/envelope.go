package mesh

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// The kinds of frames. A receiver ignores any other: it belongs to a later version.
const (
	kindHello   = "hello"   // the first frame, both ways
	kindRequest = "request" // caller: a call, or the answer to free
	kindCancel  = "cancel"  // caller: I gave up
	kindPass    = "pass"    // caller: I don't want the slot, or the place in the line
	kindReply   = "reply"   // instance: the answer
	kindRefuse  = "refuse"  // instance: not begun, and not waiting here
	kindBusy    = "busy"    // instance: not begun; you are in the line
	kindFree    = "free"    // instance: a slot is yours for a moment; send the request again, or pass
	kindNotice  = "notice"
	kindGap     = "gap" // some notices were dropped here
)

// The names of headers that have a meaning. All others that begin with reserved are a later version's; what doesn't
// belongs to middleware.
const (
	reserved    = "af-"
	hVersion    = "af-v"
	hToken      = "af-token"
	hTimeout    = "af-timeout-ms"
	hContract   = "af-contract"
	hMetadata   = "af-md-" // before each name of the user's metadata
	hCode       = "af-code"
	hMessage    = "af-msg"
	hDetails    = "af-details"
	hOutcome    = "af-outcome"
	hServer     = "af-srv"
	version     = "1"
	jsonContent = "application/json"

	maxErrorText = 8 << 10 // of an error whose header would be too large
)

// requestHeader is the envelope of a request that has been checked, with left of its time.
func requestHeader(req *backend.Request, id string, left time.Duration) *header {
	h := &header{
		Kind: kindRequest, Type: req.Service + "/" + req.Method, ContentType: jsonContent,
		CorrelationID: id, MessageID: req.ID, AppID: req.Caller,
		Headers: make(map[string]string, 3+len(req.Headers)+len(req.Metadata)),
	}
	maps.Copy(h.Headers, req.Headers)
	for name, value := range req.Metadata {
		h.Headers[hMetadata+name] = value
	}
	if req.Fingerprint != "" {
		h.Headers[hContract] = req.Fingerprint
	}
	h.Headers[hVersion] = version
	h.Headers[hTimeout] = milliseconds(left)
	return h
}

// request returns the request that came in h, or the answer to one that can't be understood.
func (h *header) request(body []byte) (*backend.Request, *backend.Error) {
	service, method, ok := strings.Cut(h.Type, "/")
	timeout, err := duration(h.Headers[hTimeout])
	var refusal *backend.Error
	switch {
	case h.Headers[hVersion] != version:
		refusal = backend.Errorf(backend.ErrUnimplemented, "version %q of the envelope; this instance speaks %s", h.Headers[hVersion], version)
	case h.ContentType != jsonContent:
		refusal = backend.Errorf(backend.ErrUnimplemented, "content type %q; this instance speaks %s", h.ContentType, jsonContent)
	case !ok || service == "" || method == "":
		refusal = backend.Errorf(backend.ErrInvalidArgument, "type %q is not of the form service/method", h.Type)
	case err != nil:
		refusal = backend.Errorf(backend.ErrInvalidArgument, "%s: %w", hTimeout, err)
	}
	if refusal != nil {
		return nil, refusal.With(backend.OutcomeAnswered)
	}
	req := &backend.Request{
		Service: service, Method: method, ID: h.MessageID, Caller: h.AppID, Timeout: timeout,
		Fingerprint: h.Headers[hContract], Body: body,
	}
	for name, value := range h.Headers {
		if user, ok := strings.CutPrefix(name, hMetadata); ok {
			put(&req.Metadata, user, value)
		} else if !strings.HasPrefix(name, reserved) {
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

// encodeReply returns the frame of a reply, whose body fits.
func encodeReply(id string, r *backend.Reply) (head, body []byte) {
	h := &header{Kind: kindReply, ContentType: jsonContent, CorrelationID: id, Headers: map[string]string{hVersion: version}}
	if r.Server != "" {
		h.Headers[hServer] = cut(r.Server, maxShort)
	}
	if r.Err != nil {
		return encodeError(h, r.Err), nil
	}
	head, _ = encode(h, r.Body)
	return head, r.Body
}

// encodeRefusal returns the frame that says why a call was not begun.
func encodeRefusal(id string, e *backend.Error) []byte {
	return encodeError(&header{Kind: kindRefuse, CorrelationID: id, Headers: map[string]string{hVersion: version}}, e)
}

// encodeError puts an error into a header and encodes it: as it is, or as much of it as fits.
func encodeError(h *header, e *backend.Error) []byte {
	h.Headers[hCode], h.Headers[hMessage] = string(backend.ParseCode(string(e.Code))), e.Message
	if h.Kind == kindReply && e.Outcome != backend.OutcomeAnswered {
		h.Headers[hOutcome] = outcomes[e.Outcome]
	}
	if len(e.Details) > 0 {
		if details, err := json.Marshal(e.Details); err == nil {
			h.Headers[hDetails] = string(details)
		}
	}
	if head, err := encode(h, nil); err == nil {
		return head
	}
	delete(h.Headers, hDetails)
	h.Headers[hMessage] = cut(e.Message, maxErrorText) + " (cut: the whole error doesn't fit into a message)"
	head, _ := encode(h, nil)
	return head
}

// outcomes are what replies say of the outcome; answered is not said.
var outcomes = map[backend.Outcome]string{backend.OutcomeNotSent: "not_sent", backend.OutcomeUnknown: "unknown"}

// reply returns the reply that came in h.
func (h *header) reply(body []byte) *backend.Reply {
	r := &backend.Reply{Server: h.Headers[hServer]}
	if h.Headers[hCode] == "" {
		r.Body = body
		return r
	}
	r.Err = h.error()
	switch h.Headers[hOutcome] {
	case "":
		r.Err.Outcome = backend.OutcomeAnswered
	case outcomes[backend.OutcomeNotSent]:
		r.Err.Outcome = backend.OutcomeNotSent
	}
	return r
}

// error returns the error that came in h, its outcome unknown.
func (h *header) error() *backend.Error {
	e := &backend.Error{Code: backend.ParseCode(h.Headers[hCode]), Message: h.Headers[hMessage]}
	if details := h.Headers[hDetails]; details != "" && json.Unmarshal([]byte(details), &e.Details) != nil {
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
