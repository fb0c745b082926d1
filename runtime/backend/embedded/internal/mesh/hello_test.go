package mesh

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// bytesOf returns the bytes of a frame.
func bytesOf(t testing.TB, h *header, body []byte) []byte {
	t.Helper()
	head, err := encode(h, body)
	if err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}

func TestWrongHelloGetsNoAnswer(t *testing.T) {
	for _, loopback := range []bool{false, true} {
		m := start(t, Options{ID: "m", Loopback: loopback})
		a := m.Address()
		first, second := splitToken(a.Token)
		served := make(chan struct{}, 10)
		serve(m, 1, func(_ context.Context, _ *backend.Request, reply func(*backend.Reply)) {
			served <- struct{}{}
			reply(&backend.Reply{})
		})
		huge := make([]byte, 8)
		binary.BigEndian.PutUint32(huge, maxHello+1)
		for name, sent := range map[string][]byte{
			"wrong_token": bytesOf(t, hello("x", strings.Repeat("A", len(first))), nil),
			"no_token":    bytesOf(t, &header{Kind: kindHello, AppID: "x"}, nil),
			"other_half":  bytesOf(t, hello("x", second), nil),
			"half_token":  bytesOf(t, hello("x", first[:5]), nil),
			"request_with_token": bytesOf(t, &header{Kind: kindRequest, Type: "s/M", Headers: map[string]string{hToken: first}},
				nil),
			"garbage":         []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
			"frame_too_large": huge,
			"nothing":         nil,
		} {
			t.Run(a.Network+"/"+name, func(t *testing.T) {
				conn, err := net.Dial(a.Network, a.Addr)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = conn.Close() }()
				if _, err := conn.Write(sent); err != nil {
					t.Fatal(err)
				}
				if sent == nil {
					if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
						t.Fatal(err)
					}
				}
				// The error is ignored: a connection closed with unread data is reset.
				if b, err := io.ReadAll(conn); len(b) > 0 {
					t.Errorf("answered %q, %v", b, err)
				}
			})
		}
		if len(served) > 0 || len(m.Connected()) > 0 {
			t.Error("a peer was accepted")
		}
		b := start(t, Options{ID: "b", Resolve: always("m")})
		if err := b.Connect(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Call(t.Context(), request()); err != nil {
			t.Error(err)
		}
	}
}

func TestSilentClientTimesOut(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m := unstarted(t, Options{ID: "m"})
		here, there := net.Pipe()
		defer func() { _ = here.Close() }()
		startTime := time.Now()
		if _, err := m.serverHello(m.ctx, there); err == nil || time.Since(startTime) != helloTimeout {
			t.Errorf("after %v: %v", time.Since(startTime), err)
		}
	})
}

// Many silent connections don't keep a peer from connecting before they time out.
func TestSilentConnectionsBlockNoPeer(t *testing.T) {
	m := start(t, Options{ID: "m", Loopback: true})
	for range 2 * maxHellos {
		conn, err := net.Dial("tcp", m.Address().Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
	}
	ctx, cancel := context.WithTimeout(t.Context(), helloTimeout/2)
	defer cancel()
	if err := start(t, Options{ID: "peer", Loopback: true}).Connect(ctx, m.Address()); err != nil {
		t.Error(err)
	}
}

func TestSilentServerTimesOut(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m := unstarted(t, Options{ID: "m"})
		here, there := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, there) }()
		defer func() { _ = there.Close() }()
		startTime := time.Now()
		if _, err := m.clientHello(m.ctx, here, Address{ID: "x", Token: newToken()}); err == nil ||
			time.Since(startTime) != helloTimeout {
			t.Errorf("after %v: %v", time.Since(startTime), err)
		}
	})
}

// An address may outlive its process, and another process may listen on it.
func TestServerMustKnowToken(t *testing.T) {
	token := newToken()
	first, second := splitToken(token)
	for name, answer := range map[string]*header{
		"no_answer":        hello("x", ""),
		"echo":             hello("x", first),
		"another_instance": hello("y", second),
		"another_version":  {Kind: kindHello, AppID: "x", Headers: map[string]string{envelope.Version: "2", hToken: second}},
		"refusal":          refusedHello("refused by test"),
		"no_reply":         nil,
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			defer wg.Wait()
			defer func() { _ = l.Close() }()
			wg.Go(func() {
				conn, err := l.Accept()
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = conn.Close() }()
				if _, _, err := newFrameReader(conn).next(maxHello); err != nil {
					t.Error(err)
				}
				if answer != nil {
					_, _ = conn.Write(bytesOf(t, answer, nil))
				}
			})
			m := start(t, Options{ID: "m"})
			err = m.Connect(t.Context(), Address{ID: "x", Network: "tcp", Addr: l.Addr().String(), Token: token})
			wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
			if name == "refusal" && !strings.Contains(err.Error(), "refused by test") {
				t.Errorf("%v", err)
			}
			if len(m.Connected()) > 0 {
				t.Error("connected")
			}
		})
	}
}

func TestUnsupportedPeerIsRefused(t *testing.T) {
	m := unstarted(t, Options{ID: "m"})
	token, _ := splitToken(m.address.Token)
	for name, first := range map[string]*header{
		"version":  {Kind: kindHello, AppID: "x", Headers: map[string]string{envelope.Version: "2", hToken: token}},
		"itself":   hello("m", token),
		"nameless": hello("", token),
	} {
		t.Run(name, func(t *testing.T) {
			here, there := net.Pipe()
			defer func() { _, _ = here.Close(), there.Close() }()
			result := make(chan error, 1)
			go func() {
				_, err := m.serverHello(m.ctx, there)
				result <- err
			}()
			if _, err := here.Write(bytesOf(t, first, nil)); err != nil {
				t.Fatal(err)
			}
			h, _, err := newFrameReader(here).next(maxHello)
			if err != nil || h.Kind != kindRefuse || h.Headers[envelope.Message] == "" {
				t.Errorf("%+v, %v", h, err)
			}
			if <-result == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestTokenIsSentToLoopbackOnly(t *testing.T) {
	m := start(t, Options{ID: "m"})
	for _, a := range []Address{
		{ID: "x", Network: "tcp", Addr: "192.0.2.1:80", Token: newToken()},
		{ID: "x", Network: "tcp", Addr: "localhost:80", Token: newToken()},
		{ID: "x", Network: "udp", Addr: "127.0.0.1:80", Token: newToken()},
		{ID: "x", Network: "unix", Addr: "/nowhere"},
		{Network: "unix", Addr: "/nowhere", Token: newToken()},
	} {
		if err := m.Connect(t.Context(), a); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("%v: %v", a, err)
		}
	}
}

func TestConcurrentConnectsShareOneDial(t *testing.T) {
	a, b := start(t, Options{ID: "a"}), start(t, Options{ID: "b"})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := b.Connect(t.Context(), a.Address()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	b.mu.Lock()
	n := len(b.links["a"])
	b.mu.Unlock()
	if n != 1 {
		t.Errorf("%d connections", n)
	}
	if err := b.Connect(t.Context(), b.Address()); err != nil || len(b.Connected()) != 1 {
		t.Errorf("to itself: %v, %v", err, b.Connected())
	}
}

// If both sides dial at once, calls succeed in both directions.
func TestBothMayDialAtOnce(t *testing.T) {
	for range 20 {
		a, b := start(t, Options{ID: "a", Resolve: always("b")}), start(t, Options{ID: "b", Resolve: always("a")})
		serve(a, 10, echo)
		serve(b, 10, echo)
		var wg sync.WaitGroup
		for m, other := range map[*Mesh]*Mesh{a: b, b: a} {
			wg.Go(func() {
				if err := m.Connect(t.Context(), other.Address()); err != nil {
					t.Error(err)
				}
				if _, err := m.Call(t.Context(), request()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

func TestConnectHonorsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts and sends nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	m := start(t, Options{ID: "m"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = m.Connect(ctx, Address{ID: "x", Network: "tcp", Addr: l.Addr().String(), Token: newToken()})
	wantError(t, err, backend.ErrCanceled, backend.OutcomeNotSent)
}

func TestConnectionsPerPeerAreBounded(t *testing.T) {
	m := start(t, Options{ID: "m"})
	a := m.Address()
	token, _ := splitToken(a.Token)
	for i := range maxLinks + 1 {
		conn, err := net.Dial(a.Network, a.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := conn.Write(bytesOf(t, hello("x", token), nil)); err != nil {
			t.Fatal(err)
		}
		r := newFrameReader(conn)
		if _, _, err := r.next(maxHello); err != nil {
			t.Fatal(err)
		}
		// An accepted connection answers.
		_, _ = conn.Write(bytesOf(t, requestHeader(request(), "1", time.Second), nil))
		if _, _, err := r.next(maxFrame); (err == nil) != (i < maxLinks) {
			t.Errorf("connection %d: %v", i, err)
		}
	}
}
