package mesh

import (
	"encoding/json"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// The kinds of frames. Receivers ignore unknown kinds, which belong to a later version.
const (
	kindHello   = "hello"   // the first frame, in both directions
	kindRequest = "request" // caller: a call, or the answer to free
	kindCancel  = "cancel"  // caller: has stopped waiting
	kindPass    = "pass"    // caller: give up the reserved slot, or leave the queue
	kindReply   = "reply"   // instance: the reply
	kindRefuse  = "refuse"  // instance: not started and not queued
	kindBusy    = "busy"    // instance: not started, but queued
	kindFree    = "free"    // instance: a slot is reserved for a moment; send the request again, or pass
	kindNotice  = "notice"
	kindGap     = "gap" // notices were dropped here
)

// hToken is the only header that is specific to this carrier.
const hToken = envelope.Reserved + "token"

// requestHeader returns the header of a request that has been checked. left is its remaining time.
func requestHeader(req *backend.Request, id string, left time.Duration) *header {
	return &header{
		Kind: kindRequest, Type: envelope.Type(req), ContentType: envelope.JSON,
		CorrelationID: id, MessageID: req.ID, AppID: req.Caller, Headers: envelope.Request(req, left),
	}
}

// request parses a request. It returns the reply's error if the request is invalid.
func (h *header) request(body []byte) (*backend.Request, *backend.Error) {
	req, refusal := envelope.ParseRequest(h.Type, h.ContentType, h.Headers, body)
	if refusal == nil {
		req.ID, req.Caller = h.MessageID, h.AppID
	}
	return req, refusal
}

// encodeReply returns the frame of a reply.
func encodeReply(id string, r *backend.Reply) (head []byte, body json.RawMessage) {
	h := &header{Kind: kindReply, ContentType: envelope.JSON, CorrelationID: id}
	h.Headers, body = envelope.Reply(r, h.fits)
	head, _ = encode(h, body) // h.fits has checked it
	return head, body
}

// encodeRefusal returns the frame that refuses a call.
func encodeRefusal(id string, e *backend.Error) []byte {
	h := &header{Kind: kindRefuse, CorrelationID: id, Headers: map[string]string{envelope.Version: envelope.V1}}
	envelope.PutError(h.Headers, e, h.fits)
	head, _ := encode(h, nil) // h.fits has checked it
	return head
}

// fits reports whether h can be encoded with these headers.
func (h *header) fits(headers map[string]string) bool {
	with := *h
	with.Headers = headers
	_, err := encode(&with, nil)
	return err == nil
}

// reply parses a reply.
func (h *header) reply(body []byte) *backend.Reply { return envelope.ParseReply(h.Headers, body) }

// error parses an error; its outcome is unknown.
func (h *header) error() *backend.Error { return envelope.ParseError(h.Headers) }
