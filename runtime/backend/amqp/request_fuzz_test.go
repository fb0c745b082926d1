package amqp

import (
	"encoding/binary"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// A tableReader makes header tables from bytes, with all types that clients in other languages send.
type tableReader struct{ rest []byte }

func (r *tableReader) take(n int) []byte {
	b := make([]byte, n)
	r.rest = r.rest[copy(b, r.rest):]
	return b
}

func (r *tableReader) text() string { return string(r.take(int(r.take(1)[0]))) }

func (r *tableReader) number() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

var headerNames = []string{
	"", envelope.Version, envelope.Timeout, envelope.Contract, envelope.Code, envelope.Message, envelope.Details,
	envelope.Outcome, envelope.Server,
	envelope.Metadata + "m", hNumber,
}

func (r *tableReader) table(depth int) amqp091.Table {
	t := amqp091.Table{}
	for range r.take(1)[0] % 16 {
		name := headerNames[int(r.take(1)[0])%len(headerNames)]
		if name == "" {
			name = r.text()
		}
		t[name] = r.value(depth)
	}
	return t
}

func (r *tableReader) value(depth int) any {
	kind := r.take(1)[0] % 17
	if depth > 8 && kind >= 15 {
		kind = 0
	}
	switch kind {
	case 0:
		return nil
	case 1:
		return r.number()%2 == 0
	case 2:
		return byte(r.number())
	case 3:
		return int8(r.number())
	case 4:
		return int16(r.number())
	case 5:
		return int32(r.number())
	case 6:
		return int64(r.number())
	case 7:
		return uint16(r.number())
	case 8:
		return uint32(r.number())
	case 9:
		return math.Float32frombits(uint32(r.number()))
	case 10:
		return math.Float64frombits(r.number())
	case 11:
		return amqp091.Decimal{Scale: byte(r.number()), Value: int32(r.number())}
	case 12:
		return r.text()
	case 13:
		return []byte(r.text())
	case 14:
		return time.Unix(int64(r.number()), 0)
	case 15:
		var list []any
		for range r.take(1)[0] % 8 {
			list = append(list, r.value(depth+1))
		}
		return list
	}
	return r.table(depth + 1)
}

// Every message decodes to a request or a refusal, and to a reply, which can be encoded again.
func FuzzRequest(f *testing.F) {
	texts := func(all ...string) []byte {
		b := []byte{byte(len(all) / 2)}
		for i := 0; i < len(all); i += 2 {
			b = append(append(b, 0, byte(len(all[i]))), all[i]...)
			b = append(append(b, 12, byte(len(all[i+1]))), all[i+1]...)
		}
		return b
	}
	f.Add("calc/Div", "application/json", texts(envelope.Version, "1", envelope.Timeout, "1500", "traceparent", "00"),
		[]byte(`{}`))
	f.Add("calc/Div", "application/json", []byte{2, 1, 6, 0, 0, 0, 0, 0, 0, 0, 1, 2, 10, 0x40, 0x97, 0x70}, []byte(`{}`))
	f.Add("calc/Div", "application/json", []byte{3, 1, 12, 1, '1', 2, 9, 0, 0, 0, 0, 0x7f, 0xc0, 0, 0, 9, 16, 1, 9, 15, 2,
		0, 14}, []byte(placeholderMark+"full 7"))
	f.Add("calc/Div/More", "", texts(envelope.Code, "aborted", envelope.Details, "[]", envelope.Outcome, "unknown"),
		[]byte(placeholderMark))
	f.Fuzz(func(t *testing.T, typ, content string, headers, body []byte) {
		d := amqp091.Delivery{Type: typ, ContentType: content, Headers: (&tableReader{headers}).table(0), Body: body,
			MessageId: "m", AppId: "a"}
		req, refusal := decodeRequest(&d, "calc")
		switch {
		case (req == nil) == (refusal == nil):
			t.Fatalf("%+v, %v", req, refusal)
		case refusal != nil && refusal.Outcome == backend.OutcomeUnknown:
			t.Errorf("refused with an unknown outcome: %v", refusal)
		case req != nil && (req.Service != "calc" || req.Timeout < 0 || strings.HasPrefix(string(req.Body), placeholderMark)):
			t.Errorf("%+v", req)
		case req != nil:
			if e := checkRequest(req); e == nil && encodeRequest(req, "1", req.Timeout, version2).Headers.Validate() != nil {
				t.Errorf("%+v can't be encoded", req)
			}
		}
		r := decodeReply(&d)
		const most = 8 << 10
		checkVersion2(t, r, most)
		p := encodeReply("1", r, most, version1)
		if p.Headers.Validate() != nil || size(p.Headers) > most+envelope.MaxShort && r.Err == nil {
			t.Errorf("%+v is encoded with %d bytes of headers", r, size(p.Headers))
		} else if r.Err != nil && size(p.Headers) > most {
			t.Errorf("an error of %d bytes is encoded with %d bytes of headers", len(r.Err.Message), size(p.Headers))
		}
	})
}

// checkVersion2 checks that a reply of version 2 decodes like one of version 1.
func checkVersion2(t *testing.T, r *backend.Reply, most int) {
	var replies [2]*backend.Reply
	for i := range replies {
		p := encodeReply("1", r, most, uint8(i+1))
		replies[i] = decodeReply(&amqp091.Delivery{Headers: p.Headers, AppId: p.AppId, Body: p.Body})
	}
	if !reflect.DeepEqual(replies[0], replies[1]) {
		t.Errorf("%+v by version 1, %+v by version 2", replies[0], replies[1])
	}
}
