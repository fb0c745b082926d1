package amqp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

func TestUnknownServiceFailsWithin5ms(t *testing.T) {
	c := dial(t, devstack.AMQP(t))
	var took []time.Duration
	for range 101 {
		begun := time.Now()
		_, err := c.Calls().Call(t.Context(), newRequest("missing"))
		took = append(took, time.Since(begun))
		wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
		if !errors.Is(err, backend.ErrNoInstance) {
			t.Fatalf("%v", err)
		}
	}
	slices.Sort(took)
	if took[50] > 5*time.Millisecond {
		t.Errorf("median %v exceeds 5 ms", took[50])
	}
	t.Logf("p50 %v, p99 %v", took[50], took[99])
}

func TestMessageSizeLimit(t *testing.T) {
	url := devstack.AMQP(t)
	server, client := dial(t, url), dial(t, url)
	var size int
	serve(t, server, "s", 1, func(_ context.Context, req *backend.Request, reply func(*backend.Reply)) {
		reply(&backend.Reply{Body: req.Body[:min(len(req.Body), 1):1]})
	})
	serve(t, server, "big", 1, func(_ context.Context, _ *backend.Request, reply func(*backend.Reply)) {
		reply(&backend.Reply{Body: bytes.Repeat([]byte("1"), size)})
	})
	req := newRequest("s")
	req.Body = bytes.Repeat([]byte("1"), backend.MaxMessage)
	if _, err := client.Calls().Call(t.Context(), req); err != nil {
		t.Errorf("largest request: %v", err)
	}
	req.Body = append(req.Body, '1')
	_, err := client.Calls().Call(t.Context(), req)
	wantError(t, err, backend.ErrResourceExhausted, backend.OutcomeNotSent)

	size = backend.MaxMessage
	if r, err := client.Calls().Call(t.Context(), newRequest("big")); err != nil || r.Err != nil || len(r.Body) != size {
		t.Errorf("largest reply: %v %v", err, r)
	}
	size++
	r, err := client.Calls().Call(t.Context(), newRequest("big"))
	must(t, err)
	wantError(t, r.Err, backend.ErrResourceExhausted, backend.OutcomeAnswered)
}

func TestOversizedErrorIsTruncated(t *testing.T) {
	c := dial(t, devstack.AMQP(t))
	serve(t, c, "s", 1, func(_ context.Context, _ *backend.Request, reply func(*backend.Reply)) {
		reply(&backend.Reply{Err: backend.NewError(backend.ErrNotFound, strings.Repeat("ü", 1<<20),
			strings.Repeat("x", 1<<20)).With(backend.OutcomeAnswered)})
	})
	r, err := c.Calls().Call(t.Context(), newRequest("s"))
	must(t, err)
	if r.Err == nil || r.Err.Code != backend.ErrNotFound || len(r.Err.Message) > 2*envelope.MaxText ||
		r.Err.Details != nil {
		t.Errorf("%.100v", r.Err)
	}
}

func TestInvalidRequestFailsInClient(t *testing.T) {
	c := dial(t, devstack.AMQP(t))
	long := strings.Repeat("x", 256)
	for name, change := range map[string]func(*backend.Request){
		"no_service":         func(r *backend.Request) { r.Service = "" },
		"slash":              func(r *backend.Request) { r.Service = "a/b" },
		"no_method":          func(r *backend.Request) { r.Method = "" },
		"long_name":          func(r *backend.Request) { r.Service = long },
		"long_id":            func(r *backend.Request) { r.ID = long },
		"long_caller":        func(r *backend.Request) { r.Caller = long },
		"reserved_header":    func(r *backend.Request) { r.Headers = map[string]string{"af-code": "x"} },
		"unnamed_header":     func(r *backend.Request) { r.Headers = map[string]string{"": "x"} },
		"long_metadata_name": func(r *backend.Request) { r.Metadata = map[string]string{long[:250]: "x"} },
		"large_headers": func(r *backend.Request) {
			r.Headers = map[string]string{"x": strings.Repeat("x", maxHeaders)}
		},
	} {
		req := newRequest("s")
		change(req)
		_, err := c.Calls().Call(t.Context(), req)
		if e, ok := errors.AsType[*backend.Error](err); !ok || e.Code != backend.ErrInvalidArgument ||
			e.Outcome != backend.OutcomeNotSent {
			t.Errorf("%s: %v", name, err)
		}
	}
	req := newRequest("s")
	req.Timeout = 0
	_, err := c.Calls().Call(t.Context(), req)
	wantError(t, err, backend.ErrDeadlineExceeded, backend.OutcomeNotSent)
}

// Clients in other languages get an error reply for every invalid request.
func TestUndecodableRequestIsAnswered(t *testing.T) {
	url := devstack.AMQP(t)
	serve(t, dial(t, url), "s", 1, echo)
	ch := bare(t, url)
	replies, err := ch.Consume(replyTo, "", true, false, false, false, nil)
	must(t, err)
	good := encodeRequest(newRequest("s"), "1", time.Second, version1)
	for name, test := range map[string]struct {
		change func(*amqp091.Publishing)
		want   backend.Code
	}{
		"another version": {func(p *amqp091.Publishing) { p.Headers[envelope.Version] = "2" }, backend.ErrUnimplemented},
		"no version":      {func(p *amqp091.Publishing) { delete(p.Headers, envelope.Version) }, backend.ErrUnimplemented},
		"another content": {func(p *amqp091.Publishing) { p.ContentType = "text/xml" }, backend.ErrUnimplemented},
		"another service": {func(p *amqp091.Publishing) { p.Type = "t/M" }, backend.ErrInvalidArgument},
		"no_method":       {func(p *amqp091.Publishing) { p.Type = "s" }, backend.ErrInvalidArgument},
		"no time":         {func(p *amqp091.Publishing) { p.Headers[envelope.Timeout] = "0" }, backend.ErrInvalidArgument},
		"numbers": {func(p *amqp091.Publishing) {
			p.Headers[envelope.Timeout], p.Headers[envelope.Version] = int32(1000), int64(1)
		}, ""},
		"bytes": {func(p *amqp091.Publishing) { p.Headers[envelope.Timeout] = []byte("1000.5") }, ""},
	} {
		p := good
		p.Headers = amqp091.Table{}
		for k, v := range good.Headers {
			p.Headers[k] = v
		}
		test.change(&p)
		must(t, ch.Publish(exchangeCalls, "s", true, false, p))
		d := <-replies
		if got := decodeReply(&d); backend.CodeOf(asNil(got.Err)) != test.want || d.CorrelationId != "1" {
			t.Errorf("%s: %v", name, got.Err)
		}
	}
}

func asNil(e *backend.Error) error {
	if e == nil {
		return nil
	}
	return e
}

func TestExpiredRequestIsDroppedAndCounted(t *testing.T) {
	c := dial(t, devstack.AMQP(t))
	s, began, release := serveBlocking(t, c, "s", 1)
	first := startCall(t.Context(), c, newRequest("s"))
	<-began
	late := newRequest("s")
	late.Timeout = 20 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	second := startCall(ctx, c, late)
	in := s.(*serving)
	var until time.Time
	eventually(t, "the request has arrived", func() bool {
		in.mu.Lock()
		defer in.mu.Unlock()
		for _, v := range in.requests {
			if v.req.ID == late.ID {
				until = v.deadline
			}
		}
		return !until.IsZero()
	})
	time.Sleep(time.Until(until))
	close(release)
	must(t, (<-first).err)
	eventually(t, "the request is counted", func() bool { return in.report().Expired == 1 })
	cancel()
	wantError(t, (<-second).err, backend.ErrCanceled, backend.OutcomeUnknown)
	if len(began) != 0 {
		t.Error("the expired request was started")
	}
}

func TestCallWithoutDeadlineTimesOut(t *testing.T) {
	c := dial(t, devstack.AMQP(t))
	_, began, release := serveBlocking(t, c, "s", 1)
	defer close(release)
	first := startCall(t.Context(), c, newRequest("s"))
	<-began
	second := newRequest("s")
	second.Timeout = time.Millisecond
	done := startCall(t.Context(), c, second)
	eventually(t, "the call is sent", func() bool { return c.calls.sent() == 2 })
	c.calls.checkPending(time.Now().Add(replyGrace + time.Second))
	wantError(t, (<-done).err, backend.ErrDeadlineExceeded, backend.OutcomeUnknown)
	select {
	case r := <-first:
		t.Errorf("the other call ended too: %v", r.err)
	default:
	}
}

// sent returns how many pending calls have been sent or are being sent.
func (c *calls) sent() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pending {
		if p.request.state.Load() == begun {
			n++
		}
	}
	return n
}

func TestInstanceAnswersPingInfoAndStats(t *testing.T) {
	url := devstack.AMQP(t)
	a, b := dial(t, url), dial(t, url)
	for _, c := range []*Conn{a, b} {
		serve(t, c, "s", 3, func(_ context.Context, req *backend.Request, reply func(*backend.Reply)) {
			if string(req.Body) == `{"bad":1}` {
				reply(&backend.Reply{Err: backend.NewError(backend.ErrNotFound, "").With(backend.OutcomeAnswered)})
				return
			}
			reply(&backend.Reply{Body: req.Body})
		})
	}
	for range 8 {
		_, err := a.Calls().Call(t.Context(), newRequest("s"))
		must(t, err)
	}
	bad := newRequest("s")
	bad.Body = []byte(`{"bad":1}`)
	_, err := a.Calls().Call(t.Context(), bad)
	must(t, err)

	ch := bare(t, url)
	replies, err := ch.Consume(replyTo, "", true, false, false, false, nil)
	must(t, err)
	ask := func(key, kind string, n int) (bodies []string) {
		must(t, ch.Publish(exchangeControl, key, false, false, amqp091.Publishing{
			Type: kind, CorrelationId: "c", ReplyTo: replyTo, Headers: amqp091.Table{envelope.Version: envelope.V1},
		}))
		for range n {
			d := <-replies
			bodies = append(bodies, text(d.Headers[envelope.Server])+" "+string(d.Body))
		}
		slices.Sort(bodies)
		return bodies
	}
	ids := []string{a.config.Instance.ID + " {}", b.config.Instance.ID + " {}"}
	slices.Sort(ids)
	if got := ask("s", controlPing, 2); !slices.Equal(got, ids) {
		t.Errorf("all: %q", got)
	}
	alone := "s." + a.config.Instance.ID
	if got := ask(alone, controlPing, 1); got[0] != a.config.Instance.ID+" {}" {
		t.Errorf("one: %q", got)
	}
	if got := ask(alone, controlInfo, 1); !strings.Contains(got[0], `"service":"s"`) ||
		!strings.Contains(got[0], `"fingerprint":"f"`) {
		t.Errorf("info: %q", got)
	}
	var total int64
	var failed int64
	for _, text := range ask("s", controlStats, 2) {
		var n statsReport
		must(t, json.Unmarshal([]byte(text[strings.Index(text, "{"):]), &n))
		total += n.Calls
		failed += n.Errors[backend.ErrNotFound]
	}
	if total != 9 || failed != 1 {
		t.Errorf("%d calls, %d not found; want 9 and 1", total, failed)
	}
}

func TestExpirationBounds(t *testing.T) {
	for left, want := range map[time.Duration]string{
		1: "1", time.Millisecond: "1", time.Millisecond + 1: "2", time.Second: "1000",
		1000 * time.Hour: "2147483647", math.MaxInt64: "2147483647", math.MaxInt64 - 1000: "2147483647",
	} {
		if got := expiration(left); got != want {
			t.Errorf("%v: %s, want %s", left, got, want)
		}
	}
}
