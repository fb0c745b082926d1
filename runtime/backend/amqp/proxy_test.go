package amqp

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/afgen/afgen/internal/devstack"
)

// A proxy stands between some Conns and the broker, to cut theirs and nobody else's.
type proxy struct {
	url    string // through the proxy
	direct string

	mu    sync.Mutex
	conns []net.Conn
	sent  []*record // to the broker, by connection
}

// A record keeps what is written to it. Its proxy's mu guards it.
type record struct {
	proxy *proxy
	bytes.Buffer
}

func (r *record) Write(b []byte) (int, error) {
	r.proxy.mu.Lock()
	defer r.proxy.mu.Unlock()
	return r.Buffer.Write(b)
}

func newProxy(t *testing.T, to string) *proxy {
	u, err := url.Parse(to)
	must(t, err)
	host := u.Host
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	u.Host = l.Addr().String()
	p := &proxy{url: u.String(), direct: to}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", host)
			if err != nil {
				_ = in.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, in, out)
			sent := &record{proxy: p}
			p.sent = append(p.sent, sent)
			p.mu.Unlock()
			wg.Go(func() {
				_, _ = io.Copy(io.MultiWriter(out, sent), in)
				_ = out.Close()
			})
			wg.Go(func() {
				_, _ = io.Copy(in, out)
				_ = in.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		wg.Wait()
	})
	return p
}

// cut ends every connection through the proxy.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// Calls share the connections that a Conn has opened.
func TestCallsOpenNoConnections(t *testing.T) {
	p := newProxy(t, devstack.AMQP(t))
	c := dial(t, p.url)
	serve(t, c, "s", 4, echo)
	opened := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.sent)
	}
	call := func() {
		_, err := c.Calls().Call(t.Context(), request("s"))
		must(t, err)
	}
	call()
	before := opened()
	for range 50 {
		call()
	}
	if n := opened(); n != before || n == 0 {
		t.Errorf("%d connections after 50 calls, %d before", n, before)
	}
}
