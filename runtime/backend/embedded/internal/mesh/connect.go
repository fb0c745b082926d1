package mesh

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	maxHellos   = 64                     // connections that are not authenticated yet
	maxLinks    = 4                      // connections with one peer; there are two if both sides dial at once
	acceptPause = 100 * time.Millisecond // after an error of Accept, such as too many open files
)

// A dial is a connection attempt. err is valid once done is closed.
type dial struct {
	done chan struct{}
	err  error
}

// Connect connects to the Mesh at a. It returns nil if they are already connected, or once both sides have
// authenticated. Concurrent calls share one attempt. An attempt ends after 10 s at most; if ctx ends before, Connect
// returns and the attempt continues for later callers.
func (m *Mesh) Connect(ctx context.Context, a Address) error {
	m.mu.Lock()
	if len(m.links[a.ID]) > 0 || a.ID == m.address.ID {
		m.mu.Unlock()
		return nil
	}
	d := m.dials[a.ID]
	if d == nil && !m.closed {
		d = &dial{done: make(chan struct{})}
		m.dials[a.ID] = d
		m.wg.Go(func() { m.dial(d, a) })
	}
	m.mu.Unlock()
	if d == nil {
		return errClosed()
	}
	select {
	case <-d.done:
		if d.err != nil {
			return backend.Errorf(backend.ErrUnavailable, "connecting to instance %s: %w", a, d.err).With(backend.OutcomeNotSent)
		}
		return nil
	case <-ctx.Done():
		return backend.Errorf(backend.CodeOf(ctx.Err()), "connecting to instance %s: %w", a, context.Cause(ctx)).
			With(backend.OutcomeNotSent)
	}
}

// dial connects, and runs the connection until it ends.
func (m *Mesh) dial(d *dial, a Address) {
	l, err := m.dialPeer(a)
	if err == nil && !m.add(l) {
		closeConn(l.conn)
		err = errClosed()
	}
	m.mu.Lock()
	delete(m.dials, a.ID)
	m.mu.Unlock()
	d.err = err
	close(d.done)
	if err == nil {
		l.run()
	}
}

func (m *Mesh) dialPeer(a Address) (*link, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: helloTimeout}
	conn, err := dialer.DialContext(m.ctx, a.Network, a.Addr)
	if err != nil {
		return nil, err
	}
	l, err := m.clientHello(m.ctx, conn, a)
	if err != nil {
		closeConn(conn)
	}
	return l, err
}

// accept adds a link for each peer that connects and sends a valid hello. The number of unauthenticated connections is
// bounded: when there are too many the oldest is closed, so silent connections can't block peers.
func (m *Mesh) accept() {
	var hellos hellos
	for {
		conn, err := m.listener.Accept()
		if err != nil {
			if m.ctx.Err() != nil {
				return
			}
			m.log.Warn("cannot accept connection, retrying", "error", err)
			select {
			case <-time.After(acceptPause):
			case <-m.ctx.Done():
			}
			continue
		}
		hellos.add(conn)
		m.wg.Go(func() {
			l, err := m.serverHello(m.ctx, conn)
			hellos.remove(conn)
			if err != nil {
				m.log.Debug("rejected connection", "error", err)
			}
			if err != nil || !m.add(l) {
				closeConn(conn)
				return
			}
			l.run()
		})
	}
}

// hellos holds the connections that are not authenticated yet, oldest first.
type hellos struct {
	mu    sync.Mutex
	conns []net.Conn
}

// add adds a connection. If there are too many, it closes the oldest.
func (h *hellos) add(conn net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.conns) >= maxHellos {
		closeConn(h.conns[0])
		h.conns = slices.Delete(h.conns, 0, 1)
	}
	h.conns = append(h.conns, conn)
}

func (h *hellos) remove(conn net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns = slices.DeleteFunc(h.conns, func(c net.Conn) bool { return c == conn })
}

// add adds a link. It returns false if the Mesh is closed or has too many links with the peer.
func (m *Mesh) add(l *link) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || len(m.links[l.peer]) >= maxLinks {
		return false
	}
	m.links[l.peer] = append(m.links[l.peer], l)
	return true
}

// remove removes a link and reports whether another one with the same peer remains.
func (m *Mesh) remove(l *link) (others bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(m.links[l.peer]), func(other *link) bool { return other == l })
	if len(left) == 0 {
		delete(m.links, l.peer)
		return false
	}
	m.links[l.peer] = left
	return true
}

// link returns the link with a peer, or nil. If both sides have dialed at once there are two, and the older one is
// used.
func (m *Mesh) link(peer string) *link {
	m.mu.Lock()
	defer m.mu.Unlock()
	if links := m.links[peer]; len(links) > 0 {
		return links[0]
	}
	return nil
}

// Connected returns the ids of the connected peers, sorted.
func (m *Mesh) Connected() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.links))
}
