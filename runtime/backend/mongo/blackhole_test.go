package mongo_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
)

// A blackhole is a network between a client and a server. While it is closed nothing passes, and what was connected by then is
// never heard of again.
type blackhole struct {
	server string
	mu     sync.Mutex
	closed bool
	conns  []net.Conn

	begun chan struct{} // has an element for each connection that was begun while it was closed
}

func (b *blackhole) carry(l net.Listener, open *sync.WaitGroup) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.conns = append(b.conns, client)
		dead := b.closed
		b.mu.Unlock()
		if dead {
			select {
			case b.begun <- struct{}{}:
			default: // enough have begun
			}
			continue
		}
		server, err := net.Dial("tcp", b.server)
		if err != nil {
			continue
		}
		b.mu.Lock()
		b.conns = append(b.conns, server)
		b.mu.Unlock()
		var lost sync.Once
		gone := make(chan struct{})
		for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
			open.Go(func() {
				buf := make([]byte, 32<<10)
				for {
					n, err := way[0].Read(buf)
					if err != nil {
						if err != io.EOF {
							return
						}
						_ = way[1].Close()
						return
					}
					b.mu.Lock()
					if b.closed {
						lost.Do(func() { close(gone) })
					}
					b.mu.Unlock()
					select {
					case <-gone:
					default:
						if _, err := way[1].Write(buf[:n]); err != nil {
							return
						}
					}
				}
			})
		}
	}
}

func (b *blackhole) set(closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = closed
}

// A server that comes back is found within seconds, though connections that were begun before hang.
func TestServerIsFoundSoonAfterANetworkCut(t *testing.T) {
	testkit.Long(t, "waits for time-outs")
	uri := devstack.Mongo(t)
	host, rest, _ := strings.Cut(strings.TrimPrefix(uri, "mongodb://"), "/")
	if strings.ContainsAny(host, ",@") {
		t.Skip("NOT TESTED: only a single server without a password can be cut off")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &blackhole{server: host, begun: make(chan struct{}, 2)}
	var open sync.WaitGroup
	open.Go(func() { b.carry(l, &open) })
	t.Cleanup(func() {
		_ = l.Close()
		b.mu.Lock()
		for _, c := range b.conns {
			_ = c.Close()
		}
		b.mu.Unlock()
		open.Wait()
	})
	base, query, _ := strings.Cut(rest, "?")
	c := join(t, "mongodb://"+l.Addr().String()+"/"+base+"?"+strings.TrimPrefix(query+"&directConnection=true", "&"))
	wait := func(away bool) time.Duration {
		begun := time.Now()
		deadline := time.After(30 * time.Second)
		for {
			changed, err := c.State()
			if (err != nil) == away {
				return time.Since(begun)
			}
			select {
			case <-changed:
			case <-deadline:
				t.Fatalf("away %v: %v", away, err)
			}
		}
	}
	must(t, c.Ping(t.Context()))
	b.set(true)
	wait(true)
	for range cap(b.begun) { // connections that hang when the network is back
		<-b.begun
	}
	b.set(false)
	if took := wait(false); took > 9*time.Second {
		t.Errorf("found after %v", took)
	}
}
