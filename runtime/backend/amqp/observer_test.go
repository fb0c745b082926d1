package amqp

import (
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
)

func observe(c *Config) { c.Observer, c.Database = true, "shop" }

// exists reports whether an exchange exists.
func exists(t *testing.T, url, exchange string) bool {
	t.Helper()
	err := bare(t, url).ExchangeDeclarePassive(exchange, amqp091.ExchangeTopic, true, false, false, false, nil)
	if err != nil && !isCode(err, amqp091.NotFound) {
		t.Fatal(err)
	}
	return err == nil
}

// An observer needs no permission to configure, also in a virtual host in which no program has run. It creates nothing.
func TestObserverDeclaresNothing(t *testing.T) {
	admin := devstack.AMQP(t)
	reader := devstack.AMQPUser(t, admin, devstack.Grant{Configure: "^$", Write: "^$", Read: "^$"})
	observer := dial(t, reader, observe)
	if n, err := observer.Transport().Depth(t.Context(), "convert"); n != 0 || err != nil {
		t.Errorf("depth %d, %v", n, err)
	}
	_, err := observer.Calls().Call(t.Context(), newRequest("orders"))
	wantError(t, err, backend.ErrPermissionDenied, backend.OutcomeNotSent)
	if exists(t, admin, exchangeCalls) || exists(t, admin, exchangeControl) {
		t.Error("the observer has declared an exchange")
	}
	worker := dial(t, admin, shop)
	listener, err := worker.Transport().Listen(t.Context(), "convert", 1)
	must(t, err)
	defer listener.Close()
	_, err = observer.Calls().Call(t.Context(), newRequest("orders"))
	wantError(t, err, backend.ErrPermissionDenied, backend.OutcomeNotSent)
	if observer.Err() != nil {
		t.Errorf("the observer's connection: %v", observer.Err())
	}
}

// An observer that may call gets its queue for control messages with the first call. One that may publish hints needs
// no permission to declare their queue if a worker has declared it.
func TestObserverDeclaresWhatItNeeds(t *testing.T) {
	u := newUsers(t)
	server := dial(t, u.orders, shop)
	_, began, release := serveBlocking(t, server, "orders", 1)
	caller := dial(t, u.web, observe)
	g, e := caller.usable()
	if e != nil {
		t.Fatal(e)
	}
	if g.hasControl() {
		t.Error("it has a queue for control messages before its first call")
	}
	call := startCall(t.Context(), caller, newRequest("orders"))
	<-began
	close(release)
	must(t, (<-call).err)
	if !g.hasControl() {
		t.Error("it has no queue for control messages after its first call")
	}
	listener, err := server.Transport().Listen(t.Context(), "convert", 1)
	must(t, err)
	defer listener.Close()
	for name, change := range map[string]func(*Config){"observer": observe} {
		user := devstack.AMQPUser(t, u.admin, devstack.Grant{Configure: "^$", Write: `^amq\.default$`, Read: "^$"})
		taken, err := dial(t, user, change).Transport().Hint(t.Context(), "convert", []string{name})
		if err != nil || !taken[0] {
			t.Errorf("%s: hint: %v %v", name, taken, err)
		}
		hints, err := listener.Next(t.Context(), 1)
		must(t, err)
		hints[0].Done()
	}
}
