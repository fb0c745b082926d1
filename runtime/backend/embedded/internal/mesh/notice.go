package mesh

import (
	"encoding/json"
	"strings"
)

// A Notice is a message whose loss costs only latency: a wake-up, or an event. Kind must not contain a slash. Kind and
// Name together have at most 254 bytes.
type Notice struct {
	Kind string
	Name string
	Body json.RawMessage
}

// maxNotice is the limit of Notice.Body, in bytes.
const maxNotice = 64 << 10

// gapPacket returns a frame that replaces dropped notices.
func gapPacket() *packet {
	head, _ := encode(&header{Kind: kindGap}, nil)
	return &packet{head: head}
}

// Notify sends n to those of the peers that are connected. It skips this Mesh and never blocks. A peer receives the
// notices of one Mesh in order while the connection lasts. If too many are queued or n is too large, notices are
// dropped and the peer receives one gap.
func (m *Mesh) Notify(peers []string, n Notice) {
	head, err := encode(&header{Kind: kindNotice, Type: n.Kind + "/" + n.Name}, n.Body)
	if err == nil && len(n.Body) > maxNotice {
		err = errMalformed
	}
	if err != nil {
		m.log.Error("cannot send notice, sending a gap", "kind", n.Kind, "name", n.Name, "bytes", len(n.Body), "error", err)
	}
	for _, peer := range peers {
		l := m.link(peer)
		switch {
		case l == nil:
		case err != nil:
			l.out.putNotice(nil, gapPacket())
		default:
			l.out.putNotice(&packet{head: head, body: n.Body}, gapPacket())
		}
	}
}

// receiveNotice passes an incoming notice to OnNotice.
func (m *Mesh) receiveNotice(from string, h *header, body []byte) {
	kind, name, _ := strings.Cut(h.Type, "/")
	m.o.OnNotice(from, Notice{Kind: kind, Name: name, Body: body})
}
