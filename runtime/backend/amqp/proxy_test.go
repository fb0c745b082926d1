package amqp

import (
	"bytes"
	"sync"
	"testing"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
)

// A proxy records what clients send to the broker.
type proxy struct {
	*testkit.Proxy
	url    string // through the proxy
	direct string

	mu   sync.Mutex
	sent map[int]*bytes.Buffer // to the broker, by connection
}

func newProxy(t *testing.T, to string) *proxy {
	p := &proxy{direct: to, sent: map[int]*bytes.Buffer{}}
	p.Proxy, p.url = testkit.NewProxyURI(t, to, testkit.ProxyConfig{Sent: func(conn int, data []byte) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.sent[conn] == nil {
			p.sent[conn] = &bytes.Buffer{}
		}
		p.sent[conn].Write(data)
	}})
	return p
}

// Calls share the Conn's connections.
func TestCallsOpenNoConnections(t *testing.T) {
	p := newProxy(t, devstack.AMQP(t))
	c := dial(t, p.url)
	serve(t, c, "s", 4, echo)
	call := func() {
		_, err := c.Calls().Call(t.Context(), newRequest("s"))
		must(t, err)
	}
	call()
	before := p.Accepted()
	for range 50 {
		call()
	}
	if n := p.Accepted(); n != before || n == 0 {
		t.Errorf("%d connections after 50 calls, %d before", n, before)
	}
}
