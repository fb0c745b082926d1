package mongo_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/mongo"
)

func open(t *testing.T, c mongo.Config) *mongo.Client {
	t.Helper()
	client, err := mongo.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return client
}

func TestInvalidConfigFailsWithoutSecrets(t *testing.T) {
	for name, c := range map[string]mongo.Config{
		"no_database": {URI: "mongodb://u:geheim@127.0.0.1:1/"},
		"scheme":      {URI: "http://u:geheim@127.0.0.1:1/", Database: "d"},
		"escape":      {URI: "mongodb://u:geheim%zz@127.0.0.1:1/", Database: "d"},
		"slash":       {URI: "mongodb://u:geheim/x@127.0.0.1:1/", Database: "d"},
		"option":      {URI: "mongodb://u:geheim@127.0.0.1:1/?maxPoolSize=geheim", Database: "d"},
	} {
		c.Address = "127.0.0.1:1"
		client, err := mongo.New(c)
		if err == nil {
			t.Errorf("%s: accepted", name)
			_ = client.Close(t.Context())
			continue
		}
		if backend.CodeOf(err) != backend.ErrInvalidArgument || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnreachableServerFailsNotSent(t *testing.T) {
	address := testkit.FreeAddr(t)
	c := open(t, mongo.Config{URI: "mongodb://u:geheim@" + address + "/", Address: address, Database: "d",
		Patience: 200 * time.Millisecond})
	for name, do := range map[string]func() error{
		"prepare": func() error { return c.Prepare(t.Context()) },
		"ping":    func() error { return c.Ping(t.Context()) },
		"write":   func() error { _, err := c.Store().Insert(t.Context(), []backend.NewTask{newTask("a")}); return err },
		"read":    func() error { _, err := c.Docs().Get(t.Context(), "a"); return err },
	} {
		begun := time.Now()
		err := do()
		e, ok := errors.AsType[*backend.Error](err)
		if !ok || e.Code != backend.ErrUnavailable || e.Outcome != backend.OutcomeNotSent {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !strings.Contains(err.Error(), address) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: the message lacks the address or contains a secret: %v", name, err)
		}
		if d := time.Since(begun); d > 5*time.Second {
			t.Errorf("%s: after %v", name, d)
		}
	}
}

// A server that accepts connections but never answers doesn't delay callers beyond their contexts.
func TestContextEndsHangingOperation(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	c := open(t, mongo.Config{URI: "mongodb://" + l.Addr().String() + "/", Address: "a", Database: "d",
		Patience: time.Minute})
	results := make(chan error)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for range 5 {
		go func() { _, err := c.Store().Get(ctx, "a"); results <- err }()
	}
	for range 5 {
		select {
		case err := <-results:
			if backend.CodeOf(err) != backend.ErrDeadlineExceeded {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("hangs")
		}
	}
}

// A client recovers without being recreated when its server starts, stops and starts again.
func TestRecoveryAfterOutage(t *testing.T) {
	server := devstack.Start(t, devstack.MongoDB)
	must(t, server.Kill())
	c := open(t, mongo.Config{URI: server.URI + "d", Address: "a", Database: "d", Patience: time.Second})
	s := c.Store()
	if _, err := s.Insert(t.Context(), []backend.NewTask{newTask("a")}); backend.CodeOf(err) != backend.ErrUnavailable {
		t.Fatal(err)
	}
	for range 2 {
		must(t, server.Start())
		testkit.Succeeds(t, "inserting", func() error {
			_, err := s.Insert(t.Context(), []backend.NewTask{newTask("a")})
			return err
		})
		if task, err := s.Get(t.Context(), "a"); err != nil || task.Status != backend.StatusWaiting {
			t.Errorf("%+v, %v", task, err)
		}
		must(t, server.Stop())
		if _, err := s.Get(t.Context(), "a"); backend.CodeOf(err) != backend.ErrUnavailable {
			t.Error(err)
		}
	}
}

// Creating indexes may take longer than pingTimeout. The server is not considered down meanwhile.
func TestServerIsUpWhilePreparing(t *testing.T) {
	c := join(t, devstack.Mongo(t))
	if err := c.ProbeWhilePreparing(); err != nil {
		t.Error(err)
	}
}

func TestClosedClientIsUnavailable(t *testing.T) {
	c := join(t, devstack.Mongo(t))
	must(t, c.Close(t.Context()))
	must(t, c.Close(t.Context()))
	for _, err := range []error{
		c.Prepare(t.Context()),
		func() error { _, err := c.Store().Get(t.Context(), "a"); return err }(),
	} {
		if e, ok := errors.AsType[*backend.Error](err); !ok || e.Code != backend.ErrUnavailable ||
			e.Outcome != backend.OutcomeNotSent {
			t.Error(err)
		}
	}
}

func TestOversizedTaskFails(t *testing.T) {
	s := join(t, devstack.Mongo(t)).Store()
	n := newTask("large")
	n.Task.Payload = make([]byte, 17<<20)
	if _, err := s.Insert(t.Context(), []backend.NewTask{n}); backend.CodeOf(err) != backend.ErrResourceExhausted {
		t.Errorf("%.300v", err)
	}
}
