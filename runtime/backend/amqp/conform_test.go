package amqp

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/runtime/backend"
)

func TestCallsConform(t *testing.T) {
	t.Run("one Conn", func(t *testing.T) {
		conform.Calls(t, func(t *testing.T) *backend.Ports {
			c := dial(t)
			return &backend.Ports{Calls: scopedCalls{c.Calls(), c.Calls(), newID()}}
		}, conform.Options{})
	})
	t.Run("two Conns", func(t *testing.T) {
		conform.Calls(t, func(t *testing.T) *backend.Ports {
			return &backend.Ports{Calls: scopedCalls{dial(t).Calls(), dial(t).Calls(), newID()}}
		}, conform.Options{})
	})
}

// across is a transport that hints and sends by one Conn, and listens and receives by another.
type across struct {
	backend.Transport // sends
	receives          backend.Transport
}

func TestTransportConforms(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"classic": func(*Config) {},
		"quorum":  func(c *Config) { c.Quorum = true },
	} {
		t.Run(name+", one Conn", func(t *testing.T) {
			conform.Transport(t, func(t *testing.T) *backend.Ports {
				return &backend.Ports{Transport: scope(t, dial(t, change).Transport())}
			}, conform.Options{})
		})
		t.Run(name+", two Conns", func(t *testing.T) {
			conform.Transport(t, func(t *testing.T) *backend.Ports {
				return &backend.Ports{Transport: scope(t, across{dial(t, change).Transport(), dial(t, change).Transport()})}
			}, conform.Options{})
		})
	}
}

func (a across) Listen(ctx context.Context, queue string, window int) (backend.Listener, error) {
	return a.receives.Listen(ctx, queue, window)
}

func (a across) Receive(ctx context.Context, queue string, fn func(context.Context, json.RawMessage) error) error {
	return a.receives.Receive(ctx, queue, fn)
}
