package amqp

import (
	"io"
	"net"
	"sync"
)

// maxCorked is how many bytes a cork holds back. More are written at once.
const maxCorked = 64 << 10

// A cork is a connection whose writes can be held back, so that several messages take one write to the socket. The
// library writes each message on its own. While no caller holds the cork, writes go through directly, so a single
// message is never delayed. An error of a write is returned by it or, if the data was held back, by the release that
// writes it, and by all writes and releases after that.
//
// A cork wraps the outermost connection: with TLS, messages that are held back also share records.
type cork struct {
	net.Conn

	mu      sync.Mutex
	out     io.Writer // the connection
	holders int
	buffer  []byte // held back
	err     error  // of the first write that failed
}

func newCork(c net.Conn) *cork { return &cork{Conn: c, out: c} }

// hold holds back writes, including those of other callers, until release. The caller must release soon.
func (c *cork) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holders++
}

// release writes what was held back, also if other callers still hold the cork.
func (c *cork) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holders--
	return c.flush()
}

// Write implements net.Conn.
func (c *cork) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.buffer)+len(b) > maxCorked {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	if c.holders > 0 && len(b) <= maxCorked && c.err == nil {
		c.buffer = append(c.buffer, b...)
		return len(b), nil
	}
	if err := c.flush(); err != nil { // keeps the order
		return 0, err
	}
	n, err := c.out.Write(b)
	c.err = err
	return n, err
}

// flush writes the buffer. The caller holds mu.
func (c *cork) flush() error {
	if c.err == nil && len(c.buffer) > 0 {
		_, c.err = c.out.Write(c.buffer)
		c.buffer = c.buffer[:0]
	}
	return c.err
}
