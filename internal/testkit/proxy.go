package testkit

import (
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// A Proxy accepts TCP connections and forwards each to a server. With it a test breaks the network between its own
// clients and a shared server: with the [Link], or by closing connections. The proxy ends with its test.
type Proxy struct {
	Link
	Addr string // host and port of its listener

	server string
	config ProxyConfig

	mu       sync.Mutex
	conns    map[net.Conn]struct{} // open ones, of both sides
	accepted int
	refusing bool
	dropping bool
	dropped  chan struct{}
}

// A ProxyConfig configures a Proxy.
type ProxyConfig struct {
	// Listener accepts clients. The default is a free port of the loopback interface.
	Listener net.Listener
	// Carry forwards one connection until either side ends. The default copies bytes in both directions.
	Carry func(client, server net.Conn)
	// Sent receives a copy of the bytes sent by clients, with the number of the connection, from 0. Several goroutines
	// call it. It can't be combined with Carry.
	Sent func(conn int, data []byte)
}

// NewProxy starts a proxy in front of a server, given as host:port.
func NewProxy(t testing.TB, server string, config ProxyConfig) *Proxy {
	t.Helper()
	l := config.Listener
	if l == nil {
		l = listen(t)
	}
	p := &Proxy{
		Addr: l.Addr().String(), server: server, config: config,
		conns: map[net.Conn]struct{}{}, dropped: make(chan struct{}, 1000),
	}
	serve(t, l, p.serve)
	t.Cleanup(func() {
		p.Restore()
		p.Refuse()
	})
	return p
}

// Serve starts a server on a free loopback port and returns its host:port. It calls handle for each connection, and
// closes the connection when handle returns. The server ends with the test, once all calls have returned.
func Serve(t testing.TB, handle func(net.Conn)) (addr string) {
	t.Helper()
	l := listen(t)
	serve(t, l, handle)
	return l.Addr().String()
}

// FreeAddr returns a loopback host:port without a listener.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l := listen(t)
	defer l.Close()
	return l.Addr().String()
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func serve(t testing.TB, l net.Listener, handle func(net.Conn)) {
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // the test has ended
			}
			open.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		open.Wait()
	})
}

// NewProxyURI starts a proxy in front of the server of a URI, and returns the URI through the proxy.
func NewProxyURI(t testing.TB, uri string, config ProxyConfig) (p *Proxy, through string) {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	p = NewProxy(t, u.Host, config)
	u.Host = p.Addr
	return p, u.String()
}

// Accepted returns how many connections clients have opened.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Connections returns how many connections to the server are open.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns) / 2
}

// Cut closes all connections. Clients can connect again.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close() // it may be closed
	}
}

// Refuse closes all connections, and from now on each new one.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	p.refusing = true
	p.mu.Unlock()
	p.Cut()
}

// Drop makes the network lose all data without closing connections, or ends that. A connection that has lost data, or
// that was opened meanwhile, stays silent.
func (p *Proxy) Drop(drop bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropping = drop
}

// Dropped receives a value for each connection opened while data is dropped.
func (p *Proxy) Dropped() <-chan struct{} { return p.dropped }

func (p *Proxy) isDropping() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dropping
}

func (p *Proxy) serve(client net.Conn) {
	defer p.close(client)
	number, ok := p.accept(client)
	if !ok {
		return
	}
	if p.isDropping() {
		select {
		case p.dropped <- struct{}{}:
		default: // the test does not count them
		}
		_, _ = io.Copy(io.Discard, client)
		return
	}
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return // the client sees its connection close
	}
	defer p.close(server)
	if !p.open(server) {
		return
	}
	if p.config.Carry != nil {
		p.config.Carry(client, server)
		return
	}
	var lost atomic.Bool // data of this connection
	var both sync.WaitGroup
	both.Go(func() {
		p.copy(Requests, client, server, &lost, func(data []byte) {
			if p.config.Sent != nil {
				p.config.Sent(number, data)
			}
		})
	})
	both.Go(func() { p.copy(Replies, server, client, &lost, func([]byte) {}) })
	both.Wait()
}

// copy copies bytes until either side closes, and closes both.
func (p *Proxy) copy(d Direction, from, to net.Conn, lost *atomic.Bool, sent func([]byte)) {
	defer from.Close()
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if p.isDropping() {
			lost.Store(true)
		}
		if lost.Load() {
			continue
		}
		p.Pass(d)
		sent(buffer[:n])
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// accept counts a client's connection and returns its number. ok is false if the proxy refuses connections.
func (p *Proxy) accept(client net.Conn) (number int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accepted++
	p.conns[client] = struct{}{}
	return p.accepted - 1, !p.refusing
}

func (p *Proxy) open(server net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[server] = struct{}{}
	return !p.refusing
}

func (p *Proxy) close(c net.Conn) {
	_ = c.Close() // it may be closed
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}
