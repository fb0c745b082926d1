package testkit_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/testkit"
)

// echo starts an echo server, and returns a proxy in front of it.
func echo(t *testing.T, config testkit.ProxyConfig) *testkit.Proxy {
	t.Helper()
	return testkit.NewProxy(t, testkit.Serve(t, func(c net.Conn) { _, _ = io.Copy(c, c) }), config)
}

func dial(t *testing.T, p *testkit.Proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c
}

// answers sends a text, and reports whether it was echoed before the connection closed.
func answers(t *testing.T, c net.Conn, text string) bool {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		return false
	}
	got := make([]byte, len(text))
	_, err := io.ReadFull(c, got)
	return err == nil && string(got) == text
}

func TestProxyForwards(t *testing.T) {
	var mu sync.Mutex
	var sent [2]bytes.Buffer
	p := echo(t, testkit.ProxyConfig{Sent: func(conn int, data []byte) {
		mu.Lock()
		defer mu.Unlock()
		sent[conn].Write(data)
	}})
	a := dial(t, p)
	if !answers(t, a, "hello") {
		t.Error("no answer")
	}
	b := dial(t, p)
	if !answers(t, b, "second") || !answers(t, a, "again") {
		t.Error("no answer")
	}
	mu.Lock()
	defer mu.Unlock()
	if p.Accepted() != 2 || sent[0].String() != "helloagain" || sent[1].String() != "second" {
		t.Errorf("%d connections sent %q and %q", p.Accepted(), &sent[0], &sent[1])
	}
}

func TestProxyCutsAndRefuses(t *testing.T) {
	p := echo(t, testkit.ProxyConfig{})
	a := dial(t, p)
	if !answers(t, a, "a") {
		t.Error("no answer")
	}
	p.Cut()
	if answers(t, a, "a") {
		t.Error("a connection outlives Cut")
	}
	b := dial(t, p)
	if !answers(t, b, "b") {
		t.Error("no answer after Cut")
	}
	p.Refuse()
	if answers(t, b, "b") || answers(t, dial(t, p), "c") {
		t.Error("a connection outlives Refuse")
	}
}

// Data sent while data is dropped never arrives, on any connection.
func TestProxyDrops(t *testing.T) {
	p := echo(t, testkit.ProxyConfig{})
	a := dial(t, p)
	if !answers(t, a, "a") {
		t.Error("no answer")
	}
	p.Drop(true)
	b := dial(t, p)
	<-p.Dropped()
	p.Drop(false)
	if !answers(t, a, "a") { // it has sent nothing meanwhile
		t.Error("no answer after Drop ended")
	}
	if !answers(t, dial(t, p), "c") {
		t.Error("no answer to a new connection")
	}
	if err := b.SetDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if answers(t, b, "b") {
		t.Error("a connection opened while data was dropped is answered")
	}
}

func TestLinkBlocksAndDelays(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var l testkit.Link
		passed := func(d testkit.Direction) time.Duration {
			begun := time.Now()
			l.Pass(d)
			return time.Since(begun)
		}
		l.Block(testkit.Requests)
		time.AfterFunc(time.Hour, l.Restore)
		if d := passed(testkit.Replies); d != 0 {
			t.Errorf("a reply passed after %v", d)
		}
		if d := passed(testkit.Requests); d != time.Hour {
			t.Errorf("a blocked request passed after %v", d)
		}
		l.Delay(time.Second)
		if d := passed(testkit.Requests); d != time.Second {
			t.Errorf("a delayed request passed after %v", d)
		}
		l.Restore()
		if d := passed(testkit.Requests); d != 0 {
			t.Errorf("a request passed after %v", d)
		}
	})
}
