package mesh

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
)

func TestMain(m *testing.M) {
	testkit.Children{"child": child}.Run()
	goleak.VerifyTestMain(m)
}

// always returns a Resolve that names the same instances for each service.
func always(ids ...string) func(context.Context, string, bool) ([]string, error) {
	return func(context.Context, string, bool) ([]string, error) { return ids, nil }
}

// closeAtEnd closes m when the test ends.
func closeAtEnd(t testing.TB, m *Mesh) *Mesh {
	t.Cleanup(func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return m
}

// tempDir returns a temporary directory whose path is short enough for a socket in it.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mesh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func start(t testing.TB, o Options) *Mesh {
	t.Helper()
	if o.Dir == "" {
		o.Dir = tempDir(t)
	}
	if o.Resolve == nil {
		o.Resolve = always(o.ID)
	}
	m, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	return closeAtEnd(t, m)
}

// unstarted returns a Mesh that doesn't listen, for tests in a synctest bubble.
func unstarted(t testing.TB, o Options) *Mesh {
	if o.Resolve == nil {
		o.Resolve = always(o.ID)
	}
	return closeAtEnd(t, newMesh(o))
}

// connectPair connects two Meshes in a bubble: a dials b. It returns b's end of the connection.
func connectPair(t testing.TB, a, b *Mesh) net.Conn {
	t.Helper()
	here, there := net.Pipe()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		l, err := b.serverHello(b.ctx, there)
		addLink(t, b, l, err)
	})
	l, err := a.clientHello(a.ctx, here, b.address)
	addLink(t, a, l, err)
	return there
}

func addLink(t testing.TB, m *Mesh, l *link, err error) {
	if err != nil {
		t.Error(err)
	} else if !m.add(l) || !m.start(l.run) {
		t.Error("the link was not added")
	}
}

// A fakePeer is a peer that sends what the test tells it.
type fakePeer struct {
	testing.TB
	conn net.Conn
	in   *frameReader
}

// connectFake connects a fakePeer with m, in a bubble.
func connectFake(t testing.TB, m *Mesh, id string) *fakePeer {
	t.Helper()
	here, there := net.Pipe()
	s := &fakePeer{t, here, newFrameReader(here)}
	t.Cleanup(func() { _ = here.Close() })
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		l, err := m.serverHello(m.ctx, there)
		addLink(t, m, l, err)
	})
	ours, theirs := splitToken(m.address.Token)
	s.send(hello(id, ours), nil)
	if h := s.receive(); h.Kind != kindHello || h.Headers[hToken] != theirs {
		t.Fatalf("answer to hello: %+v", h)
	}
	return s
}

func (s *fakePeer) send(h *header, body []byte) {
	s.Helper()
	head, err := encode(h, body)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := s.conn.Write(append(head, body...)); err != nil {
		s.Fatal(err)
	}
}

func (s *fakePeer) receive() *header {
	s.Helper()
	h, _, err := s.in.next(maxFrame)
	if err != nil {
		s.Fatal(err)
	}
	return h
}

// want reads a frame and checks its kind and call id.
func (s *fakePeer) want(kind, id string) *header {
	s.Helper()
	h := s.receive()
	if h.Kind != kind || h.CorrelationID != id {
		s.Fatalf("%+v, want %s of %s", h, kind, id)
	}
	return h
}

// sendRequest sends a request.
func (s *fakePeer) sendRequest(id string) {
	s.Helper()
	s.send(requestHeader(request(), id, time.Minute), []byte(`{}`))
}

func request() *backend.Request {
	return &backend.Request{Service: "s", Method: "M", ID: "call-1", Caller: "caller", Timeout: time.Minute,
		Body: json.RawMessage(`{}`)}
}

func serve(m *Mesh, concurrency int, h backend.Handler) *Serving {
	return m.Serve(backend.Endpoint{Service: "s", Concurrency: concurrency}, h)
}

func echo(_ context.Context, req *backend.Request, reply func(*backend.Reply)) {
	reply(&backend.Reply{Body: req.Body, Server: "a"})
}

// hold serves calls that block until released. started receives their ids as they start.
func hold(m *Mesh, concurrency int) (s *Serving, started chan string, release chan struct{}) {
	return holdUntil(m, concurrency, make(chan struct{}))
}

func holdUntil(m *Mesh, concurrency int, release chan struct{}) (*Serving, chan string, chan struct{}) {
	started := make(chan string, 1000)
	return serve(m, concurrency, func(_ context.Context, req *backend.Request, reply func(*backend.Reply)) {
		started <- req.ID
		<-release
		reply(&backend.Reply{Body: req.Body})
	}), started, release
}

// A result is the result of a call.
type result struct {
	reply *backend.Reply
	err   error
}

// startCall makes a call on a new goroutine.
func startCall(ctx context.Context, m *Mesh, id string) chan result {
	done := make(chan result, 1)
	go func() {
		req := request()
		req.ID = id
		r, err := m.Call(ctx, req)
		done <- result{r, err}
	}()
	return done
}

var wantError = conform.WantError
