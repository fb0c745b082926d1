package amqp

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

var update = flag.Bool("update", false, "rewrite the messages in docs/wire.md")

// The messages in docs/wire.md are read from the bytes sent to the broker.
func TestDocumentedMessagesMatchWire(t *testing.T) {
	proxy := newProxy(t, devstack.AMQP(t))
	exchange(t, proxy.url)
	var out strings.Builder
	for i, title := range []string{
		"7 → `af.rpc`, key `calc`: the request `Div(6, 3)`, with 2.5 s left, one piece of metadata and a trace",
		"8 → the default exchange, key: the request's `reply_to`: its reply, 2",
		"8 → the default exchange: the reply to `Div(6, 0)`: an error",
		"7 → `af.ctl`, key `calc`: 7 gives up a call",
		"8 → the default exchange: the reply to `Div(6, 3)` if the request has no `priority`: version 1",
		"8 → the default exchange: the reply to `Div(6, 0)` in version 1",
		"7 → the default exchange, key `af.raw.orders`: a raw message, with one piece of metadata and a trace",
		"8 → the default exchange, key `af.raw.orders`: the same message, after its handler has failed",
		"8 → the default exchange, key `af.raw.orders.dead`: the same message, after its handler has failed again",
	} {
		fmt.Fprintf(&out, "%s:\n\n```\n%s```\n\n", title, proxy.message(t, i))
	}
	testkit.Section(t, "../../../docs/wire.md",
		"<!-- messages: made by go test ./runtime/backend/amqp -update -->", "<!-- /messages -->", out.String(), *update)
}

// exchange makes the example's calls.
func exchange(t *testing.T, url string) {
	server := dial(t, url, func(c *Config) { c.Instance.ID = "8" })
	client := dial(t, url, func(c *Config) { c.Instance.ID = "7" })
	calls := 0
	client.calls.newID = func() string { calls++; return fmt.Sprintf("5e1f9c27b0d84a6e93f2c1d87a60b4e%x", calls) }
	began := make(chan struct{})
	serve(t, server, "calc", 1, func(ctx context.Context, req *backend.Request, reply func(*backend.Reply)) {
		switch string(req.Body) {
		case `{"x":6,"y":3}`:
			reply(&backend.Reply{Server: "8", Body: json.RawMessage(`{"result":2}`)})
		case `{"x":6,"y":0}`:
			reply(&backend.Reply{Server: "8", Err: backend.NewError(backend.ErrInvalidArgument, "y is 0").
				With(backend.OutcomeAnswered)})
		default:
			close(began)
			<-ctx.Done()
			reply(&backend.Reply{})
		}
	})
	call := func(ctx context.Context, body string) {
		_, _ = client.Calls().Call(ctx, &backend.Request{
			Service: "calc", Method: "Div", ID: "7-1", Caller: "7", Timeout: 2500 * time.Millisecond, Fingerprint: "9f2c",
			Metadata: map[string]string{"user": "ann"}, Headers: map[string]string{"traceparent": "00-1-2-01"},
			Body: json.RawMessage(body),
		})
	}
	call(t.Context(), `{"x":6,"y":3}`)
	call(t.Context(), `{"x":6,"y":0}`)
	old := bare(t, url)
	replies, err := old.Consume(replyTo, "", true, false, false, false, nil)
	must(t, err)
	for _, y := range []string{"3", "0"} {
		req := newRequest("calc")
		req.Body = json.RawMessage(`{"x":6,"y":` + y + `}`)
		must(t, old.Publish(exchangeCalls, "calc", true, false, encodeRequest(req, client.calls.newID(), time.Minute, 0)))
		<-replies
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	call(ctx, `{}`)
	must(t, client.Transport().Send(t.Context(), "orders", backend.Message{
		Body: json.RawMessage(`{"item":"lamp"}`), Metadata: map[string]string{"user": "ann"}, Trace: "00-1-2-01",
	}))
	second := time.Date(2026, 11, 24, 10, 30, 0, 0, time.UTC)
	server.config.now = func() time.Time { second = second.Add(time.Second); return second }
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	_ = server.Transport().Receive(ctx, "orders", func(_ context.Context, m *backend.Message) (h backend.Handled) {
		if m.Attempt == 2 {
			h.Moved = func(error) { cancel() }
			h.Dead = &backend.DeadLetter{Reason: backend.DeadAttempts, Code: backend.ErrUnavailable, Message: "no stock"}
		}
		return h
	})
}

// message returns the i-th of the example's messages as text.
func (p *proxy) message(t *testing.T, i int) string {
	want := [...]func(*content) bool{
		func(c *content) bool { return c.properties["type"] == "calc/Div" && string(c.body) == `{"x":6,"y":3}` },
		func(c *content) bool { return string(c.body) == `{"result":2}` && !isVersion1(c) },
		func(c *content) bool { return strings.Contains(c.text(), "y is 0") && !isVersion1(c) },
		func(c *content) bool { return c.properties["type"] == controlCancel },
		func(c *content) bool { return string(c.body) == `{"result":2}` && isVersion1(c) },
		func(c *content) bool { return strings.Contains(c.text(), "y is 0") && isVersion1(c) },
		func(c *content) bool { return isOrder(c) && !strings.Contains(c.text(), envelope.First) },
		func(c *content) bool { return isOrder(c) && strings.Contains(c.text(), envelope.Attempts) },
		func(c *content) bool { return isOrder(c) && strings.Contains(c.text(), envelope.DeadQueue) },
	}[i]
	var found string
	eventually(t, "the message", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, sent := range p.sent {
			for _, c := range contents(sent.Bytes()) {
				if want(c) {
					found = c.text()
					return true
				}
			}
		}
		return false
	})
	return found
}

func isOrder(c *content) bool { return string(c.body) == `{"item":"lamp"}` }

func isVersion1(c *content) bool { return strings.Contains(c.text(), envelope.Version+" ") }

// A content is a message as carried by the protocol's frames.
type content struct {
	properties map[string]string
	headers    []string
	size       int
	body       []byte
}

func (c *content) text() string {
	var b strings.Builder
	for _, name := range propertyNames {
		if v, ok := c.properties[name]; ok {
			fmt.Fprintf(&b, "%-15s %s\n", name, v)
		}
		if name == "content_encoding" { // headers follow content_encoding
			for _, h := range c.headers {
				if strings.HasPrefix(h, hNumber+" ") {
					continue // it differs from run to run
				}
				fmt.Fprintf(&b, "header          %s\n", h)
			}
		}
	}
	fmt.Fprintf(&b, "%-15s %s\n", "body", c.body)
	return b.String()
}

// propertyNames are in the order of their flags.
var propertyNames = []string{
	"content_type", "content_encoding", "headers", "delivery_mode", "priority", "correlation_id", "reply_to", "expiration",
	"message_id", "timestamp", "type", "user_id", "app_id",
}

// frames yields the type and the payload of each complete frame of a stream.
func frames(stream []byte) iter.Seq2[byte, []byte] {
	return func(yield func(byte, []byte) bool) {
		stream := bytes.TrimPrefix(stream, []byte("AMQP\x00\x00\x09\x01"))
		for len(stream) >= 8 {
			n := int(binary.BigEndian.Uint32(stream[3:7]))
			if len(stream) < 8+n || !yield(stream[0], stream[7:7+n]) {
				return
			}
			stream = stream[8+n:]
		}
	}
}

// methods returns the arguments of all methods of one kind in a stream of frames.
func methods(stream []byte, class, method uint16) (all [][]byte) {
	for kind, payload := range frames(stream) {
		if kind == frameMethod && binary.BigEndian.Uint32(payload) == uint32(class)<<16|uint32(method) {
			all = append(all, payload[4:])
		}
	}
	return all
}

// contents returns the complete messages in a stream of frames.
func contents(stream []byte) (all []*content) {
	for kind, payload := range frames(stream) {
		switch kind {
		case frameHeader:
			all = append(all, header(payload))
		case frameBody:
			all[len(all)-1].body = append(all[len(all)-1].body, payload...)
		}
	}
	return slices.DeleteFunc(all, func(c *content) bool { return len(c.body) < c.size })
}

// header parses a content header frame: class, weight, size, flags, properties.
func header(b []byte) *content {
	c := &content{properties: map[string]string{}, size: int(binary.BigEndian.Uint64(b[4:12]))}
	flags := binary.BigEndian.Uint16(b[12:14])
	b = b[14:]
	for i, name := range propertyNames {
		if flags&(1<<(15-i)) == 0 {
			continue
		}
		switch name {
		case "headers":
			n := int(binary.BigEndian.Uint32(b))
			table := b[4 : 4+n]
			b = b[4+n:]
			for len(table) > 0 {
				key := string(table[1 : 1+table[0]])
				table = table[1+len(key):]
				if table[0] != 'S' {
					panic("header is not a long string: " + key)
				}
				size := int(binary.BigEndian.Uint32(table[1:]))
				c.headers = append(c.headers, fmt.Sprintf("%-14s %s", key, table[5:5+size]))
				table = table[5+size:]
			}
			slices.Sort(c.headers)
		case "delivery_mode", "priority":
			c.properties[name] = fmt.Sprint(b[0])
			b = b[1:]
		case "timestamp":
			c.properties[name] = fmt.Sprint(binary.BigEndian.Uint64(b))
			b = b[8:]
		default:
			n := int(b[0])
			c.properties[name] = string(b[1 : 1+n])
			b = b[1+n:]
		}
	}
	return c
}
