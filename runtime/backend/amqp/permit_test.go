package amqp

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// documented returns the permissions that docs/servers.md grants to a user.
func documented(t *testing.T, user string) (g devstack.Grant) {
	t.Helper()
	doc, err := os.ReadFile("../../../docs/servers.md")
	must(t, err)
	all := regexp.MustCompile(`(?m)^rabbitmqctl set_permissions -p shop ` + user + ` '(\S+)' '(\S+)' '(\S+)'$`).
		FindStringSubmatch(string(doc))
	if all == nil {
		t.Fatalf("docs/servers.md has no permissions for %s", user)
	}
	g = devstack.Grant{Configure: all[1], Write: all[2], Read: all[3], Topics: map[string]devstack.TopicGrant{}}
	topics := regexp.MustCompile(`(?m)^rabbitmqctl set_topic_permissions -p shop ` + user + ` (\S+) '(\S+)' '(\S+)'$`)
	for _, topic := range topics.FindAllStringSubmatch(string(doc), -1) {
		g.Topics[topic[1]] = devstack.TopicGrant{Write: topic[2], Read: topic[3]}
	}
	if len(g.Topics) != 2 {
		t.Fatalf("docs/servers.md has %d topic permissions for %s, want 2", len(g.Topics), user)
	}
	return g
}

// swapped returns the permissions with the services orders and billing exchanged.
func swapped(g devstack.Grant) devstack.Grant {
	swap := func(s string) string { return strings.NewReplacer("orders", "billing", "billing", "orders").Replace(s) }
	g.Configure, g.Write, g.Read = swap(g.Configure), swap(g.Write), swap(g.Read)
	topics := map[string]devstack.TopicGrant{}
	for exchange, t := range g.Topics {
		topics[exchange] = devstack.TopicGrant{Write: swap(t.Write), Read: swap(t.Read)}
	}
	g.Topics = topics
	return g
}

// users is a virtual host in which each program has its own user.
type users struct{ admin, orders, billing, web string }

func newUsers(t *testing.T) users {
	t.Helper()
	u := users{admin: devstack.AMQP(t)}
	ch := bare(t, u.admin)
	for _, exchange := range []string{exchangeCalls, exchangeControl} {
		must(t, ch.ExchangeDeclare(exchange, amqp091.ExchangeTopic, true, false, false, false, nil))
	}
	orders := documented(t, "orders")
	u.orders = devstack.AMQPUser(t, u.admin, orders)
	u.billing = devstack.AMQPUser(t, u.admin, swapped(orders))
	u.web = devstack.AMQPUser(t, u.admin, documented(t, "web"))
	return u
}

func shop(c *Config) { c.Database = "shop" }

// With the documented permissions, programs can do everything they need.
func TestDocumentedPermissionsSuffice(t *testing.T) {
	u := newUsers(t)
	server, client := dial(t, u.orders, shop), dial(t, u.web, shop)
	began, ended := make(chan string, 10), make(chan error, 10)
	release := make(chan struct{})
	handler := func(ctx context.Context, req *backend.Request, reply func(*backend.Reply)) {
		began <- req.ID
		select {
		case <-ctx.Done():
			ended <- context.Cause(ctx)
		case <-release:
		}
		reply(&backend.Reply{Body: req.Body})
	}
	first := serve(t, server, "orders", 1, handler)
	ctx, cancel := context.WithCancel(t.Context())
	call := startCall(ctx, client, newRequest("orders"))
	<-began
	cancel()
	wantError(t, (<-call).err, backend.ErrCanceled, backend.OutcomeUnknown)
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "the caller stopped waiting") {
		t.Errorf("the handler's context ended with %v", err)
	}
	// A draining instance hands over requests it hasn't started.
	call = startCall(t.Context(), client, newRequest("orders"))
	<-began
	waits := startCall(t.Context(), client, newRequest("orders"))
	eventually(t, "the request waits at the instance", func() bool {
		s := first.(*serving)
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.requests) == 2
	})
	serve(t, dial(t, u.orders, shop), "orders", 1, handler)
	drained := make(chan error, 1)
	go func() { drained <- first.Drain(t.Context()) }()
	<-began
	close(release)
	must(t, (<-call).err)
	must(t, (<-waits).err)
	must(t, <-drained)
	// Calls to a service without an instance fail. A service whose queue was deleted is served again.
	_, err := dial(t, u.orders, shop).Calls().Call(t.Context(), newRequest("billing"))
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
	_, err = bare(t, u.admin).QueueDelete(prefixCalls+"orders", false, false, false)
	must(t, err)
	eventually(t, "the service works again", func() bool {
		_, err := client.Calls().Call(t.Context(), newRequest("orders"))
		return err == nil
	})
	listener, err := server.Transport().Listen(t.Context(), "convert", 1)
	must(t, err)
	defer listener.Close()
	taken, err := server.Transport().Hint(t.Context(), "convert", []string{"id"})
	if err != nil || !taken[0] {
		t.Errorf("hint: %v %v", taken, err)
	}
	hints, err := listener.Next(t.Context(), 1)
	must(t, err)
	hints[0].Done()
	absent, err := client.transport.Absent(t.Context(), []string{server.config.Instance.ID, "missing"})
	if err != nil || len(absent) != 1 || absent[0] != "missing" {
		t.Errorf("absent: %v %v", absent, err)
	}
	if server.Err() != nil || client.Err() != nil || server.droppedCount()+client.droppedCount() != 0 {
		t.Errorf("%v, %v, %d and %d messages dropped", server.Err(), client.Err(), server.droppedCount(),
			client.droppedCount())
	}
}

// The user of one service can't consume, read, forge or delete another service's messages.
func TestPermissionsIsolateServices(t *testing.T) {
	u := newUsers(t)
	server := dial(t, u.orders, shop)
	client := dial(t, u.web, shop)
	_, began, release := serveBlocking(t, server, "orders", 1)
	call := startCall(t.Context(), client, newRequest("orders"))
	<-began
	conn, err := amqp091.Dial(u.billing)
	must(t, err)
	defer conn.Close()
	const own, queue = prefixControl + "mallory", prefixCalls + "orders"
	attack := func(do func(ch *amqp091.Channel) error) error {
		ch, err := conn.Channel()
		must(t, err)
		defer ch.Close()
		closes := ch.NotifyClose(make(chan *amqp091.Error, 1))
		if err = do(ch); err == nil {
			err = ch.ExchangeDeclarePassive(exchangeCalls, amqp091.ExchangeTopic, true, false, false, false, nil)
		}
		if err != nil {
			if why := <-closes; why != nil {
				return why
			}
		}
		return err
	}
	must(t, attack(func(ch *amqp091.Channel) error {
		_, err := ch.QueueDeclare(own, false, false, true, false, amqp091.Table{
			"x-dead-letter-exchange": exchangeControl, "x-dead-letter-routing-key": newKey + "orders", "x-message-ttl": int32(0),
		})
		return err
	}))
	event := func() amqp091.Publishing {
		return amqp091.Publishing{Headers: amqp091.Table{envelope.Version: envelope.V1}, Type: controlNew,
			AppId: server.config.Instance.ID, Body: []byte("{}")}
	}
	bind := func(key, exchange string) func(ch *amqp091.Channel) error {
		return func(ch *amqp091.Channel) error { return ch.QueueBind(own, key, exchange, false, nil) }
	}
	for name, do := range map[string]func(ch *amqp091.Channel) error{
		"forged_event": func(ch *amqp091.Channel) error {
			return ch.Publish(exchangeControl, newKey+"orders", false, false, event())
		},
		"call_not_allowed": func(ch *amqp091.Channel) error {
			return ch.Publish(exchangeCalls, "stocks", false, false, event())
		},
		"consume": func(ch *amqp091.Channel) error {
			_, err := ch.Consume(queue, "", true, false, false, false, nil)
			return err
		},
		"get":    func(ch *amqp091.Channel) error { _, _, err := ch.Get(queue, true); return err },
		"purge":  func(ch *amqp091.Channel) error { _, err := ch.QueuePurge(queue, false); return err },
		"delete": func(ch *amqp091.Channel) error { _, err := ch.QueueDelete(queue, false, false, false); return err },
		"declare": func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclare(queue, true, true, false, false, callQueueArgs)
			return err
		},
		"bind_its_queue": func(ch *amqp091.Channel) error {
			return ch.QueueBind(queue, "billing", exchangeCalls, false, nil)
		},
		"unbind_its_queue":  func(ch *amqp091.Channel) error { return ch.QueueUnbind(queue, "orders", exchangeCalls, nil) },
		"copy_its_calls":    bind("orders", exchangeCalls),
		"copy_all_calls":    bind("#", exchangeCalls),
		"copy_one_word":     bind("*", exchangeCalls),
		"copy_its_control":  bind("orders", exchangeControl),
		"copy_all_control":  bind("#", exchangeControl),
		"copy_per_instance": bind("orders.*", exchangeControl),
		"link_exchanges": func(ch *amqp091.Channel) error {
			return ch.ExchangeBind(exchangeControl, "#", exchangeCalls, false, nil)
		},
		"delete_calls":   func(ch *amqp091.Channel) error { return ch.ExchangeDelete(exchangeCalls, false, false) },
		"delete_control": func(ch *amqp091.Channel) error { return ch.ExchangeDelete(exchangeControl, false, false) },
		"own_exchange": func(ch *amqp091.Channel) error {
			return ch.ExchangeDeclare("mallory", amqp091.ExchangeFanout, false, true, false, false, nil)
		},
		"control_queue": func(ch *amqp091.Channel) error {
			_, err := ch.Consume(client.awaitGeneration(t.Context(), nil).control, "", true, false, false, false, nil)
			return err
		},
	} {
		if err := attack(do); !isCode(err, amqp091.AccessRefused) && !isCode(err, amqp091.ResourceLocked) {
			t.Errorf("%s: %v, want it refused", name, err)
		}
	}
	// The broker allows these; the first only in some versions.
	_ = attack(func(ch *amqp091.Channel) error {
		e := event()
		e.Headers["CC"] = []any{newKey + "orders"}
		return ch.Publish(exchangeControl, "billing", false, false, e)
	})
	must(t, attack(func(ch *amqp091.Channel) error { return ch.Publish("", own, false, false, event()) }))
	must(t, attack(func(ch *amqp091.Channel) error {
		return ch.Publish("", client.awaitGeneration(t.Context(), nil).control, false, false, event())
	}))
	eventually(t, "the forged messages are dropped", func() bool { return client.droppedCount() == 2 })
	select {
	case r := <-call:
		t.Fatalf("the call has ended: %v", r.err)
	default:
	}
	close(release)
	must(t, (<-call).err)
}

// A permission error fails only the operation, not the connection: other calls succeed.
func TestPermissionErrorKeepsConnection(t *testing.T) {
	u := newUsers(t)
	_, began, release := serveBlocking(t, dial(t, u.orders, shop), "orders", 1)
	client := dial(t, u.web, shop)
	generation := client.awaitGeneration(t.Context(), nil)
	call := startCall(t.Context(), client, newRequest("orders"))
	<-began
	_, err := client.Calls().Call(t.Context(), newRequest("billing"))
	wantError(t, err, backend.ErrPermissionDenied, backend.OutcomeNotSent)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = client.Calls().Serve(ctx, backend.Endpoint{Service: "orders", Instance: client.config.Instance,
		Concurrency: 1}, echo)
	if backend.CodeOf(err) != backend.ErrPermissionDenied {
		t.Errorf("serving: %v", err)
	}
	_, err = client.Transport().Hint(ctx, "convert", []string{"id"})
	if backend.CodeOf(err) != backend.ErrPermissionDenied {
		t.Errorf("hint: %v", err)
	}
	if generation.hasEnded() {
		t.Errorf("the connection has ended: %v", generation.err)
	}
	close(release)
	must(t, (<-call).err)

	unable := documented(t, "orders") // but may not publish to queues by name
	unable.Write = documented(t, "web").Write
	worker := dial(t, devstack.AMQPUser(t, u.admin, unable), shop)
	generation = worker.awaitGeneration(t.Context(), nil)
	_, err = worker.Transport().Hint(ctx, "convert", []string{"id"})
	wantError(t, err, backend.ErrPermissionDenied, backend.OutcomeNotSent)
	if generation.hasEnded() {
		t.Errorf("the worker's connection has ended: %v", generation.err)
	}
}

// If exchanges are missing and the user may not create them, Dial reports it.
func TestMissingExchangeIsAnError(t *testing.T) {
	url := devstack.AMQPUser(t, devstack.AMQP(t), documented(t, "web"))
	_, err := Dial(t.Context(), config(t, url, func(c *Config) { c.Degraded = true }))
	wantError(t, err, backend.ErrPermissionDenied, backend.OutcomeNotSent)
	if err == nil || !strings.Contains(err.Error(), "exchange af.rpc doesn't exist") {
		t.Error(err)
	}
}
