package mesh

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/afgen/afgen/runtime/internal/signal"
)

const (
	maxQueued  = 4 << 20  // bytes of queued requests and replies; beyond, senders block
	maxShorts  = 16 << 10 // queued frames without a body
	maxNotices = 256
)

// A packet is an encoded frame to be written.
type packet struct {
	head, body []byte
	sent       func() // called once, when it has been written or never will be; may be nil
	counted    bool   // its size is included in outbox.bytes
	state      atomic.Int32
}

const (
	packetQueued int32 = iota
	packetTaken        // by the writer: it may reach the peer
	packetWithdrawn
)

// withdraw prevents the packet from being written. It returns false if it may have been written.
func (p *packet) withdraw() bool {
	return p.state.CompareAndSwap(packetQueued, packetWithdrawn) || p.state.Load() == packetWithdrawn
}

func (p *packet) done() {
	if p.sent != nil {
		p.sent()
	}
}

// An outbox is the write queue of one connection, bounded in three ways: senders of requests and replies block while it
// is full; excess notices are replaced by a gap; and a peer that causes too many short frames without reading them is
// disconnected.
type outbox struct {
	mu      sync.Mutex
	queue   []*packet
	bytes   int  // of requests and replies, including those being written
	shorts  int  // queued short frames
	notices int  // queued notices
	gapped  bool // a gap follows the queued notices
	closed  bool
	ready   signal.Signal // set while the writer has work
	drained chan struct{} // closed when all queued packets are written or the outbox is closed; nil while no caller waits
	writing bool          // a batch is being written
	space   chan struct{} // closed when bytes have been written or the outbox is closed; nil while no caller waits
}

func newOutbox() *outbox { return &outbox{ready: signal.New()} }

var errLinkClosed = errors.New("the connection has ended")

// put queues a request or reply, and blocks while the outbox is full. The error is the cause of ctx, or errLinkClosed.
func (o *outbox) put(ctx context.Context, p *packet) error {
	for {
		o.mu.Lock()
		if o.closed {
			o.mu.Unlock()
			return errLinkClosed
		}
		if o.bytes < maxQueued {
			p.counted = true
			o.bytes += len(p.head) + len(p.body)
			o.add(p)
			o.mu.Unlock()
			return nil
		}
		if o.space == nil {
			o.space = make(chan struct{})
		}
		room := o.space
		o.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// putShort queues a short frame. It never blocks, and returns false if there are too many.
func (o *outbox) putShort(p *packet) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return true // the reader is ending the connection
	}
	if o.shorts == maxShorts {
		return false
	}
	o.shorts++
	o.add(p)
	return true
}

// putNotice queues a notice, or a gap if there are too many or p is nil.
func (o *outbox) putNotice(p, gap *packet) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed || o.gapped:
	case p == nil || o.notices == maxNotices:
		o.gapped = true
		o.add(gap)
	default:
		o.notices++
		o.add(p)
	}
}

func (o *outbox) add(p *packet) {
	o.queue = append(o.queue, p)
	o.ready.Set()
}

// takeAll returns all queued packets, or nil if the outbox is closed. It blocks until there are any. It reuses the
// slice empty.
func (o *outbox) takeAll(empty []*packet) []*packet {
	for {
		<-o.ready.C()
		o.mu.Lock()
		if o.closed {
			o.mu.Unlock()
			return nil
		}
		if batch := o.queue; len(batch) > 0 {
			o.queue, o.shorts, o.notices, o.gapped, o.writing = empty[:0], 0, 0, false, true
			o.mu.Unlock()
			return batch
		}
		o.mu.Unlock() // spurious: the previous batch had all packets
	}
}

// markWritten releases the space of a batch.
func (o *outbox) markWritten(batch []*packet) {
	o.mu.Lock()
	for _, p := range batch {
		if p.counted {
			o.bytes -= len(p.head) + len(p.body)
		}
	}
	if o.space != nil && o.bytes < maxQueued {
		close(o.space)
		o.space = nil
	}
	o.writing = false
	if o.drained != nil && len(o.queue) == 0 {
		close(o.drained)
		o.drained = nil
	}
	o.mu.Unlock()
}

// flushed returns a channel that is closed once all packets queued now have been written or never will be.
func (o *outbox) flushed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || len(o.queue) == 0 && !o.writing {
		done := make(chan struct{})
		close(done)
		return done
	}
	if o.drained == nil {
		o.drained = make(chan struct{})
	}
	return o.drained
}

// close drops all queued packets and rejects later ones.
func (o *outbox) close() {
	o.mu.Lock()
	dropped := o.queue
	if !o.closed {
		o.closed, o.queue = true, nil
		if o.space != nil {
			close(o.space)
			o.space = nil
		}
		if o.drained != nil {
			close(o.drained)
			o.drained = nil
		}
		close(o.ready)
	}
	o.mu.Unlock()
	for _, p := range dropped {
		p.done()
	}
}
