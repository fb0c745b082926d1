package amqp

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
)

// dial opens a Conn to a broker and closes it when the test ends.
func dial(t testing.TB, url string, change ...func(*Config)) *Conn {
	t.Helper()
	c, err := Dial(t.Context(), config(t, url, change...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeConn(t, c) })
	return c
}

// config returns a configuration with which hints succeed however slow the machine is.
func config(t testing.TB, url string, change ...func(*Config)) Config {
	config := Config{
		URLs: []string{url}, Instance: backend.Instance{ID: "i" + newID()}, Logger: logger(),
		lateAfter: time.Minute, hintPatience: time.Minute,
	}
	for _, f := range change {
		f(&config)
	}
	return config
}

func closeConn(t testing.TB, c *Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		t.Errorf("closing: %v", err)
	}
}

// logger returns a logger to stderr if AF_TEST_LOG is set.
func logger() *slog.Logger {
	if os.Getenv("AF_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// bare opens a channel with amqp091-go alone.
func bare(t testing.TB, url string) *amqp091.Channel {
	t.Helper()
	conn, err := amqp091.Dial(url)
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

var must = testkit.Must

func newRequest(service string) *backend.Request {
	return &backend.Request{Service: service, Method: "M", ID: "call-" + newID(), Caller: "me", Timeout: 30 * time.Second,
		Body: json.RawMessage(`{}`)}
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

// serveBlocking serves calls that wait for release. It sends the IDs of started calls to began.
func serveBlocking(
	t testing.TB, c *Conn, service string, concurrency int,
) (s backend.Serving, began chan string, release chan struct{}) {
	began, release = make(chan string, 1000), make(chan struct{})
	return serve(t, c, service, concurrency, func(_ context.Context, req *backend.Request, reply func(*backend.Reply)) {
		began <- req.ID
		<-release
		reply(&backend.Reply{Body: req.Body})
	}), began, release
}

// A result is the outcome of a call, and its time.
type result struct {
	reply *backend.Reply
	err   error
	at    time.Time
}

// startCall makes a call on a goroutine.
func startCall(ctx context.Context, c *Conn, req *backend.Request) chan result {
	done := make(chan result, 1)
	go func() {
		r, err := c.Calls().Call(ctx, req)
		done <- result{r, err, time.Now()}
	}()
	return done
}

var wantError = conform.WantError

var eventually = testkit.Eventually

// aMessage returns a raw message.
func aMessage(body string) backend.Message { return backend.Message{Body: json.RawMessage(body)} }

// accept returns a handler of raw messages that calls fn and accepts all of them.
func accept(fn func(body string)) func(context.Context, *backend.Message) backend.Handled {
	return func(_ context.Context, m *backend.Message) backend.Handled {
		fn(string(m.Body))
		return backend.Handled{Done: true}
	}
}
