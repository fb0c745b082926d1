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

// documented returns the permissions that docs/servers.md gives to a user.
func documented(t *testing.T, user string) (g devstack.Grant) {
	t.Helper()
	doc, err := os.ReadFile("../../../docs/servers.md")
	must(t, err)
	all := regexp.MustCompile(`(?m)^rabbitmqctl set_permissions -p shop ` + user + ` '(\S+)' '(\S+)' '(\S+)'$`).FindStringSubmatch(string(doc))
	if all == nil {
		t.Fatalf("docs/servers.md has no permissions of %s", user)
	}
	g = devstack.Grant{Configure: all[1], Write: all[2], Read: all[3], Topics: map[string]devstack.TopicGrant{}}
	for _, topic := range regexp.MustCompile(`(?m)^rabbitmqctl set_topic_permissions -p shop `+user+` (\S+) '(\S+)' '(\S+)'$`).FindAllStringSubmatch(string(doc), -1) {
		g.Topics[topic[1]] = devstack.TopicGrant{Write: topic[2], Read: topic[3]}
	}
	if len(g.Topics) != 2 {
		t.Fatalf("docs/servers.md has %d topic permissions of %s", len(g.Topics), user)
	}
	return g
}

// swapped returns the permissions of the program orders for the service billing, and the other way round.
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

// users is a virtual host whose programs have users of their own.
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

// With the documented permissions programs do all that they are there for.
func TestUserForEachProgram(t *testing.T) {
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
	call := calling(ctx, client, request("orders"))
	<-began
	cancel()
	wantError(t, (<-call).err, backend.ErrCanceled, backend.OutcomeUnknown)
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "the caller stopped waiting") {
		t.Errorf("the handler's context ended by %v", err)
	}
	// What a draining instance hasn't begun goes to the next one.
	call = calling(t.Context(), client, request("orders"))
	<-began
	waits := calling(t.Context(), client, request("orders"))
	eventually(t, "it waits there", func() bool {
		s := first.(*serving)
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.visits) == 2
	})
	serve(t, dial(t, u.orders, shop), "orders", 1, handler)
	drained := make(chan error, 1)
	go func() { drained <- first.Drain(t.Context()) }()
	<-began
	close(release)
	must(t, (<-call).err)
	must(t, (<-waits).err)
	must(t, <-drained)
	// A service that is served nowhere is found to be so; one whose queue was deleted is served again.
	_, err := dial(t, u.orders, shop).Calls().Call(t.Context(), request("billing"))
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
	_, err = bare(t, u.admin).QueueDelete(prefixCalls+"orders", false, false, false)
	must(t, err)
	eventually(t, "it is served again", func() bool {
		_, err := client.Calls().Call(t.Context(), request("orders"))
		return err == nil
	})
	listener, err := server.Transport().Listen(t.Context(), "convert", 1)
	must(t, err)
	defer listener.Close()
	taken, err := server.Transport().Hint(t.Context(), "convert", []string{"id"})
	if err != nil || !taken[0] {
		t.Errorf("a hint: %v %v", taken, err)
	}
	hints, err := listener.Next(t.Context(), 1)
	must(t, err)
	hints[0].Done()
	absent, err := client.transport.Absent(t.Context(), []string{server.config.Instance.ID, "nobody"})
	if err != nil || len(absent) != 1 || absent[0] != "nobody" {
		t.Errorf("absent: %v %v", absent, err)
	}
	if server.Err() != nil || client.Err() != nil || server.dropped()+client.dropped() != 0 {
		t.Errorf("%v, %v, %d and %d messages dropped", server.Err(), client.Err(), server.dropped(), client.dropped())
	}
}

// The user of one service can't take, read, forge or delete what belongs to another.
func TestUserOfAnotherServiceIsRefused(t *testing.T) {
	u := newUsers(t)
	server := dial(t, u.orders, shop)
	client := dial(t, u.web, shop)
	_, began, release := hold(t, server, "orders", 1)
	call := calling(t.Context(), client, request("orders"))
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
		return amqp091.Publishing{Headers: amqp091.Table{envelope.Version: envelope.V1}, Type: controlNew, AppId: server.config.Instance.ID, Body: []byte("{}")}
	}
	bind := func(key, exchange string) func(ch *amqp091.Channel) error {
		return func(ch *amqp091.Channel) error { return ch.QueueBind(own, key, exchange, false, nil) }
	}
	for name, do := range map[string]func(ch *amqp091.Channel) error{
		"forged event": func(ch *amqp091.Channel) error {
			return ch.Publish(exchangeControl, newKey+"orders", false, false, event())
		},
		"call not allowed": func(ch *amqp091.Channel) error { return ch.Publish(exchangeCalls, "stocks", false, false, event()) },
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
		"bind its queue":    func(ch *amqp091.Channel) error { return ch.QueueBind(queue, "billing", exchangeCalls, false, nil) },
		"unbind its queue":  func(ch *amqp091.Channel) error { return ch.QueueUnbind(queue, "orders", exchangeCalls, nil) },
		"copy its calls":    bind("orders", exchangeCalls),
		"copy all calls":    bind("#", exchangeCalls),
		"copy one word":     bind("*", exchangeCalls),
		"copy its control":  bind("orders", exchangeControl),
		"copy all control":  bind("#", exchangeControl),
		"copy per instance": bind("orders.*", exchangeControl),
		"link exchanges": func(ch *amqp091.Channel) error {
			return ch.ExchangeBind(exchangeControl, "#", exchangeCalls, false, nil)
		},
		"delete calls":   func(ch *amqp091.Channel) error { return ch.ExchangeDelete(exchangeCalls, false, false) },
		"delete control": func(ch *amqp091.Channel) error { return ch.ExchangeDelete(exchangeControl, false, false) },
		"own exchange": func(ch *amqp091.Channel) error {
			return ch.ExchangeDeclare("mallory", amqp091.ExchangeFanout, false, true, false, false, nil)
		},
		"control queue": func(ch *amqp091.Channel) error {
			_, err := ch.Consume(client.await(t.Context(), nil).control, "", true, false, false, false, nil)
			return err
		},
	} {
		if err := attack(do); !isCode(err, amqp091.AccessRefused) && !isCode(err, amqp091.ResourceLocked) {
			t.Errorf("%s: %v, want it refused", name, err)
		}
	}
	// The broker lets these pass: the first in some versions only.
	_ = attack(func(ch *amqp091.Channel) error {
		e := event()
		e.Headers["CC"] = []any{newKey + "orders"}
		return ch.Publish(exchangeControl, "billing", false, false, e)
	})
	must(t, attack(func(ch *amqp091.Channel) error { return ch.Publish("", own, false, false, event()) }))
	must(t, attack(func(ch *amqp091.Channel) error {
		return ch.Publish("", client.await(t.Context(), nil).control, false, false, event())
	}))
	eventually(t, "they are dropped", func() bool { return client.dropped() == 2 })
	select {
	case r := <-call:
		t.Fatalf("the call has ended: %v", r.err)
	default:
	}
	close(release)
	must(t, (<-call).err)
}

// What a user may not do is an error of its own, and ends no connection: other calls go through.
func TestRefusalOfTheBrokerDisturbsNoOtherCall(t *testing.T) {
	u := newUsers(t)
	_, began, release := hold(t, dial(t, u.orders, shop), "orders", 1)
	client := dial(t, u.web, shop)
	generation := client.await(t.Context(), nil)
	call := calling(t.Context(), client, request("orders"))
	<-began
	_, err := client.Calls().Call(t.Context(), request("billing"))
	wantError(t, err, backend.ErrPermissionDenied, backend.OutcomeNotSent)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = client.Calls().Serve(ctx, backend.Endpoint{Service: "orders", Instance: client.config.Instance, Concurrency: 1}, echo)
	if backend.CodeOf(err) != backend.ErrPermissionDenied {
		t.Errorf("serving: %v", err)
	}
	_, err = client.Transport().Hint(ctx, "convert", []string{"id"})
	if backend.CodeOf(err) != backend.ErrPermissionDenied {
		t.Errorf("a hint: %v", err)
	}
	if generation.hasEnded() {
		t.Errorf("the connection has ended: %v", generation.err)
	}
	close(release)
	must(t, (<-call).err)

	unable := documented(t, "orders") // to publish by a queue's name
	unable.Write = documented(t, "web").Write
	worker := dial(t, devstack.AMQPUser(t, u.admin, unable), shop)
	generation = worker.await(t.Context(), nil)
	_, err = worker.Transport().Hint(ctx, "convert", []string{"id"})
	wantError(t, err, backend.ErrPermissionDenied, backend.OutcomeNotSent)
	if generation.hasEnded() {
		t.Errorf("the worker's connection has ended: %v", generation.err)
	}
}

// Without exchanges, a user who may not create them is told so.
func TestMissingExchangeIsAnError(t *testing.T) {
	url := devstack.AMQPUser(t, devstack.AMQP(t), documented(t, "web"))
	_, err := Dial(t.Context(), config(t, url, func(c *Config) { c.Degraded = true }))
	wantError(t, err, backend.ErrPermissionDenied, backend.OutcomeNotSent)
	if err == nil || !strings.Contains(err.Error(), "exchange af.rpc doesn't exist") {
		t.Error(err)
	}
}
