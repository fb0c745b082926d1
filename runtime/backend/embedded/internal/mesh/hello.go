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

// helloTime bounds dialing, and the exchange of hellos on either side.
const helloTime = 5 * time.Second

// A token is two secrets. Who connects says the first one; who answers says the second one, since an address may
// outlive its process, and whoever got hold of its port then is no peer.
func newToken() string { return rand.Text() + rand.Text() }

func halves(token string) (first, second string) {
	return token[:len(token)/2], token[len(token)/2:]
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func hello(id, secret string) *header {
	return &header{Kind: kindHello, AppID: id, Headers: map[string]string{envelope.Version: envelope.V1, hToken: secret}}
}

// greet says hello to the Mesh at a and hears its answer.
func (m *Mesh) greet(ctx context.Context, conn net.Conn, a Address) (*link, error) {
	defer m.hurry(ctx, conn)()
	say, hear := halves(a.Token)
	if err := send(conn, hello(m.address.ID, say)); err != nil {
		return nil, err
	}
	r := newFrameReader(conn)
	h, _, err := r.next(maxHello)
	switch {
	case err != nil:
		return nil, fmt.Errorf("no answer to the hello: %w", err)
	case h.Kind == kindRefuse:
		return nil, h.error()
	case h.Kind != kindHello || !equal(h.Headers[hToken], hear):
		return nil, errors.New("who answers the hello is somebody else")
	case h.AppID != a.ID:
		return nil, fmt.Errorf("who answers the hello is instance %q", h.AppID)
	case h.Headers[envelope.Version] != envelope.V1:
		return nil, fmt.Errorf("the peer speaks version %q of the envelope, this instance %s", h.Headers[envelope.Version], envelope.V1)
	}
	return newLink(m, h.AppID, conn, r), nil
}

// welcome hears the hello of whoever has connected and answers it. Who doesn't know the token gets no answer.
func (m *Mesh) welcome(ctx context.Context, conn net.Conn) (*link, error) {
	defer m.hurry(ctx, conn)()
	hear, say := halves(m.address.Token)
	r := newFrameReader(conn)
	h, _, err := r.next(maxHello)
	switch {
	case err != nil:
		return nil, err
	case h.Kind != kindHello || !equal(h.Headers[hToken], hear):
		return nil, errors.New("a hello without the token")
	}
	var refusal string
	switch {
	case h.Headers[envelope.Version] != envelope.V1:
		refusal = fmt.Sprintf("version %.20q of the envelope; this instance speaks %s", h.Headers[envelope.Version], envelope.V1)
	case h.AppID == "" || h.AppID == m.address.ID:
		refusal = fmt.Sprintf("app_id %q is not another instance", h.AppID)
	}
	if refusal != "" {
		_ = send(conn, refusedHello(refusal)) // if it still listens
		return nil, errors.New(refusal)
	}
	if err := send(conn, hello(m.address.ID, say)); err != nil {
		return nil, err
	}
	return newLink(m, h.AppID, conn, r), nil
}

func refusedHello(why string) *header {
	return &header{Kind: kindRefuse, Headers: map[string]string{envelope.Version: envelope.V1, envelope.Code: string(backend.ErrFailedPrecondition), envelope.Message: why}}
}

func send(conn net.Conn, h *header) error {
	head, err := encode(h, nil)
	if err != nil {
		return err
	}
	_, err = conn.Write(head)
	return err
}

// hurry bounds what happens on conn until the returned function is called: by ctx, and by helloTime. Where no deadline can be
// set the connection has ended, as the next read or write says.
func (m *Mesh) hurry(ctx context.Context, conn net.Conn) (done func()) {
	_ = conn.SetDeadline(time.Now().Add(helloTime))
	stop := context.AfterFunc(ctx, func() { hangUp(conn) })
	return func() {
		stop()
		_ = conn.SetDeadline(time.Time{})
	}
}
