package amqp

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// An instance that reads only version 1, and answers in it, serves new callers.
func TestInstanceOfVersion1AnswersNewCaller(t *testing.T) {
	url := devstack.AMQP(t)
	c := dial(t, url) // declares the exchange
	old := bare(t, url)
	_, err := old.QueueDeclare(prefixCalls+"s", true, true, false, false, callQueueArgs)
	must(t, err)
	must(t, old.QueueBind(prefixCalls+"s", "s", exchangeCalls, false, nil))
	requests, err := old.Consume(prefixCalls+"s", "", true, false, false, false, nil)
	must(t, err)
	go func() {
		for d := range requests {
			r := &backend.Reply{Server: "old", Body: json.RawMessage(`{"r":1}`)}
			if d.Headers[envelope.Version] != "1" || d.Headers[envelope.Timeout] != "30000" || d.ContentType != envelope.JSON {
				r.Err = backend.Errorf(backend.ErrUnimplemented, "%v", d.Headers)
			}
			_ = old.Publish("", d.ReplyTo, false, false, encodeReply(d.CorrelationId, r, maxHeaders, version1))
		}
	}()
	r, err := c.Calls().Call(t.Context(), newRequest("s"))
	must(t, err)
	if r.Err != nil || r.Server != "old" || string(r.Body) != `{"r":1}` {
		t.Errorf("%+v, %v", r, r.Err)
	}
}

// An oldCaller reads only version 1.
type oldCaller struct {
	*amqp091.Channel
	replies <-chan amqp091.Delivery
}

func newOldCaller(t *testing.T, url string) *oldCaller {
	ch := bare(t, url)
	replies, err := ch.Consume(replyTo, "", true, false, false, false, nil)
	must(t, err)
	return &oldCaller{ch, replies}
}

func (c *oldCaller) publish(t *testing.T, id string, change ...func(*amqp091.Publishing)) {
	p := encodeRequest(newRequest("s"), id, time.Minute, 0)
	for _, f := range change {
		f(&p)
	}
	must(t, c.Publish(exchangeCalls, "s", true, false, p))
}

// checkVersion1 checks that the next reply has all that version 1 requires.
func (c *oldCaller) checkVersion1(t *testing.T, id string, code any) {
	t.Helper()
	d := <-c.replies
	if d.CorrelationId != id || d.ContentType != envelope.JSON || d.Headers[envelope.Version] != "1" ||
		d.Headers[envelope.Code] != code || code == nil && d.Headers[envelope.Server] != "me" {
		t.Errorf("%s: %v %q", d.CorrelationId, d.Headers, d.Body)
	}
}

func TestCallerOfVersion1GetsItsReplies(t *testing.T) {
	url := devstack.AMQP(t)
	serve(t, dial(t, url), "s", 1, echo)
	c := newOldCaller(t, url)
	c.publish(t, "1")
	c.checkVersion1(t, "1", nil)
	c.publish(t, "2", func(p *amqp091.Publishing) { p.ContentType = "text/xml" })
	c.checkVersion1(t, "2", "unimplemented")
	c.publish(t, "3", func(p *amqp091.Publishing) { p.Priority = version1 })
	c.checkVersion1(t, "3", nil)
}

// A request that a draining instance hands to another one is answered in the version of its caller.
func TestHandedOverRequestKeepsVersion(t *testing.T) {
	url := devstack.AMQP(t)
	draining, began, release := serveBlocking(t, dial(t, url), "s", 1)
	c, client := newOldCaller(t, url), dial(t, url)
	first := startCall(t.Context(), client, newRequest("s"))
	<-began
	c.publish(t, "old")
	eventually(t, "one request waits", func() bool {
		s := draining.(*serving)
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.requests) == 2
	})
	serve(t, dial(t, url), "s", 4, echo)
	drained := make(chan error, 1)
	go func() { drained <- draining.Drain(t.Context()) }()
	c.checkVersion1(t, "old", nil)
	close(release)
	must(t, (<-first).err)
	must(t, <-drained)
}

// Later callers send requests without headers.
func TestInstanceReadsRequestsOfVersion2(t *testing.T) {
	url := devstack.AMQP(t)
	got := make(chan *backend.Request, 1)
	serve(t, dial(t, url), "s", 1, func(ctx context.Context, req *backend.Request, reply func(*backend.Reply)) {
		got <- req
		echo(ctx, req, reply)
	})
	c := newOldCaller(t, url)
	bareRequest := func(p *amqp091.Publishing) {
		p.Headers, p.ContentType, p.Priority, p.Expiration = nil, "", version2, "2500"
	}
	c.publish(t, "1", bareRequest)
	d := <-c.replies
	if len(d.Headers) > 0 || d.AppId != "me" || string(d.Body) != "{}" {
		t.Errorf("reply: %v, app_id %q, body %q", d.Headers, d.AppId, d.Body)
	}
	req := <-got
	if req.Timeout != 2500*time.Millisecond || req.Service != "s" || req.Method != "M" || req.Caller != "me" {
		t.Errorf("request: %+v", req)
	}
	c.publish(t, "2", bareRequest, func(p *amqp091.Publishing) { p.Expiration = "" })
	d = <-c.replies
	wantError(t, asNil(decodeReply(&d).Err), backend.ErrInvalidArgument, backend.OutcomeAnswered)
	if _, found := d.Headers[envelope.Version]; found {
		t.Errorf("the error is of version 1: %v", d.Headers)
	}
}
