package envelope

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/afgen/afgen/runtime/backend"
)

// headersOf parses headers from a text of alternating names and values, separated by \x1f.
func headersOf(text string) map[string]string {
	h := map[string]string{}
	all := strings.Split(text, "\x1f")
	for i := 0; i+1 < len(all); i += 2 {
		h[all[i]] = all[i+1]
	}
	return h
}

// Any headers parse to a request or a refusal, and to a reply. Encoding and parsing them again gives the same result.
func FuzzEnvelope(f *testing.F) {
	for _, h := range []string{
		"af-v\x1f1\x1faf-timeout-ms\x1f1500.5\x1faf-contract\x1fabc\x1faf-md-user\x1fu\x1ftraceparent\x1f00-01",
		"af-v\x1f1\x1faf-timeout-ms\x1f1e999\x1faf-later\x1fx\x1f\x1fempty",
		"af-v\x1f1\x1faf-code\x1fnot_found\x1faf-msg\x1fno\x1faf-outcome\x1fnot_sent\x1faf-srv\x1fs\x1f" +
			"af-details\x1f[{\"type\":\"q\",\"value\":{\"a\":1}}]",
		"af-v\x1f1\x1faf-code\x1fmade_up\x1faf-details\x1f[{]\x1faf-outcome\x1f?",
	} {
		f.Add("calc/Div", JSON, h, []byte(`{"x":1}`))
	}
	f.Add("/", "text/plain", "", []byte(nil))
	f.Fuzz(func(t *testing.T, typ, content, headers string, body []byte) {
		h := headersOf(headers)
		before := maps.Clone(h)
		request(t, typ, content, h, body)
		reply(t, h, body)
		if !maps.Equal(h, before) {
			t.Error("parsing changed the headers")
		}
	})
}

func request(t *testing.T, typ, content string, h map[string]string, body []byte) {
	req, refusal := ParseRequest(typ, content, h, body)
	if (req == nil) == (refusal == nil) {
		t.Fatalf("%+v, %v", req, refusal)
	}
	if refusal != nil {
		if refusal.Outcome != backend.OutcomeAnswered || len(refusal.Message) > MaxText {
			t.Errorf("refused with %d bytes, %s", len(refusal.Message), refusal.Outcome)
		}
		return
	}
	if req.Timeout < 0 || Type(req) != typ {
		t.Errorf("timeout %v, type %q of %q", req.Timeout, Type(req), typ)
	}
	for name := range req.Headers {
		if strings.HasPrefix(name, Reserved) {
			t.Errorf("reserved header %q is passed to middleware", name)
		}
	}
	if Check(req) != nil || req.Timeout.Microseconds() < 1 {
		return // invalid or expired
	}
	again, refusal := ParseRequest(Type(req), JSON, Request(req, req.Timeout), req.Body)
	if refusal != nil {
		t.Fatalf("%+v is refused: %v", req, refusal)
	}
	if d := again.Timeout - req.Timeout; d > 0 && again.Timeout != 1<<63-1 && float64(d) > float64(req.Timeout)*1e-9 {
		t.Errorf("timeout %v became %v", req.Timeout, again.Timeout)
	}
	again.Timeout = req.Timeout
	if !reflect.DeepEqual(req, again) {
		t.Errorf("%+v became %+v", req, again)
	}
}

func reply(t *testing.T, h map[string]string, body []byte) {
	r := ParseReply(h, body)
	if r.Err != nil && (backend.ParseCode(string(r.Err.Code)) != r.Err.Code || r.Body != nil) {
		t.Errorf("%+v with the body %q", r.Err, r.Body)
	}
	const room = 4 << 10
	fits := func(h map[string]string) bool {
		n := 0
		for name, value := range h {
			n += len(name) + len(value)
		}
		return n <= room
	}
	out, sent := Reply(r, fits)
	if len(r.Server) <= MaxShort && len(out[Details])+len(out[Message])+1000 < room {
		again := ParseReply(out, sent)
		if !sameReply(r, again) {
			t.Errorf("%+v, %+v became %+v, %+v", r, r.Err, again, again.Err)
		}
	}
	if r.Err != nil && !fits(out) {
		t.Errorf("message of %d bytes", len(out[Message]))
	}
	if utf8.ValidString(h[Message]) && !utf8.ValidString(out[Message]) {
		t.Errorf("%q was truncated to %q", h[Message], out[Message])
	}
}

func sameReply(a, b *backend.Reply) bool {
	if a.Server != b.Server || !bytes.Equal(a.Body, b.Body) || (a.Err == nil) != (b.Err == nil) {
		return false
	}
	if a.Err == nil {
		return true
	}
	// Details are compacted, and invalid UTF-8 in them is replaced.
	x, _ := json.Marshal(a.Err.Details)
	y, _ := json.Marshal(b.Err.Details)
	return a.Err.Code == b.Err.Code && a.Err.Message == b.Err.Message && a.Err.Outcome == b.Err.Outcome &&
		(len(a.Err.Details) == 0 || bytes.Equal(x, y))
}
