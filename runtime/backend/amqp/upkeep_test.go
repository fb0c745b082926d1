package amqp

import (
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
)

// Deleted exchanges and bindings are found without traffic and made anew, and State reports them meanwhile.
func TestDeletedExchangesAndBindingsHeal(t *testing.T) {
	url := devstack.AMQP(t)
	l := live(t, url, func(c *Config) { c.rebindEvery = 100 * time.Millisecond })
	defer close(l.release)
	l.works()
	admin := bare(t, url)
	for name, del := range map[string]func(g *generation) error{
		"calls":   func(*generation) error { return admin.ExchangeDelete(exchangeCalls, false, false) },
		"control": func(*generation) error { return admin.ExchangeDelete(exchangeControl, false, false) },
		"presence": func(g *generation) error {
			_, err := ask(t.Context(), g.clerk, func(ch *amqp091.Channel) (none struct{}, err error) {
				return none, ch.QueueUnbind(g.control, hereKey+l.server.config.Instance.ID, exchangeControl, nil)
			})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := l.server.await(t.Context(), nil)
			_, lost := l.server.Transport().State()
			must(t, del(g))
			// Another program declares it at once, so that nothing is missing but the bindings.
			must(t, admin.ExchangeDeclare(exchangeCalls, amqp091.ExchangeDirect, true, false, false, false, nil))
			must(t, admin.ExchangeDeclare(exchangeControl, amqp091.ExchangeTopic, true, false, false, false, nil))
			select {
			case <-lost:
			case <-time.After(10 * time.Second):
				t.Fatal("State doesn't report it")
			}
			<-g.lost
			if !strings.Contains(g.err.Error(), "deleted") {
				t.Errorf("it ended by %v", g.err)
			}
			l.of(t).works()
		})
	}
	t.Run("service", func(t *testing.T) {
		must(t, admin.QueueUnbind(prefixCalls+"echo", "echo", exchangeCalls, nil))
		l.of(t).works()
	})
}

// Opening and serving end in the same way however soon the broker tells that it takes no messages.
func TestStartingUnderMemoryAlarm(t *testing.T) {
	s := devstack.Start(t, devstack.RabbitMQ)
	must(t, s.Ctl("set_vm_memory_high_watermark", "0.0001"))
	for range 10 {
		_, err := Dial(t.Context(), config(t, s.URI))
		wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
	}
	var conns []*Conn
	for range 5 {
		c := dial(t, s.URI, func(c *Config) { c.Degraded = true })
		if up, _ := c.Transport().State(); up || c.Err() == nil {
			t.Error("up while the broker takes nothing")
		}
		serve(t, c, "echo", 1, echo)
		conns = append(conns, c)
	}
	must(t, s.Ctl("set_vm_memory_high_watermark", "0.4"))
	for _, c := range conns {
		eventually(t, "it serves", func() bool {
			_, err := c.Calls().Call(t.Context(), request("echo"))
			return err == nil && c.Err() == nil
		})
	}
}
