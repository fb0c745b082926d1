//go:build unix

package servers_test

import (
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

// A way is one direction between processes and a server.
type way int

const (
	requests way = iota
	replies
)

// faults are what is wrong with the way between processes and a server.
type faults struct {
	mu    sync.Mutex
	shut  [2]chan struct{} // by way; nil while it is open, closed when it opens again
	delay time.Duration    // of everything, each way
}

// cut lets nothing through one way: what is sent waits, and arrives, perhaps too late for whoever has sent it, once the way
// is open again.
func (f *faults) cut(w way) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shut[w] == nil {
		f.shut[w] = make(chan struct{})
	}
}

// slow delays everything.
func (f *faults) slow(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay = d
}

// mend ends all faults.
func (f *faults) mend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w, c := range f.shut {
		if c != nil {
			close(c)
		}
		f.shut[w] = nil
	}
	f.delay = 0
}

// pass waits until something may pass.
func (f *faults) pass(w way) {
	f.mu.Lock()
	shut, delay := f.shut[w], f.delay
	f.mu.Unlock()
	if delay > 0 {
		time.Sleep(delay)
	}
	if shut != nil {
		<-shut
	}
}

// A wire carries the bytes of connections to a server.
type wire struct {
	faults
	url string // through it

	mu    sync.Mutex
	conns []net.Conn
	over  bool
}

// newWire returns a wire before the server of a URI.
func newWire(t testing.TB, uri string) *wire {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	server := u.Host
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.Host = l.Addr().String()
	w := &wire{url: u.String()}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", server)
			if err != nil || !w.add(in, out) {
				_ = in.Close()
				continue
			}
			open.Go(func() { w.carry(requests, in, out) })
			open.Go(func() { w.carry(replies, out, in) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		w.mend()
		w.close()
		open.Wait()
	})
	return w
}

// close closes all connections, at both ends, and every new one.
func (w *wire) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	for _, c := range w.conns {
		_ = c.Close() // it may be closed
	}
}

func (w *wire) add(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, conns...)
	return !w.over
}

func (w *wire) carry(which way, from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		w.pass(which)
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
