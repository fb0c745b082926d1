package amqp

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
)

// brokerURL returns the URL of a broker for tests, or skips the test.
func brokerURL(t testing.TB) string {
	t.Helper()
	url := os.Getenv("AF_TEST_AMQP")
	if url == "" {
		t.Skip("no RabbitMQ: AF_TEST_AMQP is not set")
	}
	return url
}

// dial opens a Conn to the broker for tests and closes it when the test ends.
func dial(t testing.TB, change ...func(*Config)) *Conn {
	t.Helper()
	config := Config{URLs: []string{brokerURL(t)}, Instance: backend.Instance{ID: "i" + newID()}, Logger: logger(t)}
	for _, f := range change {
		f(&config)
	}
	c, err := Dial(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closes(t, c) })
	return c
}

func closes(t testing.TB, c *Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		t.Errorf("closing: %v", err)
	}
}

// logger writes to the test's log, where AF_TEST_LOG is set.
func logger(t testing.TB) *slog.Logger {
	if os.Getenv("AF_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// own is a name that no other test uses.
func own(t testing.TB, prefix string) string {
	return prefix + "-" + newID()
}

// raw opens a bare channel, for what a test does behind the back of the package.
func bare(t testing.TB) *amqp091.Channel {
	t.Helper()
	conn, err := amqp091.Dial(brokerURL(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// remove deletes queues when the test ends.
func remove(t testing.TB, queues ...string) {
	t.Cleanup(func() {
		conn, err := amqp091.Dial(brokerURL(t))
		if err != nil {
			return
		}
		defer conn.Close()
		ch, err := conn.Channel()
		if err != nil {
			return
		}
		for _, q := range queues {
			_, _ = ch.QueueDelete(q, false, false, false)
		}
	})
}

// A world of its own within a broker that all tests share: names get a suffix on their way in.
type scopedTransport struct {
	backend.Transport
	t      testing.TB
	suffix string
}

func (s scopedTransport) name(queue string) string { return queue + s.suffix }

func scope(t testing.TB, to backend.Transport) backend.Transport {
	s := scopedTransport{to, t, "-" + newID()}
	remove(t, prefixHints+s.name("q"), prefixHints+s.name("other"), prefixRaw+s.name("q"), prefixRaw+s.name("other"))
	return s
}

func (s scopedTransport) Hint(ctx context.Context, queue string, ids []string) ([]bool, error) {
	return s.Transport.Hint(ctx, s.name(queue), ids)
}

func (s scopedTransport) Listen(ctx context.Context, queue string, window int) (backend.Listener, error) {
	return s.Transport.Listen(ctx, s.name(queue), window)
}

func (s scopedTransport) Depth(ctx context.Context, queue string) (int, error) {
	return s.Transport.Depth(ctx, s.name(queue))
}

func (s scopedTransport) Send(ctx context.Context, queue string, body json.RawMessage) error {
	return s.Transport.Send(ctx, s.name(queue), body)
}

func (s scopedTransport) Receive(ctx context.Context, queue string, fn func(context.Context, json.RawMessage) error) error {
	return s.Transport.Receive(ctx, s.name(queue), fn)
}

// scopedCalls does the same for services.
type scopedCalls struct {
	client, server backend.Calls
	suffix         string
}

func (s scopedCalls) Call(ctx context.Context, req *backend.Request) (*backend.Reply, error) {
	other := *req
	other.Service += s.suffix
	return s.client.Call(ctx, &other)
}

func (s scopedCalls) Serve(ctx context.Context, e backend.Endpoint, h backend.Handler) (backend.Serving, error) {
	e.Service += s.suffix
	return s.server.Serve(ctx, e, func(ctx context.Context, req *backend.Request, reply func(*backend.Reply)) {
		req.Service = strings.TrimSuffix(req.Service, s.suffix)
		h(ctx, req, reply)
	})
}

func request(service string) *backend.Request {
	return &backend.Request{Service: service, Method: "M", ID: "call-" + newID(), Caller: "me", Timeout: 30 * time.Second, Body: json.RawMessage(`{}`)}
}

func serve(t testing.TB, c *Conn, service string, concurrency int, h backend.Handler) backend.Serving {
	t.Helper()
	s, err := c.Calls().Serve(t.Context(), backend.Endpoint{
		Service: service, Instance: c.config.Instance, Concurrency: concurrency,
		Methods: []backend.MethodInfo{{Name: "M", Signature: "()", Fingerprint: "f"}},
	}, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(errors.New("the test is over")) })
	return s
}

func echo(_ context.Context, req *backend.Request, reply func(*backend.Reply)) {
	reply(&backend.Reply{Body: req.Body, Server: "me"})
}

// hold serves calls that wait to be released, and says which have begun.
func hold(t testing.TB, c *Conn, service string, concurrency int) (s backend.Serving, began chan string, release chan struct{}) {
	began, release = make(chan string, 1000), make(chan struct{})
	return serve(t, c, service, concurrency, func(_ context.Context, req *backend.Request, reply func(*backend.Reply)) {
		began <- req.ID
		<-release
		reply(&backend.Reply{Body: req.Body})
	}), began, release
}

// result is what became of a call, and when.
type result struct {
	reply *backend.Reply
	err   error
	at    time.Time
}

// calling calls on a goroutine.
func calling(ctx context.Context, c *Conn, req *backend.Request) chan result {
	done := make(chan result, 1)
	go func() {
		r, err := c.Calls().Call(ctx, req)
		done <- result{r, err, time.Now()}
	}()
	return done
}

// wantError checks the error of a call.
func wantError(t testing.TB, err error, code backend.Code, o backend.Outcome) {
	t.Helper()
	e, ok := errors.AsType[*backend.Error](err)
	if !ok || e.Code != code || e.Outcome != o {
		t.Errorf("error %v, want %s, %v", err, code, o)
	}
}

// eventually waits until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatalf("never came: %s", what)
}
