package mesh

import (
	"encoding/json"
	"strings"
)

// A Notice is news for a peer that loses nothing but time when it misses it: a wake-up, or what changed. Kind must not
// contain a slash; the two together have at most 254 bytes.
type Notice struct {
	Kind string
	Name string
	Body json.RawMessage
}

// maxNotice bounds the body of a notice.
const maxNotice = 64 << 10

// gap is the frame that stands for notices that were dropped.
func gap() *packet {
	head, _ := encode(&header{Kind: kindGap}, nil)
	return &packet{head: head}
}

// Tell sends n to those of the peers with which there is a connection, this Mesh itself not among them. It never blocks.
// Each peer gets the notices of one Mesh in the order in which Tell was called, as long as the connection lasts; where too
// many of them wait, or n is too large, they are dropped, and the peer is told once that there is a gap.
func (m *Mesh) Tell(peers []string, n Notice) {
	head, err := encode(&header{Kind: kindNotice, Type: n.Kind + "/" + n.Name}, n.Body)
	if err == nil && len(n.Body) > maxNotice {
		err = errMalformed
	}
	if err != nil {
		m.log.Error("a notice can't be sent; a gap is", "kind", n.Kind, "name", n.Name, "bytes", len(n.Body), "error", err)
	}
	for _, peer := range peers {
		l := m.link(peer)
		switch {
		case l == nil:
		case err != nil:
			l.out.tell(nil, gap())
		default:
			l.out.tell(&packet{head: head, body: n.Body}, gap())
		}
	}
}

// hear hands on a notice that came in.
func (m *Mesh) hear(from string, h *header, body []byte) {
	kind, name, _ := strings.Cut(h.Type, "/")
	m.o.OnNotice(from, Notice{Kind: kind, Name: name, Body: body})
}
