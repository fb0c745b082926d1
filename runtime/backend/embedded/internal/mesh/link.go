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

// A link is one connection with a peer, after the hello. Both sides use it alike: calls go out on it and come in, and so
// do notices. One goroutine reads and one writes, and neither waits for anything but the socket: what arrives is handed
// on without blocking, what is sent is queued in the outbox.
//
// It is a way for the calls that go out and a caller for those that come in.
type link struct {
	mesh *Mesh
	peer string
	conn net.Conn
	in   *frameReader
	out  *outbox

	tries pending // calls that went out here
	book  book    // calls that came in
}

func newLink(m *Mesh, peer string, conn net.Conn, in *frameReader) *link {
	l := &link{mesh: m, peer: peer, conn: conn, in: in, out: newOutbox()}
	l.book.from = l
	return l
}

func (l *link) log() *slog.Logger { return l.mesh.log.With("peer", l.peer) }

// run reads until the connection ends, and tells everybody whom that concerns.
func (l *link) run() {
	stop := context.AfterFunc(l.mesh.ctx, func() { hangUp(l.conn) })
	defer stop()
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		l.write()
	}()
	l.mesh.o.OnGap(l.peer) // whatever was said before this connection
	err := l.read()
	if !errors.Is(err, io.EOF) && l.mesh.ctx.Err() == nil {
		level := slog.LevelDebug
		if errors.Is(err, errMalformed) {
			level = slog.LevelWarn
		}
		l.log().Log(l.mesh.ctx, level, "a connection ended", "error", err)
	}
	others := l.mesh.remove(l)
	hangUp(l.conn)
	l.out.close()
	<-writing
	l.tries.end()
	l.mesh.desk.forget(&l.book, backend.NewError(backend.ErrCanceled, "the connection with the caller has ended"))
	if others {
		l.mesh.o.OnGap(l.peer) // what was queued on this one
	} else {
		l.mesh.o.OnLost(l.peer)
	}
}

func (l *link) read() error {
	for {
		h, body, err := l.in.next(maxFrame)
		if err != nil {
			return err
		}
		l.handle(h, body)
	}
}

// handle hands a frame on. Nothing in it is believed: an id that isn't known belongs to a call that has ended.
func (l *link) handle(h *header, body []byte) {
	id := h.CorrelationID
	switch h.Kind {
	case kindRequest:
		if req, refusal := h.request(body); refusal != nil {
			head, _ := encodeReply(id, &backend.Reply{Err: refusal, Server: l.mesh.address.ID})
			l.post(head)
		} else {
			l.mesh.desk.request(&l.book, id, req)
		}
	case kindCancel:
		l.mesh.desk.cancel(&l.book, id, h.error())
	case kindPass:
		l.mesh.desk.pass(&l.book, id)
	case kindReply:
		l.tries.tell(id, news{state: answered, reply: h.reply(body)})
	case kindRefuse:
		l.tries.tell(id, news{state: refused, err: h.error()})
	case kindBusy:
		l.tries.tell(id, news{state: inLine})
	case kindFree:
		l.tries.tell(id, news{state: offered})
	case kindNotice:
		l.mesh.hear(l.peer, h, body)
	case kindGap:
		l.mesh.o.OnGap(l.peer)
	}
}

// hangUp ends a connection. An error would tell nothing: who reads or writes there learns that it has ended.
func hangUp(conn net.Conn) { _ = conn.Close() }

// post sends a frame without a body, of which there may be one for each that came in.
func (l *link) post(head []byte) {
	if !l.out.post(&packet{head: head}) {
		l.log().Warn("a peer asks more than it reads; its connection is closed")
		hangUp(l.conn)
	}
}

func (l *link) short(kind, id string) {
	head, _ := encode(&header{Kind: kind, CorrelationID: id}, nil) // ids are ours, or were checked when they came
	l.post(head)
}

// As a way.

func (l *link) pending() *pending { return &l.tries }

func (l *link) request(ctx context.Context, t *try, req *backend.Request, left time.Duration) *backend.Error {
	head, err := encode(requestHeader(req, t.id, left), req.Body)
	if err != nil {
		return backend.Errorf(backend.ErrInvalidArgument, "the request for %s.%s doesn't fit into a message: %w", req.Service, req.Method, err).
			With(backend.OutcomeNotSent)
	}
	p := &packet{head: head, body: req.Body}
	t.carry(p)
	switch err := l.out.put(ctx, p); {
	case errors.Is(err, errLinkEnded):
		t.turn(sent, untried)
		return nil
	case err != nil:
		return backend.Errorf(backend.CodeOf(ctx.Err()), "calling %s.%s: %w", req.Service, req.Method, err).With(backend.OutcomeNotSent)
	}
	return nil
}

func (l *link) pass(id string) { l.short(kindPass, id) }

func (l *link) cancel(id string, why *backend.Error) {
	head, err := encode(&header{Kind: kindCancel, CorrelationID: id, Headers: map[string]string{
		envelope.Code: string(why.Code), envelope.Message: envelope.Cut(why.Message, envelope.MaxText),
	}}, nil)
	if err == nil {
		l.post(head)
	}
}

// As a caller.

func (l *link) busy(id string) { l.short(kindBusy, id) }
func (l *link) free(id string) { l.short(kindFree, id) }

func (l *link) refuse(id string, why *backend.Error) { l.post(encodeRefusal(id, why)) }

func (l *link) answer(id string, r *backend.Reply, sent func()) {
	p := &packet{sent: sent}
	p.head, p.body = encodeReply(id, r)
	if l.out.put(context.Background(), p) != nil { // it ends with the connection
		p.done()
	}
}
