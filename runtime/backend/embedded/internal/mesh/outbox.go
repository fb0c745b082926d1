package mesh

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/afgen/afgen/runtime/internal/signal"
)

const (
	maxQueued  = 4 << 20  // bytes of requests and replies that wait for a connection; beyond, their senders wait
	maxPosted  = 16 << 10 // short answers
	maxNotices = 256
)

// A packet is an encoded frame on its way out.
type packet struct {
	head, body []byte
	sent       func() // called once, when it is written or never will be; may be nil
	counted    bool   // among the bytes of its outbox
	state      atomic.Int32
}

const (
	packetQueued int32 = iota
	packetTaken        // by the writer: it may have reached the peer
	packetWithdrawn
)

// withdraw keeps the packet from being written. False means that it may have been.
func (p *packet) withdraw() bool {
	return p.state.CompareAndSwap(packetQueued, packetWithdrawn) || p.state.Load() == packetWithdrawn
}

func (p *packet) done() {
	if p.sent != nil {
		p.sent()
	}
}

// An outbox holds what is to be written to one connection, in order, and is bounded in three ways: whoever sends a
// request or a reply waits for room; a notice too many becomes a gap; and a peer that causes more short answers than it
// reads loses the connection.
type outbox struct {
	mu      sync.Mutex
	queue   []*packet
	bytes   int // of requests and replies, also those being written
	posted  int // of the others, but notices
	notices int
	gapped  bool // a gap ends the notices of the queue
	closed  bool
	ready   signal.Signal // set while the writer has something to do
	empty   chan struct{} // closed when all that was queued is written, or the outbox closed; nil while no caller waits
	writing bool          // a batch is being written
	room    chan struct{} // closed when bytes have been written, or the outbox closed; nil while no caller waits
}

func newOutbox() *outbox { return &outbox{ready: signal.New()} }

var errLinkEnded = errors.New("the connection has ended")

// put queues a request or a reply and waits for room while there is none. The error is that of ctx, or errLinkEnded.
func (o *outbox) put(ctx context.Context, p *packet) error {
	for {
		o.mu.Lock()
		if o.closed {
			o.mu.Unlock()
			return errLinkEnded
		}
		if o.bytes < maxQueued {
			p.counted = true
			o.bytes += len(p.head) + len(p.body)
			o.add(p)
			o.mu.Unlock()
			return nil
		}
		if o.room == nil {
			o.room = make(chan struct{})
		}
		room := o.room
		o.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// post queues a short answer and never waits. False means that there are too many of them.
func (o *outbox) post(p *packet) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return true // whoever closed it knows
	}
	if o.posted == maxPosted {
		return false
	}
	o.posted++
	o.add(p)
	return true
}

// tell queues a notice, or the gap that stands for it and those that follow; nil asks for the gap.
func (o *outbox) tell(p, gap *packet) {
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

// take returns everything that is queued, or nil when the outbox is closed. It waits for one of the two. empty is a
// slice to use again.
func (o *outbox) take(empty []*packet) []*packet {
	for {
		<-o.ready.C()
		o.mu.Lock()
		if o.closed {
			o.mu.Unlock()
			return nil
		}
		if batch := o.queue; len(batch) > 0 {
			o.queue, o.posted, o.notices, o.gapped, o.writing = empty[:0], 0, 0, false, true
			o.mu.Unlock()
			return batch
		}
		o.mu.Unlock() // a stale signal: the last batch had it all
	}
}

// written gives back the room of a batch.
func (o *outbox) written(batch []*packet) {
	o.mu.Lock()
	for _, p := range batch {
		if p.counted {
			o.bytes -= len(p.head) + len(p.body)
		}
	}
	if o.room != nil && o.bytes < maxQueued {
		close(o.room)
		o.room = nil
	}
	o.writing = false
	if o.empty != nil && len(o.queue) == 0 {
		close(o.empty)
		o.empty = nil
	}
	o.mu.Unlock()
}

// flushed returns a channel that is closed once all that is queued now has been written, or never will be.
func (o *outbox) flushed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || len(o.queue) == 0 && !o.writing {
		done := make(chan struct{})
		close(done)
		return done
	}
	if o.empty == nil {
		o.empty = make(chan struct{})
	}
	return o.empty
}

// close drops what is queued. What comes later is refused.
func (o *outbox) close() {
	o.mu.Lock()
	dropped := o.queue
	if !o.closed {
		o.closed, o.queue = true, nil
		if o.room != nil {
			close(o.room)
			o.room = nil
		}
		if o.empty != nil {
			close(o.empty)
			o.empty = nil
		}
		close(o.ready)
	}
	o.mu.Unlock()
	for _, p := range dropped {
		p.done()
	}
}
