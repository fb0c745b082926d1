package amqp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// A service that was called once knows the address of the caller's replies, but not the IDs of its other calls.
func TestSpoofedReplyIsIgnored(t *testing.T) {
	url := devstack.AMQP(t)
	client := dial(t, url)
	mallory := bare(t, url)
	_, err := mallory.QueueDeclare(prefixCalls+"mallory", true, true, false, false, callQueueArgs)
	must(t, err)
	must(t, mallory.QueueBind(prefixCalls+"mallory", "mallory", exchangeCalls, false, nil))
	requests, err := mallory.Consume(prefixCalls+"mallory", "", true, false, false, false, nil)
	must(t, err)
	learned := make(chan amqp091.Delivery, 1)
	go func() {
		d := <-requests
		_ = mallory.Publish("", d.ReplyTo, false, false,
			encodeReply(d.CorrelationId, &backend.Reply{Body: json.RawMessage(`{}`)}, maxHeaders, version2))
		learned <- d
	}()
	_, err = client.Calls().Call(t.Context(), newRequest("mallory"))
	must(t, err)
	known := <-learned

	_, began, release := serveBlocking(t, dial(t, url), "bank", 1)
	call := startCall(t.Context(), client, newRequest("bank"))
	<-began
	next, cut := known.CorrelationId, strings.LastIndex(known.CorrelationId, "-")
	for i := range 100 { // in case IDs are numbered consecutively
		id := next[:cut+1] + string("0123456789abcdefghijklmnopqrstuvwxyz"[i%36])
		must(t, mallory.Publish("", known.ReplyTo, false, false,
			encodeReply(id, &backend.Reply{Body: json.RawMessage(`{"stolen":1}`)}, maxHeaders, version2)))
	}
	// Wait until all are published.
	_, err = mallory.QueueDeclarePassive(prefixCalls+"mallory", true, true, false, false, nil)
	must(t, err)
	close(release)
	r := <-call
	must(t, r.err)
	if string(r.reply.Body) != "{}" {
		t.Errorf("reply %s", r.reply.Body)
	}
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(known.CorrelationId) {
		t.Errorf("correlation ID %q, want 128 random bits", known.CorrelationId)
	}
	if strings.Contains(known.CorrelationId, client.id) {
		t.Error("a correlation ID reveals the name of the caller's control queue")
	}
}

func TestIDsAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for range 10_000 {
		id := newID()
		if len(id) != 32 || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}

// A logBuffer keeps log output.
type logBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(b)
}

func (l *logBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.String(), text)
}

func (l *logBuffer) logs(c *Config) { c.Logger = slog.New(slog.NewTextHandler(l, nil)) }

// A request whose reply_to names a queue that isn't for replies is dropped: otherwise an instance could be made to
// write to any queue.
func TestForeignReplyToIsDropped(t *testing.T) {
	url := devstack.AMQP(t)
	var log logBuffer
	server := dial(t, url, log.logs)
	began := make(chan string, 100)
	serve(t, server, "s", 1, func(_ context.Context, req *backend.Request, reply func(*backend.Reply)) {
		began <- req.ID
		reply(&backend.Reply{Body: json.RawMessage(`{"paid":true}`)})
	})
	ch := bare(t, url)
	foreign := []string{prefixRaw + "orders", prefixHints + "shop.orders", prefixCalls + "victim", "ledger",
		"amq.rabbitmq.reply-tox"}
	for _, queue := range foreign {
		_, err := ch.QueueDeclare(queue, false, true, false, false, nil)
		if queue != "amq.rabbitmq.reply-tox" { // a reserved name
			must(t, err)
		} else {
			ch = bare(t, url)
		}
		p := encodeRequest(newRequest("s"), newID(), time.Minute, version2)
		p.ReplyTo = queue
		must(t, ch.Publish(exchangeCalls, "s", true, false, p))
		for _, kind := range []string{controlPing, controlInfo, controlStats} {
			must(t, ch.Publish(exchangeControl, "s", true, false, amqp091.Publishing{
				Type: kind, CorrelationId: "c", ReplyTo: queue, Headers: amqp091.Table{envelope.Version: envelope.V1},
			}))
		}
	}
	eventually(t, "all are dropped", func() bool { return server.droppedCount() == int64(4*len(foreign)) })

	const own = prefixReplies + "script"
	_, err := ch.QueueDeclare(own, false, true, true, false, nil)
	must(t, err)
	replies, err := ch.Consume(own, "", true, true, false, false, nil)
	must(t, err)
	p := encodeRequest(newRequest("s"), "1", time.Minute, version2)
	p.ReplyTo, p.MessageId = own, "good"
	must(t, ch.Publish(exchangeCalls, "s", true, false, p))
	if d := <-replies; d.CorrelationId != "1" || string(d.Body) != `{"paid":true}` {
		t.Errorf("%+v", d)
	}
	if id := <-began; id != "good" || len(began) != 0 {
		t.Errorf("a request with a foreign reply_to was started: %s", id)
	}
	for _, queue := range foreign[:4] {
		if q, err := ch.QueueDeclarePassive(queue, false, true, false, false, nil); err != nil || q.Messages != 0 {
			t.Errorf("%s has %d messages, %v", queue, q.Messages, err)
		}
	}
	if n := log.count("dropped a message"); n != 1 {
		t.Errorf("logged %d times, want once: %s", n, log.String())
	}
}

// The broker checks a publisher's permission only at the exchange, so requests are only accepted from there.
func TestRequestBypassingExchangeIsDropped(t *testing.T) {
	url := devstack.AMQP(t)
	server := dial(t, url)
	served := make(chan string, 10)
	serve(t, server, "s", 1, func(_ context.Context, req *backend.Request, reply func(*backend.Reply)) {
		served <- req.ID
		reply(&backend.Reply{})
	})
	ch := bare(t, url)
	publishAround(t, ch, exchangeCalls, "s", prefixCalls+"s", func() amqp091.Publishing {
		p := encodeRequest(newRequest("s"), newID(), time.Minute, version2)
		p.ReplyTo = ""
		return p
	})
	eventually(t, "all are dropped", func() bool { return server.droppedCount() == 4 })
	p := encodeRequest(newRequest("s"), newID(), time.Minute, version2)
	p.ReplyTo, p.MessageId = "", "good"
	must(t, ch.Publish(exchangeCalls, "s", true, false, p))
	if id := <-served; id != "good" {
		t.Errorf("started %s", id)
	}
}

// publishAround publishes to a queue in all ways that bypass the permission for its exchange and routing key.
func publishAround(t *testing.T, ch *amqp091.Channel, exchange, key, queue string, message func() amqp091.Publishing) {
	t.Helper()
	// By the name of the queue.
	must(t, ch.Publish("", queue, true, false, message()))
	// Through an exchange that is bound to the other.
	must(t, ch.ExchangeDeclare("mallory", amqp091.ExchangeFanout, false, true, false, false, nil))
	must(t, ch.ExchangeBind(exchange, key, "mallory", false, nil))
	must(t, ch.Publish("mallory", key, true, false, message()))
	// By a second key.
	cc := message()
	cc.Headers["CC"] = []any{key}
	must(t, ch.Publish(exchange, "mallory", true, false, cc))
	// As a dead letter.
	_, err := ch.QueueDeclare("mallory", false, true, false, false, amqp091.Table{
		"x-dead-letter-exchange": exchange, "x-dead-letter-routing-key": key, "x-message-ttl": int32(0),
	})
	must(t, err)
	must(t, ch.Publish("", "mallory", true, false, message()))
}

// wantMaybeLost waits until an event would concern n calls of service s: it doesn't concern younger ones.
func wantMaybeLost(t *testing.T, client *Conn, n int) {
	t.Helper()
	eventually(t, "the calls are older than maxEventDelay", func() bool {
		return len(client.calls.maybeLost("s", nil, time.Now())) == n
	})
}

// Control messages that bypass the exchange end no call, neither by its ID nor as an event.
func TestControlMessageBypassingExchangeIsDropped(t *testing.T) {
	url := devstack.AMQP(t)
	var log logBuffer
	server, client := dial(t, url), dial(t, url, log.logs)
	_, began, release := serveBlocking(t, server, "s", 1)
	call := startCall(t.Context(), client, newRequest("s"))
	<-began
	wantMaybeLost(t, client, 1)
	publishAround(t, bare(t, url), exchangeControl, newKey+"s", client.awaitGeneration(t.Context(), nil).control,
		func() amqp091.Publishing {
			return amqp091.Publishing{Headers: amqp091.Table{envelope.Version: envelope.V1}, Type: controlNew, AppId: "mallory",
				Body: []byte("{}")}
		})
	eventually(t, "all are dropped", func() bool { return client.droppedCount() == 3 }) // one has an unknown key
	select {
	case r := <-call:
		t.Fatalf("the call has ended: %v", r.err)
	default:
	}
	close(release)
	must(t, (<-call).err)
	if n := log.count("dropped a message"); n != 1 {
		t.Errorf("logged %d times, want once: %s", n, log.String())
	}
}

// Events forged by a program that may publish them fail no calls, since the caller asks the instance.
func TestForgedEventFailsNoCall(t *testing.T) {
	url := devstack.AMQP(t)
	server, client := dial(t, url), dial(t, url)
	_, began, release := serveBlocking(t, server, "s", 1)
	call := startCall(t.Context(), client, newRequest("s"))
	<-began
	waits := startCall(t.Context(), client, newRequest("s"))
	eventually(t, "it is sent", func() bool { return client.calls.sent() == 2 })
	wantMaybeLost(t, client, 2)
	ch := bare(t, url)
	generation := client.awaitGeneration(t.Context(), nil)
	for _, instance := range []string{server.config.Instance.ID, "mallory", "", strings.Repeat("x", 255), "#"} {
		for range 20 {
			must(t, ch.Publish(exchangeControl, newKey+"s", true, false, amqp091.Publishing{
				Headers: amqp091.Table{envelope.Version: envelope.V1}, Type: controlNew, AppId: instance, Body: []byte("{}"),
			}))
		}
	}
	// The last one is dropped.
	must(t, ch.Publish("", generation.control, true, false, amqp091.Publishing{Type: controlNew}))
	eventually(t, "all have arrived", func() bool { return client.droppedCount() == 1 })
	eventually(t, "all confirmations have ended", func() bool {
		client.calls.mu.Lock()
		defer client.calls.mu.Unlock()
		return len(client.calls.confirming) == 0
	})
	for _, c := range []chan result{call, waits} {
		select {
		case r := <-c:
			t.Fatalf("a call has ended: %v", r.err)
		default:
		}
	}
	close(release)
	must(t, (<-call).err)
	must(t, (<-waits).err)
	if generation.hasEnded() {
		t.Errorf("the connection has ended: %v", generation.err)
	}
}

// A renewal event tells which calls are kept without revealing their IDs, with which replies could be forged.
func TestEventHidesCorrelationIDs(t *testing.T) {
	proxy := newProxy(t, devstack.AMQP(t))
	server, client := dial(t, proxy.url), dial(t, proxy.direct)
	s, began, release := serveBlocking(t, server, "s", 1)
	call := startCall(t.Context(), client, newRequest("s"))
	<-began
	ch := bare(t, proxy.direct)
	_, err := ch.QueueDeclare("spy", false, true, true, false, nil)
	must(t, err)
	must(t, ch.QueueBind("spy", newKey+"#", exchangeControl, false, nil))
	events, err := ch.Consume("spy", "", true, true, false, false, nil)
	must(t, err)
	var id string
	in := s.(*serving)
	in.mu.Lock()
	for _, v := range in.requests {
		id = v.correlationID
	}
	in.mu.Unlock()
	proxy.Cut()
	event := <-events
	var n renewal
	must(t, json.Unmarshal(event.Body, &n))
	if len(n.Kept) != 1 || n.Kept[0] != keptID(id) || strings.Contains(string(event.Body), id) {
		t.Errorf("the event of call %s is %s", id, event.Body)
	}
	close(release)
	if r := <-call; r.err != nil && !errors.Is(r.err, backend.ErrUnavailable) {
		t.Error(r.err)
	}
}
