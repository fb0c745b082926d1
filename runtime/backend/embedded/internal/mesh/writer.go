package mesh

import (
	"bufio"
	"net"
	"time"
)

const (
	writeTimeout = 5 * time.Second // for a peer to read one chunk
	chunkSize    = 64 << 10        // bytes
	readGrace    = time.Second     // how long frames are still read from a peer that has stopped reading
)

// writeLoop writes queued packets until the outbox is closed or the peer stops reading. Packets queued together are
// flushed together.
func (l *link) writeLoop() {
	w := bufio.NewWriterSize(chunkWriter{l.conn}, 32<<10)
	var batch []*packet
	for {
		if batch = l.out.takeAll(batch); batch == nil {
			return
		}
		err := writeBatch(w, batch)
		l.out.markWritten(batch)
		for i, p := range batch {
			p.done()
			batch[i] = nil
		}
		if err != nil {
			l.mesh.remove(l)
			l.out.close()
			// Replies that the peer has already sent may still be unread.
			_ = l.conn.SetReadDeadline(time.Now().Add(readGrace))
			l.log().Debug("cannot write to connection", "error", err)
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

// A chunkWriter writes in chunks with a deadline for each. So a long message to a slow peer succeeds, but a stopped
// peer blocks the writer only briefly.
type chunkWriter struct{ net.Conn }

func (s chunkWriter) Write(p []byte) (n int, err error) {
	for {
		part := p[n:min(n+chunkSize, len(p))]
		if err := s.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return n, err
		}
		m, err := s.Conn.Write(part)
		n += m
		if err != nil || n == len(p) {
			return n, err
		}
	}
}
