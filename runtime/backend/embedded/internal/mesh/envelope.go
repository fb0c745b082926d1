package mesh

import (
	"encoding/json"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
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

// hToken is the one header of this carrier's own.
const hToken = envelope.Reserved + "token"

// requestHeader is the envelope of a request that has been checked, with left of its time.
func requestHeader(req *backend.Request, id string, left time.Duration) *header {
	return &header{
		Kind: kindRequest, Type: envelope.Type(req), ContentType: envelope.JSON,
		CorrelationID: id, MessageID: req.ID, AppID: req.Caller, Headers: envelope.Request(req, left),
	}
}

// request returns the request that came in h, or the answer to one that can't be understood.
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
	head, _ = encode(h, body) // it fits
	return head, body
}

// encodeRefusal returns the frame that says why a call was not begun.
func encodeRefusal(id string, e *backend.Error) []byte {
	h := &header{Kind: kindRefuse, CorrelationID: id, Headers: map[string]string{envelope.Version: envelope.V1}}
	envelope.PutError(h.Headers, e, h.fits)
	head, _ := encode(h, nil) // it fits
	return head
}

// fits says whether h can be encoded with these headers.
func (h *header) fits(headers map[string]string) bool {
	with := *h
	with.Headers = headers
	_, err := encode(&with, nil)
	return err == nil
}

// reply returns the reply that came in h.
func (h *header) reply(body []byte) *backend.Reply { return envelope.ParseReply(h.Headers, body) }

// error returns the error that came in h, its outcome unknown.
func (h *header) error() *backend.Error { return envelope.ParseError(h.Headers) }
