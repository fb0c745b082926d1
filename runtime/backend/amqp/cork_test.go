package amqp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/devstack"
)

// A writeConn records what is written, or fails.
type writeConn struct {
	net.Conn
	writes [][]byte
	err    error
}

func (c *writeConn) Write(b []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	c.writes = append(c.writes, bytes.Clone(b))
	return len(b), nil
}

func (c *writeConn) texts() (all []string) {
	for _, b := range c.writes {
		all = append(all, string(b))
	}
	return all
}

func write(t *testing.T, c *cork, s string) {
	t.Helper()
	if n, err := c.Write([]byte(s)); n != len(s) || err != nil {
		t.Fatalf("%d bytes of %d written: %v", n, len(s), err)
	}
}

func TestCorkHoldsWritesBackUntilRelease(t *testing.T) {
	conn := &writeConn{}
	c := newCork(conn)
	check := func(want ...string) {
		t.Helper()
		if got := conn.texts(); !slices.Equal(got, want) {
			t.Fatalf("%.100q is written; want %.100q", got, want)
		}
	}
	write(t, c, "a")
	check("a") // at once
	c.hold()
	write(t, c, "b")
	write(t, c, "c")
	check("a")
	c.hold() // by another caller
	write(t, c, "d")
	must(t, c.release())
	check("a", "bcd")
	write(t, c, "e")
	check("a", "bcd")
	must(t, c.release())
	check("a", "bcd", "e")
	write(t, c, "f")
	check("a", "bcd", "e", "f")
}

func TestCorkHoldsBackLimitedBytes(t *testing.T) {
	conn := &writeConn{}
	c := newCork(conn)
	half, huge := strings.Repeat("h", maxCorked/2), strings.Repeat("x", maxCorked+1)
	c.hold()
	write(t, c, half)
	write(t, c, half)
	write(t, c, "a")
	write(t, c, huge) // not copied
	write(t, c, "b")
	must(t, c.release())
	if got, want := conn.texts(), []string{half + half, "a", huge, "b"}; !slices.Equal(got, want) {
		t.Errorf("%d writes", len(got))
	}
}

func TestCorkLosesNoError(t *testing.T) {
	broken := errors.New("broken pipe")
	for name, fail := range map[string]func(c *cork) error{
		"direct":   func(c *cork) error { _, err := c.Write([]byte("a")); return err },
		"released": func(c *cork) error { c.hold(); write(t, c, "a"); return c.release() },
		"full": func(c *cork) error {
			c.hold()
			defer c.release()
			write(t, c, "a")
			_, err := c.Write(make([]byte, maxCorked))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn := &writeConn{err: broken}
			c := newCork(conn)
			if err := fail(c); !errors.Is(err, broken) {
				t.Fatalf("error: %v", err)
			}
			conn.err = nil // part of a frame may be missing, so nothing may follow
			if _, err := c.Write([]byte("b")); !errors.Is(err, broken) {
				t.Errorf("next write: %v", err)
			}
			c.hold()
			if err := c.release(); !errors.Is(err, broken) || len(conn.writes) > 0 {
				t.Errorf("next release: %v; %d writes", err, len(conn.writes))
			}
		})
	}
}

// A slowWriter blocks its first write until released, and counts writes.
type slowWriter struct {
	io.Writer
	began, release chan struct{}
	writes         int
}

func (c *slowWriter) Write(b []byte) (int, error) {
	if c.writes++; c.writes == 1 {
		close(c.began)
		<-c.release
	}
	return c.Writer.Write(b)
}

// Requests that are queued while a write is under way share the next write.
func TestQueuedMessagesShareWrites(t *testing.T) {
	url := devstack.AMQP(t)
	c := dial(t, url)
	serve(t, dial(t, url), "s", 64, echo)
	_, err := c.Calls().Call(t.Context(), newRequest("s"))
	must(t, err)
	g, e := c.usable()
	must(t, asNil(e))
	slow := &slowWriter{began: make(chan struct{}), release: make(chan struct{})}
	cork := g.publish.cork
	cork.mu.Lock()
	slow.Writer, cork.out = cork.out, slow
	cork.mu.Unlock()
	const n = publisherBatch
	var calls []chan result
	for range n {
		calls = append(calls, startCall(t.Context(), c, newRequest("s")))
	}
	<-slow.began
	eventually(t, "the other calls are queued", func() bool {
		c.calls.mu.Lock()
		defer c.calls.mu.Unlock()
		queued := len(g.requests.queue)
		for _, p := range c.calls.pending {
			if p.request.state.Load() == begun {
				queued++
			}
		}
		return queued == n
	})
	close(slow.release)
	for _, done := range calls {
		r := <-done
		must(t, r.err)
		must(t, asNil(r.reply.Err))
	}
	cork.mu.Lock()
	defer cork.mu.Unlock()
	if slow.writes > n/4 {
		t.Errorf("%d writes for %d requests", slow.writes, n)
	}
}
