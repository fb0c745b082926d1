package mesh

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// The wire format is public: these bytes don't change within a version.
func TestFramesOnTheWire(t *testing.T) {
	for _, f := range examples() {
		t.Run(f.name, func(t *testing.T) {
			if got := string(append(f.head, f.body...)); got != f.want {
				t.Errorf("%q, want\n%q", got, f.want)
			}
		})
	}
}

// An example is a frame in docs/wire.md.
type example struct {
	name       string
	title      string // in the document
	head, body []byte
	want       string
}

func examples() []example {
	frame := func(name, title string, h *header, body string, want string) example {
		head, err := encode(h, []byte(body))
		if err != nil {
			panic(err)
		}
		return example{name, title, head, []byte(body), want}
	}
	reply := func(name, title, id string, r *backend.Reply, want string) example {
		head, body := encodeReply(id, r)
		return example{name, title, head, body, want}
	}
	req := &backend.Request{
		Service: "calc", Method: "Div", ID: "7-1", Caller: "7", Fingerprint: "9f2c",
		Metadata: map[string]string{"user": "ann"}, Headers: map[string]string{"traceparent": "00-1-2-01"},
	}
	return []example{
		frame("hello", "7 → 8: hello, with the first half of the token", hello("7", "LEFTHALF"), "",
			"\x00\x00\x00\x4e\x00\x00\x00\x4a"+`{"kind":"hello","app_id":"7","headers":{"af-token":"LEFTHALF","af-v":"1"}}`),
		frame("hello_back", "8 → 7: hello, with the second half", hello("8", "THEOTHER"), "",
			"\x00\x00\x00\x4e\x00\x00\x00\x4a"+`{"kind":"hello","app_id":"8","headers":{"af-token":"THEOTHER","af-v":"1"}}`),
		frame("request", "7 → 8: the request `Div(6, 3)`, with 2.5 ms left, one piece of metadata and a trace",
			requestHeader(req, "1", 2500*time.Microsecond), `{"x":6,"y":3}`,
			"\x00\x00\x00\xfb\x00\x00\x00\xea"+`{"kind":"request","type":"calc/Div","content_type":"application/json",`+
				`"correlation_id":"1","message_id":"7-1","app_id":"7","headers":{"af-contract":"9f2c","af-md-user":"ann",`+
				`"af-timeout-ms":"2.5","af-v":"1","traceparent":"00-1-2-01"}}`+`{"x":6,"y":3}`),
		reply("reply", "8 → 7: its reply, 2", "1", &backend.Reply{Server: "8", Body: json.RawMessage(`{"result":2}`)},
			"\x00\x00\x00\x7b\x00\x00\x00\x6b"+`{"kind":"reply","content_type":"application/json","correlation_id":"1",`+
				`"headers":{"af-srv":"8","af-v":"1"}}`+`{"result":2}`),
		reply("error", "8 → 7: the reply to `Div(6, 0)`, whose id was 2: an error", "2", &backend.Reply{Server: "8",
			Err: backend.NewError(backend.ErrInvalidArgument, "y is 0").With(backend.OutcomeAnswered)},
			"\x00\x00\x00\x9e\x00\x00\x00\x9a"+`{"kind":"reply","content_type":"application/json","correlation_id":"2",`+
				`"headers":{"af-code":"invalid_argument","af-msg":"y is 0","af-srv":"8","af-v":"1"}}`),
	}
}

// read decodes one frame.
func read(b []byte) (*header, []byte, error) {
	return newFrameReader(bytes.NewReader(b)).next(maxFrame)
}

func TestRequestRoundTrip(t *testing.T) {
	want := &backend.Request{
		Service: "s", Method: "a/b", ID: "id", Caller: "caller", Timeout: 1500 * time.Millisecond, Fingerprint: "print",
		// Metadata may have the names of headers.
		Metadata: map[string]string{"traceparent": "mine", "af-code": "<&>", "": "ü"},
		Headers:  map[string]string{"traceparent": "theirs", "x-md": "1"},
		Body:     json.RawMessage(`{}`),
	}
	h, body, err := read(bytesOf(t, requestHeader(want, "1", want.Timeout), want.Body))
	if err != nil {
		t.Fatal(err)
	}
	got, refusal := h.request(body)
	if refusal != nil {
		t.Fatal(refusal)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestReplyRoundTrip(t *testing.T) {
	for _, want := range []*backend.Reply{
		{Body: json.RawMessage(`{"r":1}`), Server: "a"},
		{},
		{Err: backend.NewError(backend.ErrNotFound, "no <b>", map[string]int{"a": 1}).With(backend.OutcomeAnswered),
			Server: "a"},
		{Err: backend.NewError(backend.ErrUnavailable, "not yet").With(backend.OutcomeNotSent)},
		{Err: backend.NewError(backend.ErrUnavailable, "interrupted").With(backend.OutcomeUnknown)},
	} {
		head, body := encodeReply("1", want)
		h, body, err := read(append(head, body...))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, h.reply(body), cmp.Comparer(func(a, b *backend.Error) bool {
			return (a == nil) == (b == nil) && (a == nil || fmt.Sprintf("%+v", *a) == fmt.Sprintf("%+v", *b))
		})); d != "" {
			t.Error(d)
		}
	}
}

// An error is still reported if parts of it are too large or invalid.
func TestTooLargeErrorIsTruncated(t *testing.T) {
	for name, e := range map[string]*backend.Error{
		"details":  backend.NewError(backend.ErrAborted, "short", strings.Repeat("x", maxHeader)),
		"message":  backend.NewError(backend.ErrAborted, "short"+strings.Repeat("ü\x00", maxHeader)),
		"no_code":  {Message: "short"},
		"odd_code": {Code: "odd", Message: "short"},
		"not_utf8": {Code: backend.ErrAborted, Message: "short\xff"},
	} {
		t.Run(name, func(t *testing.T) {
			head, _ := encodeReply("1", &backend.Reply{Err: e, Server: strings.Repeat("s", maxHeader)})
			h, _, err := read(head)
			if err != nil {
				t.Fatal(err)
			}
			got := h.reply(nil).Err
			want := backend.ErrAborted
			if strings.HasSuffix(name, "code") {
				want = backend.ErrUnknown
			}
			if got == nil || got.Code != want || !strings.HasPrefix(got.Message, "short") {
				t.Errorf("%.100v", got)
			}
		})
	}
}

func TestLengthsAreChecked(t *testing.T) {
	for name, l := range map[string][2]uint32{
		"frame_too_large":     {maxFrame + 1, 2},
		"body_too_large":      {4 + 2 + backend.MaxMessage + 1, 2},
		"header_too_large":    {4 + maxHeader + 1, maxHeader + 1},
		"header_beyond_frame": {10, 7},
		"shorter_than_length": {3, 0},
		"nothing":             {0, 0},
		"largest_possible":    {math.MaxUint32, math.MaxUint32},
	} {
		t.Run(name, func(t *testing.T) {
			b := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, l[0]), l[1])
			if _, _, err := read(b); !errors.Is(err, errMalformed) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestMalformedHeaders(t *testing.T) {
	for _, h := range []string{
		``, `{`, `[]`, `"x"`, `null`, `{}`, `{"kind":""}`, `{"kind":"x"} {}`, `{"kind":1}`, `{"kind":"x","headers":{"a":1}}`,
		`{"kind":"` + strings.Repeat("k", envelope.MaxShort+1) + `"}`,
	} {
		b := binary.BigEndian.AppendUint32(nil, uint32(4+len(h)))
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(h))), h...)
		if _, _, err := read(b); !errors.Is(err, errMalformed) {
			t.Errorf("%.30s: %v", h, err)
		}
	}
}

func TestTruncatedFrameIsUnexpectedEOF(t *testing.T) {
	whole := bytesOf(t, &header{Kind: "x"}, []byte("body"))
	for n := 1; n < len(whole); n++ {
		if _, _, err := read(whole[:n]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	if _, _, err := read(nil); err != io.EOF {
		t.Errorf("between frames: %v", err)
	}
}

func TestTooLargeFramesAreNotEncoded(t *testing.T) {
	for name, err := range map[string]error{
		"header": func() error {
			_, err := encode(&header{Kind: "x", Headers: map[string]string{"a": strings.Repeat("x", maxHeader)}}, nil)
			return err
		}(),
		"body": func() error { _, err := encode(&header{Kind: "x"}, make([]byte, backend.MaxMessage+1)); return err }(),
		"field": func() error {
			_, err := encode(&header{Kind: "x", Type: strings.Repeat("x", envelope.MaxShort+1)}, nil)
			return err
		}(),
	} {
		if !errors.Is(err, errMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := encode(&header{Kind: "x"}, make([]byte, backend.MaxMessage)); err != nil {
		t.Errorf("the largest body: %v", err)
	}
}

// FuzzFrame checks that no input makes the reader panic, trust a length, or return a frame that can't be encoded again.
func FuzzFrame(f *testing.F) {
	for _, e := range examples() {
		f.Add([]byte(e.want))
	}
	f.Add([]byte("\x00\x00\x00\x05\x00\x00\x00\x00x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newFrameReader(bytes.NewReader(b))
		for {
			h, body, err := r.next(maxFrame)
			if err != nil {
				return
			}
			if req, refusal := h.request(body); (req == nil) == (refusal == nil) {
				t.Fatalf("%v, %v", req, refusal)
			}
			_ = h.reply(body)
			head, err := encode(h, body)
			if err != nil {
				return // decoding \u escapes may have made it longer
			}
			again, same, err := read(append(head, body...))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(h, again); d != "" || !bytes.Equal(body, same) {
				t.Fatal(d)
			}
		}
	})
}
