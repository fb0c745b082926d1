package mesh

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// A link is one authenticated connection with a peer. Both sides use it alike, for outgoing and incoming calls and for
// notices. One goroutine reads and one writes, and neither blocks on anything but the socket: incoming frames are
// handled without blocking, outgoing ones are queued in the outbox.
//
// It is a route for outgoing calls and a caller for incoming ones.
type link struct {
	mesh *Mesh
	peer string
	conn net.Conn
	in   *frameReader
	out  *outbox

	tries pending     // outgoing calls
	calls callerCalls // incoming calls
}

func newLink(m *Mesh, peer string, conn net.Conn, in *frameReader) *link {
	l := &link{mesh: m, peer: peer, conn: conn, in: in, out: newOutbox()}
	l.calls.caller = l
	return l
}

func (l *link) log() *slog.Logger { return l.mesh.log.With("peer", l.peer) }

// run reads frames until the connection ends, and then cleans up.
func (l *link) run() {
	stop := context.AfterFunc(l.mesh.ctx, func() { closeConn(l.conn) })
	defer stop()
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		l.writeLoop()
	}()
	l.mesh.o.OnGap(l.peer) // notices sent before this connection
	err := l.readLoop()
	if !errors.Is(err, io.EOF) && l.mesh.ctx.Err() == nil {
		level := slog.LevelDebug
		if errors.Is(err, errMalformed) {
			level = slog.LevelWarn
		}
		l.log().Log(l.mesh.ctx, level, "connection ended", "error", err)
	}
	others := l.mesh.remove(l)
	closeConn(l.conn)
	l.out.close()
	<-writing
	l.tries.close()
	l.mesh.dispatcher.closeCaller(&l.calls, backend.NewError(backend.ErrCanceled, "the connection with the caller ended"))
	if others {
		l.mesh.o.OnGap(l.peer) // notices queued on this connection
	} else {
		l.mesh.o.OnLost(l.peer)
	}
}

func (l *link) readLoop() error {
	for {
		h, body, err := l.in.next(maxFrame)
		if err != nil {
			return err
		}
		l.handleFrame(h, body)
	}
}

// handleFrame handles one frame. It doesn't trust the peer: an unknown id belongs to a call that has ended.
func (l *link) handleFrame(h *header, body []byte) {
	id := h.CorrelationID
	switch h.Kind {
	case kindRequest:
		if req, refusal := h.request(body); refusal != nil {
			head, _ := encodeReply(id, &backend.Reply{Err: refusal, Server: l.mesh.address.ID})
			l.sendShort(head)
		} else {
			l.mesh.dispatcher.handleRequest(&l.calls, id, req)
		}
	case kindCancel:
		l.mesh.dispatcher.handleCancel(&l.calls, id, h.error())
	case kindPass:
		l.mesh.dispatcher.handlePass(&l.calls, id)
	case kindReply:
		l.tries.deliver(id, callEvent{state: answered, reply: h.reply(body)})
	case kindRefuse:
		l.tries.deliver(id, callEvent{state: refused, err: h.error()})
	case kindBusy:
		l.tries.deliver(id, callEvent{state: queued})
	case kindFree:
		l.tries.deliver(id, callEvent{state: offered})
	case kindNotice:
		l.mesh.receiveNotice(l.peer, h, body)
	case kindGap:
		l.mesh.o.OnGap(l.peer)
	}
}

// closeConn closes a connection. Its error is ignored, since reads and writes report that the connection has ended.
func closeConn(conn net.Conn) { _ = conn.Close() }

// sendShort queues a frame without a body. A peer can cause one for each frame that it sends.
func (l *link) sendShort(head []byte) {
	if !l.out.putShort(&packet{head: head}) {
		l.log().Warn("peer reads too slowly, closing connection")
		closeConn(l.conn)
	}
}

func (l *link) sendKind(kind, id string) {
	head, _ := encode(&header{Kind: kind, CorrelationID: id}, nil) // ids are our own, or were checked on arrival
	l.sendShort(head)
}

// Methods of a route.

func (l *link) pending() *pending { return &l.tries }

func (l *link) sendRequest(ctx context.Context, t *try, req *backend.Request, left time.Duration) *backend.Error {
	head, err := encode(requestHeader(req, t.id, left), req.Body)
	if err != nil {
		return backend.Errorf(backend.ErrInvalidArgument, "encoding the request for %s.%s: %w", req.Service, req.Method, err).
			With(backend.OutcomeNotSent)
	}
	p := &packet{head: head, body: req.Body}
	t.setPacket(p)
	switch err := l.out.put(ctx, p); {
	case errors.Is(err, errLinkClosed):
		t.transition(sent, untried)
		return nil
	case err != nil:
		return backend.Errorf(backend.CodeOf(ctx.Err()), "calling %s.%s: %w", req.Service, req.Method, err).
			With(backend.OutcomeNotSent)
	}
	return nil
}

func (l *link) sendPass(id string) { l.sendKind(kindPass, id) }

func (l *link) sendCancel(id string, why *backend.Error) {
	head, err := encode(&header{Kind: kindCancel, CorrelationID: id, Headers: map[string]string{
		envelope.Code: string(why.Code), envelope.Message: envelope.Cut(why.Message, envelope.MaxText),
	}}, nil)
	if err == nil {
		l.sendShort(head)
	}
}

// Methods of a caller.

func (l *link) sendBusy(id string) { l.sendKind(kindBusy, id) }
func (l *link) sendFree(id string) { l.sendKind(kindFree, id) }

func (l *link) sendRefuse(id string, why *backend.Error) { l.sendShort(encodeRefusal(id, why)) }

func (l *link) sendReply(id string, r *backend.Reply, sent func()) {
	p := &packet{sent: sent}
	p.head, p.body = encodeReply(id, r)
	if l.out.put(context.Background(), p) != nil { // the connection has ended
		p.done()
	}
}
