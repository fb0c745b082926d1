package amqp

import (
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
)

// Deleted exchanges and bindings are detected without traffic and recreated, and State reports them meanwhile.
func TestDeletedExchangesAndBindingsAreRepaired(t *testing.T) {
	url := devstack.AMQP(t)
	l := newFixture(t, url, func(c *Config) { c.rebindEvery = 100 * time.Millisecond })
	defer close(l.release)
	l.works()
	admin := bare(t, url)
	for name, del := range map[string]func(g *generation) error{
		"calls":   func(*generation) error { return admin.ExchangeDelete(exchangeCalls, false, false) },
		"control": func(*generation) error { return admin.ExchangeDelete(exchangeControl, false, false) },
		"presence": func(g *generation) error {
			_, err := onChannel(t.Context(), g.declarer, func(ch *amqp091.Channel) (none struct{}, err error) {
				return none, ch.QueueUnbind(g.control, hereKey+l.server.config.Instance.ID, exchangeControl, nil)
			})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := l.server.awaitGeneration(t.Context(), nil)
			_, lost := l.server.Transport().State()
			must(t, del(g))
			// Another program declares them again at once, so that only the bindings are missing.
			must(t, admin.ExchangeDeclare(exchangeCalls, amqp091.ExchangeDirect, true, false, false, false, nil))
			must(t, admin.ExchangeDeclare(exchangeControl, amqp091.ExchangeTopic, true, false, false, false, nil))
			select {
			case <-lost:
			case <-time.After(10 * time.Second):
				t.Fatal("State doesn't report it")
			}
			<-g.lost
			if !strings.Contains(g.err.Error(), "deleted") {
				t.Errorf("ended with %v", g.err)
			}
			l.within(t).works()
		})
	}
	t.Run("service", func(t *testing.T) {
		must(t, admin.QueueUnbind(prefixCalls+"echo", "echo", exchangeCalls, nil))
		l.within(t).works()
	})
}

// Dial and Serve behave the same however soon the broker announces that it blocks publishers.
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
			t.Error("up while the broker blocks publishers")
		}
		serve(t, c, "echo", 1, echo)
		conns = append(conns, c)
	}
	must(t, s.Ctl("set_vm_memory_high_watermark", "0.4"))
	for _, c := range conns {
		eventually(t, "the service works", func() bool {
			_, err := c.Calls().Call(t.Context(), newRequest("echo"))
			return err == nil && c.Err() == nil
		})
	}
}
