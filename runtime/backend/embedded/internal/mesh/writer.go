package mesh

import (
	"bufio"
	"net"
	"time"
)

const (
	patience = 5 * time.Second // with a peer that doesn't read
	chunk    = 64 << 10        // bytes of which it must have read some in that time
	lastWord = time.Second     // how long a peer that doesn't read any more is still listened to
)

// write writes what is queued until the outbox is closed or the peer stops reading. What was queued together leaves
// together.
func (l *link) write() {
	w := bufio.NewWriterSize(steady{l.conn}, 32<<10)
	var batch []*packet
	for {
		if batch = l.out.take(batch); batch == nil {
			return
		}
		err := writeBatch(w, batch)
		l.out.written(batch)
		for i, p := range batch {
			p.done()
			batch[i] = nil
		}
		if err != nil {
			l.mesh.remove(l)
			l.out.close()
			// The peer's last replies may still lie here to be read, unless the connection has ended.
			_ = l.conn.SetReadDeadline(time.Now().Add(lastWord))
			l.log().Debug("a connection can't be written any more", "error", err)
			return
		}
	}
}

func writeBatch(w *bufio.Writer, batch []*packet) error {
	for _, p := range batch {
		if !p.state.CompareAndSwap(packetQueued, packetTaken) {
			continue
		}
		if _, err := w.Write(p.head); err != nil {
			return err
		}
		if _, err := w.Write(p.body); err != nil {
			return err
		}
	}
	return w.Flush()
}

// steady writes in chunks, and gives the peer the same time for each: a long message to a busy peer is no reason to
// part, but a peer that is stopped holds nobody.
type steady struct{ net.Conn }

func (s steady) Write(p []byte) (n int, err error) {
	for {
		part := p[n:min(n+chunk, len(p))]
		if err := s.SetWriteDeadline(time.Now().Add(patience)); err != nil {
			return n, err
		}
		m, err := s.Conn.Write(part)
		n += m
		if err != nil || n == len(p) {
			return n, err
		}
	}
}
