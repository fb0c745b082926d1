// Package mesh connects the processes that share one SQLite file: it carries their calls to each other, and the notices
// that one has something to look at for the others. It knows nothing of the file. Whoever opens a [Mesh] keeps its
// [Address] where the others find it, tells it which instances serve a service, and connects it to those it hears of.
//
// # Connections
//
// A Mesh listens on a unix socket, or on loopback TCP where that can't be. Two that are connected ([Mesh.Connect]) use the
// connection both ways, whoever dialed. Each side proves in its first frame that it has read the address: nothing else is
// heard before. What travels are frames: the envelope of docs/wire.md behind two lengths.
//
//	frame.go     bytes on the wire      envelope.go  what they mean
//	connect.go   dialing, accepting     hello.go     who is who
//	link.go      one connection         outbox.go, writer.go  what waits to be written to it
//
// No peer can hold another: readers never wait, queues are bounded, and a peer that stops reading loses its connection
// and may connect again. A connection that ends fails the calls on it and ends the contexts of their handlers.
//
// # Calls
//
// An instance begins a call only when it has a slot for it, and keeps none in store. A request that finds every slot taken
// is answered "busy" and dropped; what stays is a place in the line of the service. The caller tries the other instances
// meanwhile, and waits in every line when all are busy. A slot that becomes free is reserved for the first in line, who is
// told so, and either sends the request again or passes. So a slow instance holds no call that a free one could run:
//
//	caller                         instance
//	request ─────────────────────→            a slot is free: reply
//	        ←───────────────────── busy       none is; the caller stands in line
//	        ←───────────────────── free       one is reserved, for a second
//	request ─────────────────────→            or pass: another instance was faster, or the caller gave up
//	        ←───────────────────── reply
//
// The Mesh's own endpoints take part in the same way, without a socket: a call is a try at one or more instances (call.go,
// try.go, outcome.go), spread by balance.go, each through a way that is a link or the Mesh itself (home.go). An instance's
// side is the desk (desk.go, serve.go), which doesn't know how its callers came.
//
// # Notices
//
// [Mesh.Tell] never waits. Notices arrive in order, or as a gap: after each new connection, and wherever too many waited.
// After a gap the receiver looks for itself.
package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
	"github.com/afgen/afgen/runtime/backend/internal/slots"
)

// Options is what a Mesh needs from whoever opens it. The functions may be called from several goroutines.
type Options struct {
	// ID is the instance's, unique among all that ever share the file, and fit for a file name.
	ID string
	// Dir is where the socket is made: a folder that only the user may enter.
	Dir string
	// Loopback asks for TCP instead of a unix socket.
	Loopback bool
	// Logger gets what an operator may want to know; nil drops it.
	Logger *slog.Logger

	// Resolve returns the ids of the instances that serve a service, this one among them where it does. It may answer from
	// memory, unless fresh: then the caller is about to give up.
	Resolve func(ctx context.Context, service string, fresh bool) ([]string, error)
	// Dial connects to an instance that Resolve named and with which there is no connection: it looks up the address and
	// calls Connect. nil: such an instance is not reached. Balance and speed rest on connecting before.
	Dial func(ctx context.Context, id string) error

	// These three must return at once, since nothing else is read from the peer meanwhile. nil ignores the event. Those of
	// one connection come in order, a gap first.
	OnNotice func(from string, n Notice)
	// OnGap says that notices from a peer may have been missed: also once after each new connection.
	OnGap func(from string)
	// OnLost says that the last connection with a peer has ended.
	OnLost func(id string)
}

// A Mesh is one instance's end of the connections with all others. It is safe for concurrent use.
type Mesh struct {
	o        Options
	log      *slog.Logger
	address  Address
	listener net.Listener // nil in some tests

	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // of every goroutine but those of handlers

	desk    desk
	home    home
	balance balance

	mu     sync.Mutex
	closed bool
	links  map[string][]*link // by peer
	dials  map[string]*dial   // by peer
}

// Listen opens a Mesh. The caller closes it.
func Listen(o Options) (*Mesh, error) {
	if o.ID == "" || len(o.ID) > envelope.MaxShort || filepath.Base(o.ID) != o.ID {
		return nil, backend.Errorf(backend.ErrInvalidArgument, "%q is no id of an instance: it must fit into the name of a file", o.ID)
	}
	if o.Resolve == nil {
		return nil, backend.NewError(backend.ErrInvalidArgument, "a mesh needs Resolve")
	}
	m := newMesh(o)
	l, err := listen(m.o)
	if err != nil {
		m.cancel()
		return nil, backend.Errorf(backend.ErrUnavailable, "listening for the other instances: %w", err)
	}
	m.listener = l
	m.address.Network, m.address.Addr = l.Addr().Network(), l.Addr().String()
	m.wg.Go(m.accept)
	return m, nil
}

// newMesh returns a Mesh that doesn't listen.
func newMesh(o Options) *Mesh {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Dial == nil {
		o.Dial = func(context.Context, string) error { return errors.New("no connection") }
	}
	if o.OnNotice == nil {
		o.OnNotice = func(string, Notice) {}
	}
	if o.OnGap == nil {
		o.OnGap = func(string) {}
	}
	if o.OnLost == nil {
		o.OnLost = func(string) {}
	}
	m := &Mesh{
		o: o, log: o.Logger, address: Address{ID: o.ID, Token: newToken()},
		links: map[string][]*link{}, dials: map[string]*dial{},
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.desk.services = slots.Services[*Serving, *visit]{}
	m.home.mesh = m
	m.home.book.from = &m.home
	return m
}

// Address says where the Mesh listens. It doesn't change.
func (m *Mesh) Address() Address { return m.address }

// Close ends all connections and servings and removes the socket. Calls in flight fail as unavailable, outcome unknown;
// handlers that still run have their contexts cancelled and are not waited for. A nil error means that every goroutine of
// the Mesh has ended. It may be called more than once.
func (m *Mesh) Close(ctx context.Context) error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.flush(ctx)
	m.cancel()
	var err error
	if m.listener != nil {
		if err = m.listener.Close(); errors.Is(err, net.ErrClosed) {
			err = nil
		}
	}
	m.desk.forget(&m.home.book, backend.NewError(backend.ErrCanceled, "the caller has shut down"))
	m.desk.close(backend.NewError(backend.ErrUnavailable, "this app is shutting down"))
	ended := make(chan struct{})
	go func() {
		m.wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return err
	case <-ctx.Done():
		return fmt.Errorf("some connections have not ended: %w", context.Cause(ctx))
	}
}

// flushMost is how long Close lets peers take what has been queued for them, such as notices.
const flushMost = 200 * time.Millisecond

// flush waits until what is queued has been written.
func (m *Mesh) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushMost)
	defer cancel()
	m.mu.Lock()
	var queued []<-chan struct{}
	for _, links := range m.links {
		for _, l := range links {
			queued = append(queued, l.out.flushed())
		}
	}
	m.mu.Unlock()
	for _, done := range queued {
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
}

// begin runs f on a goroutine of the Mesh, unless it is closed.
func (m *Mesh) begin(f func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.wg.Go(f)
	return true
}

func errClosed() *backend.Error {
	return backend.NewError(backend.ErrUnavailable, "this app has shut down").With(backend.OutcomeNotSent)
}
