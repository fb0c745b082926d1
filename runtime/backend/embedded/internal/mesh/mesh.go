// Package mesh connects the processes that share one SQLite file. It carries calls between them, and notices: short
// one-way messages that tell a process to look at something. It knows nothing about the file. The owner of a [Mesh]
// publishes its [Address], connects it to other Meshes, and tells it which instances serve a service.
//
// # Connections
//
// A Mesh listens on a unix socket, or on loopback TCP if it can't create one. A connection ([Mesh.Connect]) is used in
// both directions, whichever side dialed. In its first frame each side proves that it has read the other's address;
// until then no other frame is read. A frame is two lengths, the envelope of docs/wire.md, and a body.
//
//	frame.go     bytes on the wire      envelope.go  their meaning
//	connect.go   dialing, accepting     hello.go     authentication
//	link.go      one connection         outbox.go, writer.go  its write queue
//
// A slow peer can't block another: readers never block, queues are bounded, and a peer that stops reading is
// disconnected and may connect again. When a connection ends, its calls fail and the contexts of their handlers are
// cancelled.
//
// # Calls
//
// An instance starts a call only if it has a free slot, and stores no requests. If all slots are in use, it answers
// "busy", drops the request and queues a placeholder. Meanwhile the caller tries the other instances, and if all are
// busy it waits in the queue of each. A slot that becomes free is reserved for the first call in the queue; its caller
// is notified and sends the request again, or passes. So no call waits for a busy instance while another instance is
// free:
//
//	caller                         instance
//	request ─────────────────────→            a slot is free: reply
//	        ←───────────────────── busy       no slot is free: the call is queued
//	        ←───────────────────── free       a slot is reserved, for one second
//	request ─────────────────────→            or pass: another instance was faster, or the caller has stopped waiting
//	        ←───────────────────── reply
//
// The Mesh's own endpoints take part in the same way, without a socket. On the caller's side, a call has a try for each
// instance (call.go, try.go, outcome.go), balanced by balance.go. Each try uses a route, which is a link or the Mesh
// itself (local.go). On the instance's side, the dispatcher (dispatcher.go, serve.go) handles calls from any kind of
// caller.
//
// # Notices
//
// [Mesh.Notify] never blocks. Notices arrive in order, or as a gap: after each new connection, and when too many were
// queued. After a gap the receiver must check everything that notices could have told it.
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

// Options configures a Mesh. Its functions may be called from several goroutines.
type Options struct {
	// ID is the instance's id. It must be unique among all instances that ever share the file, and valid as a file name.
	ID string
	// Dir is the directory of the socket. Only the user may have access to it.
	Dir string
	// Loopback selects TCP instead of a unix socket.
	Loopback bool
	// Logger may be nil.
	Logger *slog.Logger

	// Resolve returns the ids of the instances that serve a service, including this one. It may answer from a cache unless
	// fresh is set: then the call fails if no other instance is found.
	Resolve func(ctx context.Context, service string, fresh bool) ([]string, error)
	// Dial connects to an instance that Resolve named and that isn't connected: it looks up the address and calls Connect.
	// If nil, such instances are not called. Calls are faster and better balanced if instances are connected beforehand.
	Dial func(ctx context.Context, id string) error

	// The following functions must return at once: they block reading from the peer. A nil function ignores the event.
	// Events of one connection are delivered in order, starting with a gap.
	OnNotice func(from string, n Notice)
	// OnGap reports that notices from a peer may have been missed. It is also called after each new connection.
	OnGap func(from string)
	// OnLost reports that the last connection with a peer has ended.
	OnLost func(id string)
}

// A Mesh is one instance's connections to all others. It is safe for concurrent use.
type Mesh struct {
	o        Options
	log      *slog.Logger
	address  Address
	listener net.Listener // nil in some tests

	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // all goroutines except handlers

	dispatcher dispatcher
	local      local
	balance    balance

	mu     sync.Mutex
	closed bool
	links  map[string][]*link // by peer
	dials  map[string]*dial   // by peer
}

// Listen starts a Mesh. The caller must close it.
func Listen(o Options) (*Mesh, error) {
	if o.ID == "" || len(o.ID) > envelope.MaxShort || filepath.Base(o.ID) != o.ID {
		return nil, backend.Errorf(backend.ErrInvalidArgument, "instance id %q is not a valid file name", o.ID)
	}
	if o.Resolve == nil {
		return nil, backend.NewError(backend.ErrInvalidArgument, "Options.Resolve is nil")
	}
	m := newMesh(o)
	l, err := listen(m.o)
	if err != nil {
		m.cancel()
		return nil, backend.Errorf(backend.ErrUnavailable, "listening for other instances: %w", err)
	}
	m.listener = l
	m.address.Network, m.address.Addr = l.Addr().Network(), l.Addr().String()
	m.wg.Go(m.accept)
	return m, nil
}

// New returns a Mesh that doesn't listen: it dials others, but none can dial it. The caller must close it.
func New(o Options) *Mesh { return newMesh(o) }

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
	m.dispatcher.services = slots.Services[*Serving, *incomingCall]{}
	m.local.mesh = m
	m.local.calls.caller = &m.local
	return m
}

// Address returns the address that the Mesh listens on. It never changes.
func (m *Mesh) Address() Address { return m.address }

// Close closes all connections and servings and removes the socket. Calls in flight fail as unavailable, outcome
// unknown. The contexts of running handlers are cancelled, but Close doesn't wait for handlers. A nil error means that
// all other goroutines of the Mesh have ended. Close may be called more than once.
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
	m.dispatcher.closeCaller(&m.local.calls, backend.NewError(backend.ErrCanceled, "the caller has shut down"))
	m.dispatcher.close(backend.NewError(backend.ErrUnavailable, "this app is shutting down"))
	ended := make(chan struct{})
	go func() {
		m.wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return err
	case <-ctx.Done():
		return fmt.Errorf("waiting for connections to end: %w", context.Cause(ctx))
	}
}

// flushTimeout is how long Close waits until queued frames, such as notices, are written.
const flushTimeout = 200 * time.Millisecond

// flush waits until all queued frames are written.
func (m *Mesh) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
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

// start runs f on a goroutine of the Mesh. It returns false if the Mesh is closed.
func (m *Mesh) start(f func()) bool {
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
