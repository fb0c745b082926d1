package amqp

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
)

// A stream is the output of a broker.
type stream struct{ bytes.Buffer }

func (s *stream) frame(kind byte, channel uint16, payload []byte) {
	s.WriteByte(kind)
	_ = binary.Write(s, binary.BigEndian, channel)
	_ = binary.Write(s, binary.BigEndian, uint32(len(payload)))
	s.Write(payload)
	s.WriteByte(frameEnd)
}

// begin writes the method and header frames of a message.
func (s *stream) begin(channel uint16, tag string, length int) {
	method := binary.BigEndian.AppendUint32(nil, deliver)
	method = append(append(method, byte(len(tag))), tag...)
	s.frame(frameMethod, channel, append(method, "the rest"...))
	header := append([]byte{0, 60, 0, 0}, binary.BigEndian.AppendUint64(nil, uint64(length))...)
	s.frame(frameHeader, channel, append(header, "properties"...))
}

func (s *stream) message(channel uint16, tag string, body []byte, pieces ...int) {
	s.begin(channel, tag, len(body))
	for _, n := range pieces {
		s.frame(frameBody, channel, body[:n])
		body = body[n:]
	}
	if len(body) > 0 {
		s.frame(frameBody, channel, body)
	}
}

// A readConn is a connection that is only read.
type readConn struct {
	net.Conn
	io.Reader
}

func (c readConn) Read(b []byte) (int, error) { return c.Reader.Read(b) }

// Large bodies are replaced and everything else passes unchanged, however the bytes are split.
func TestSieveReplacesLargeBodies(t *testing.T) {
	large, small := bytes.Repeat([]byte("x"), backend.MaxMessage+1), bytes.Repeat([]byte("y"), 1000)
	var sent, want stream
	for _, s := range []*stream{&sent, &want} {
		s.frame(frameHeartbeat, 0, nil)
		s.message(1, "a", small, 600)
		s.message(1, "a", nil)
	}
	// Two contents interleaved on two channels.
	sent.begin(1, "a", len(large))
	sent.frame(frameBody, 1, large[:1<<20])
	sent.message(2, "b", small)
	sent.frame(frameBody, 1, large[1<<20:])
	want.message(1, "a", placeholder(tooLarge, uint64(len(large))))
	want.message(2, "b", small)
	// A content that a method interrupts: the channel was closed.
	sent.begin(1, "a", len(large))
	sent.frame(frameBody, 1, large[:10])
	want.message(1, "a", placeholder(tooLarge, uint64(len(large))))
	for _, s := range []*stream{&sent, &want} {
		s.frame(frameMethod, 1, []byte{0, 20, 0, 41})
		s.message(1, "a", small)
		s.WriteString("AMQP\x00\x00\x09\x01 and so on")
	}
	for name, reader := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader,
		"data_and_error": iotest.DataErrReader,
	} {
		got, err := io.ReadAll(newSieve(readConn{Reader: reader(bytes.NewReader(sent.Bytes()))}, nil))
		if err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s: %d bytes, want %d; %v", name, len(got), want.Len(), err)
		}
	}
	oneByte := newSieve(readConn{Reader: iotest.OneByteReader(bytes.NewReader(sent.Bytes()))}, nil)
	got, err := io.ReadAll(iotest.OneByteReader(oneByte))
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("bytes: %d bytes, want %d; %v", len(got), want.Len(), err)
	}
}

// Malformed streams pass through without making the sieve fail.
func FuzzSieve(f *testing.F) {
	var s stream
	s.message(1, "a", []byte("body"))
	f.Add(s.Bytes())
	f.Add([]byte{frameHeader, 0, 1, 0, 0, 0, 12, 0, 60, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, frameEnd})
	f.Add([]byte{frameMethod, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 60, 0, 60, 255})
	f.Fuzz(func(t *testing.T, sent []byte) {
		got, _ := io.ReadAll(newSieve(readConn{Reader: bytes.NewReader(sent)}, nil))
		if len(got) > len(sent)+100*(1+bytes.Count(sent, []byte{frameHeader})) {
			t.Errorf("%d bytes from %d", len(got), len(sent))
		}
	})
}

// A budget admits what fits, and is empty after everything is freed.
func TestBudgetAdmitsWithinLimit(t *testing.T) {
	r := &budget{limit: 100, consumers: map[string]*share{}}
	a, b := r.open("a", 80, true), r.open("b", 10, false)
	for i, c := range []struct {
		tag    string
		length uint64
		want   verdict
	}{
		{"a", 81, tooLarge}, {"a", 60, accepted}, {"a", 41, overBudget}, {"a", 40, accepted}, {"a", 0, accepted},
		{"a", 1, overBudget},
		{"b", 10, accepted}, {"b", 11, tooLarge}, {"", 1000, accepted}, {"", backend.MaxMessage + 1, tooLarge},
	} {
		if got := r.admit(c.tag, c.length); got != c.want {
			t.Errorf("%d: %q, want %q", i, got, c.want)
		}
	}
	a.received(60)
	a.close()
	b.close()
	if r.used != 60 || len(r.consumers) != 0 {
		t.Errorf("%d held, %d consumers", r.used, len(r.consumers))
	}
	if r.free(60); r.used != 0 {
		t.Errorf("%d held", r.used)
	}
}

// Bodies that are too large are never read. Their messages are refused, and later messages aren't delayed.
func TestLargeBodiesAreRefusedUnread(t *testing.T) {
	url := devstack.AMQP(t)
	service, queue := devstack.Name(t), devstack.Name(t)
	c, foreign := dial(t, url), bare(t, url)
	serve(t, c, service, 1, echo)
	large := bytes.Repeat([]byte("x"), backend.MaxMessage+1)

	replies, err := foreign.Consume(replyTo, "", true, false, false, false, nil)
	must(t, err)
	msg := encodeRequest(newRequest(service), "1", 1<<40, version2)
	msg.Body, msg.ReplyTo = large, replyTo
	must(t, foreign.PublishWithContext(t.Context(), exchangeCalls, service, true, false, msg))
	d := <-replies
	r := decodeReply(&d)
	if r.Err == nil || r.Err.Code != backend.ErrResourceExhausted ||
		!strings.Contains(r.Err.Message, fmt.Sprint(len(large))) {
		t.Errorf("reply %+v", r)
	}
	if _, err := c.Calls().Call(t.Context(), newRequest(service)); err != nil {
		t.Error(err)
	}

	tr := c.Transport()
	must(t, tr.Send(t.Context(), queue, aMessage(`1`)))
	hinted, err := tr.Hint(t.Context(), queue, []string{"first"})
	must(t, err)
	if !hinted[0] {
		t.Error("the hint was not accepted")
	}
	must(t, foreign.Confirm(false))
	for key, body := range map[string][]byte{prefixRaw + queue: large, prefixHints + queue: large[:maxHintBody+1]} {
		confirmed, err := foreign.PublishWithDeferredConfirmWithContext(t.Context(), "", key, true, false,
			amqp091.Publishing{Body: body})
		must(t, err)
		confirmed.Wait()
	}
	must(t, tr.Send(t.Context(), queue, aMessage(`2`)))
	_, err = tr.Hint(t.Context(), queue, []string{"last"})
	must(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	_ = tr.Receive(ctx, queue, accept(func(body string) {
		if got = append(got, body); body == `2` {
			cancel()
		}
	}))
	if fmt.Sprint(got) != "[1 2]" {
		t.Errorf("received %.100q", got)
	}
	l, err := tr.Listen(t.Context(), queue, 10)
	must(t, err)
	defer func() { must(t, l.Close()) }()
	for _, want := range []string{"first", "last"} {
		hints, err := l.Next(t.Context(), 1)
		must(t, err)
		if hints[0].ID != want {
			t.Errorf("hint %.100q, want %q", hints[0].ID, want)
		}
		hints[0].Done()
	}
}

// inUse returns how many bytes are held.
func (b *budget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// Requests are refused while the budget is exhausted, whatever the prefetch, and accepted again when running ones have
// ended.
func TestRequestsAreBoundedByBytes(t *testing.T) {
	const size, fit = 100 << 10, 3
	url, service := devstack.AMQP(t), devstack.Name(t)
	c, caller := dial(t, url), dial(t, url)
	c.budget.limit = fit*size + size/2
	_, began, release := serveBlocking(t, c, service, 4)
	ask := func() chan result {
		req := newRequest(service)
		req.Body = json.RawMessage(`"` + strings.Repeat("x", size-2) + `"`)
		return startCall(t.Context(), caller, req)
	}
	var running []chan result
	for range fit {
		running = append(running, ask())
		<-began
	}
	for range 10 {
		r := <-ask()
		wantError(t, r.err, backend.ErrUnavailable, backend.OutcomeNotSent)
		if r.err != nil && !strings.Contains(r.err.Error(), "instance overloaded") {
			t.Error(r.err)
		}
	}
	if n := c.budget.inUse(); n != fit*size {
		t.Errorf("%d bytes held by %d requests of %d", n, fit, size)
	}
	close(release)
	for _, r := range running {
		if r := <-r; r.err != nil {
			t.Error(r.err)
		}
	}
	eventually(t, "the budget is free", func() bool { return c.budget.inUse() == 0 })
	if r := <-ask(); r.err != nil {
		t.Error(r.err)
	}
}

// Bytes held when a connection is lost are freed: those in transit at once, the others when their handlers have ended.
func TestBudgetIsFreedAfterConnectionLoss(t *testing.T) {
	url, service := devstack.AMQP(t), devstack.Name(t)
	c, caller := dial(t, url), dial(t, url)
	_, began, release := serveBlocking(t, c, service, 2)
	for range 4 { // two run, and two wait for a slot
		startCall(t.Context(), caller, newRequest(service))
	}
	<-began
	<-began
	all := 4 * int64(len(newRequest(service).Body))
	eventually(t, "all requests are held", func() bool { return c.budget.inUse() == all })
	lost := c.awaitGeneration(t.Context(), nil)
	lost.end(backend.NewError(backend.ErrUnavailable, "cut"))
	c.awaitGeneration(t.Context(), lost)
	// Those that waited were refused; they are held again if their callers have sent them again before they knew.
	if n := c.budget.inUse(); n < all/2 {
		t.Errorf("%d bytes held by two running requests, want at least %d", n, all/2)
	}
	close(release)
	eventually(t, "the budget is free", func() bool { return c.budget.inUse() == 0 })
}
