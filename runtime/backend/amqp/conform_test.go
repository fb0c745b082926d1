package amqp

import (
	"context"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
)

// between implements backend.Calls with one Conn that calls and another that serves.
type between struct{ client, server backend.Calls }

func (b between) Call(ctx context.Context, req *backend.Request) (*backend.Reply, error) {
	return b.client.Call(ctx, req)
}

func (b between) Serve(ctx context.Context, e backend.Endpoint, h backend.Handler) (backend.Serving, error) {
	return b.server.Serve(ctx, e, h)
}

func TestCallsConform(t *testing.T) {
	t.Run("one_conn", func(t *testing.T) {
		conform.Calls(t, func(t *testing.T) *backend.Ports {
			return &backend.Ports{Calls: dial(t, devstack.AMQP(t)).Calls()}
		}, conform.Options{})
	})
	t.Run("two_conns", func(t *testing.T) {
		conform.Calls(t, func(t *testing.T) *backend.Ports {
			url := devstack.AMQP(t)
			return &backend.Ports{Calls: between{dial(t, url).Calls(), dial(t, url).Calls()}}
		}, conform.Options{})
	})
}

// named is a transport that prefixes its queues, since tests may share a virtual host.
type named struct {
	backend.Transport
	prefix string
}

func (n named) Hint(ctx context.Context, queue string, ids []string) ([]bool, error) {
	return n.Transport.Hint(ctx, n.prefix+queue, ids)
}

func (n named) Listen(ctx context.Context, queue string, window int) (backend.Listener, error) {
	return n.Transport.Listen(ctx, n.prefix+queue, window)
}

func (n named) Depth(ctx context.Context, queue string) (int, error) {
	return n.Transport.Depth(ctx, n.prefix+queue)
}

func (n named) Send(ctx context.Context, queue string, m backend.Message) error {
	return n.Transport.Send(ctx, n.prefix+queue, m)
}

func (n named) Receive(
	ctx context.Context, queue string, fn func(context.Context, *backend.Message) backend.Handled,
) error {
	return n.Transport.Receive(ctx, n.prefix+queue, func(ctx context.Context, m *backend.Message) backend.Handled {
		if m.Dead != nil {
			m.Dead.Queue = strings.TrimPrefix(m.Dead.Queue, n.prefix)
		}
		return fn(ctx, m)
	})
}

// across is a transport that sends with one Conn and receives with another.
type across struct {
	backend.Transport // sends
	receives          backend.Transport
}

func TestTransportConforms(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"classic": func(*Config) {},
		"quorum":  func(c *Config) { c.Quorum = true },
	} {
		t.Run(name+"_one_conn", func(t *testing.T) {
			conform.Transport(t, func(t *testing.T) *backend.Ports {
				return &backend.Ports{Transport: named{dial(t, devstack.AMQP(t), change).Transport(), devstack.Name(t)}}
			}, conform.Options{})
		})
		t.Run(name+"_two_conns", func(t *testing.T) {
			conform.Transport(t, func(t *testing.T) *backend.Ports {
				url := devstack.AMQP(t)
				both := across{dial(t, url, change).Transport(), dial(t, url, change).Transport()}
				return &backend.Ports{Transport: named{both, devstack.Name(t)}}
			}, conform.Options{})
		})
	}
}

func (a across) Listen(ctx context.Context, queue string, window int) (backend.Listener, error) {
	return a.receives.Listen(ctx, queue, window)
}

func (a across) Receive(
	ctx context.Context, queue string, fn func(context.Context, *backend.Message) backend.Handled,
) error {
	return a.receives.Receive(ctx, queue, fn)
}
