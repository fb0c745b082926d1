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
	maxHellos  = 64                     // connections whose peer is not known yet
	maxLinks   = 4                      // connections with one peer; two when both sides dial at once
	acceptRest = 100 * time.Millisecond // after an error of Accept, such as too many open files
)

// A dial is a connection being made. err holds once done is closed.
type dial struct {
	done chan struct{}
	err  error
}

// Connect makes sure that there is a connection with the Mesh at a: it returns nil when there is one already, and else
// when the two have said hello. Many may ask for the same at once. An attempt ends by itself after 10 s; when ctx ends
// before, Connect returns and the attempt goes on for those who ask next.
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
		return backend.Errorf(backend.CodeOf(ctx.Err()), "connecting to instance %s: %w", a, context.Cause(ctx)).With(backend.OutcomeNotSent)
	}
}

// dial connects, and runs the connection until it ends.
func (m *Mesh) dial(d *dial, a Address) {
	l, err := m.reach(a)
	if err == nil && !m.add(l) {
		hangUp(l.conn)
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

func (m *Mesh) reach(a Address) (*link, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: helloTime}
	conn, err := dialer.DialContext(m.ctx, a.Network, a.Addr)
	if err != nil {
		return nil, err
	}
	l, err := m.greet(m.ctx, conn, a)
	if err != nil {
		hangUp(conn)
	}
	return l, err
}

// accept links every peer that connects and sends the right hello. The number of connections that have not sent one is bounded: one
// more closes the oldest, so that silent connections keep no peer out.
func (m *Mesh) accept() {
	var hellos hellos
	for {
		conn, err := m.listener.Accept()
		if err != nil {
			if m.ctx.Err() != nil {
				return
			}
			m.log.Warn("accepting a connection failed; trying again", "error", err)
			select {
			case <-time.After(acceptRest):
			case <-m.ctx.Done():
			}
			continue
		}
		hellos.begin(conn)
		m.wg.Go(func() {
			l, err := m.welcome(m.ctx, conn)
			hellos.end(conn)
			if err != nil {
				m.log.Debug("a connection was turned away", "error", err)
			}
			if err != nil || !m.add(l) {
				hangUp(conn)
				return
			}
			l.run()
		})
	}
}

// hellos are the connections whose peer is not known yet, the oldest first.
type hellos struct {
	mu    sync.Mutex
	conns []net.Conn
}

// begin adds a connection. If there are too many it ends the oldest.
func (h *hellos) begin(conn net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.conns) >= maxHellos {
		hangUp(h.conns[0])
		h.conns = slices.Delete(h.conns, 0, 1)
	}
	h.conns = append(h.conns, conn)
}

func (h *hellos) end(conn net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns = slices.DeleteFunc(h.conns, func(c net.Conn) bool { return c == conn })
}

// add makes a link known to those who look for one. False means that there must be no more.
func (m *Mesh) add(l *link) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || len(m.links[l.peer]) >= maxLinks {
		return false
	}
	m.links[l.peer] = append(m.links[l.peer], l)
	return true
}

// remove takes a link out again and reports whether another one with the same peer is left.
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

// link returns the connection with a peer that is in use; nil where there is none. When both sides have dialed at once
// there are two, and the older one is used.
func (m *Mesh) link(peer string) *link {
	m.mu.Lock()
	defer m.mu.Unlock()
	if links := m.links[peer]; len(links) > 0 {
		return links[0]
	}
	return nil
}

// Connected returns the ids of the peers with which there is a connection, sorted.
func (m *Mesh) Connected() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.links))
}
