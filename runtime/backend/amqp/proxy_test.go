package amqp

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// A proxy stands between some Conns and the broker, to cut theirs and nobody else's.
type proxy struct {
	url    string // through the proxy
	direct string

	mu    sync.Mutex
	conns []net.Conn
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
			p.mu.Unlock()
			for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
				wg.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					_ = way[0].Close()
				})
			}
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
