package mesh

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// helloTimeout bounds dialing, and the exchange of hellos on either side.
const helloTimeout = 5 * time.Second

// A token is two secrets. The dialing side sends the first one, and the listening side answers with the second: an
// address may outlive its process, and then another process may listen on its port.
func newToken() string { return rand.Text() + rand.Text() }

func splitToken(token string) (first, second string) {
	return token[:len(token)/2], token[len(token)/2:]
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func hello(id, secret string) *header {
	return &header{Kind: kindHello, AppID: id, Headers: map[string]string{envelope.Version: envelope.V1, hToken: secret}}
}

// clientHello sends a hello to the Mesh at a and checks its answer.
func (m *Mesh) clientHello(ctx context.Context, conn net.Conn, a Address) (*link, error) {
	defer m.setHelloDeadline(ctx, conn)()
	ours, theirs := splitToken(a.Token)
	if err := send(conn, hello(m.address.ID, ours)); err != nil {
		return nil, err
	}
	r := newFrameReader(conn)
	h, _, err := r.next(maxHello)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the peer's hello: %w", err)
	case h.Kind == kindRefuse:
		return nil, h.error()
	case h.Kind != kindHello || !equal(h.Headers[hToken], theirs):
		return nil, errors.New("the peer's hello has a wrong token")
	case h.AppID != a.ID:
		return nil, fmt.Errorf("the peer is instance %q, not %q", h.AppID, a.ID)
	case h.Headers[envelope.Version] != envelope.V1:
		return nil, fmt.Errorf("the peer uses version %q of the envelope, this instance %s", h.Headers[envelope.Version],
			envelope.V1)
	}
	return newLink(m, h.AppID, conn, r), nil
}

// serverHello checks the hello of a connecting peer and answers it. A peer that doesn't know the token gets no answer.
func (m *Mesh) serverHello(ctx context.Context, conn net.Conn) (*link, error) {
	defer m.setHelloDeadline(ctx, conn)()
	theirs, ours := splitToken(m.address.Token)
	r := newFrameReader(conn)
	h, _, err := r.next(maxHello)
	switch {
	case err != nil:
		return nil, err
	case h.Kind != kindHello || !equal(h.Headers[hToken], theirs):
		return nil, errors.New("the peer's hello has a wrong token")
	}
	var refusal string
	switch {
	case h.Headers[envelope.Version] != envelope.V1:
		refusal = fmt.Sprintf("version %.20q of the envelope is not supported; this instance uses %s",
			h.Headers[envelope.Version], envelope.V1)
	case h.AppID == "" || h.AppID == m.address.ID:
		refusal = fmt.Sprintf("app_id %q is not another instance", h.AppID)
	}
	if refusal != "" {
		_ = send(conn, refusedHello(refusal)) // best effort
		return nil, errors.New(refusal)
	}
	if err := send(conn, hello(m.address.ID, ours)); err != nil {
		return nil, err
	}
	return newLink(m, h.AppID, conn, r), nil
}

func refusedHello(why string) *header {
	return &header{Kind: kindRefuse, Headers: map[string]string{envelope.Version: envelope.V1,
		envelope.Code: string(backend.ErrFailedPrecondition), envelope.Message: why}}
}

func send(conn net.Conn, h *header) error {
	head, err := encode(h, nil)
	if err != nil {
		return err
	}
	_, err = conn.Write(head)
	return err
}

// setHelloDeadline bounds reads and writes on conn by ctx and helloTimeout until done is called. Errors of setting the
// deadline mean that the connection has ended, which the next read or write reports.
func (m *Mesh) setHelloDeadline(ctx context.Context, conn net.Conn) (done func()) {
	_ = conn.SetDeadline(time.Now().Add(helloTimeout))
	stop := context.AfterFunc(ctx, func() { closeConn(conn) })
	return func() {
		stop()
		_ = conn.SetDeadline(time.Time{})
	}
}
