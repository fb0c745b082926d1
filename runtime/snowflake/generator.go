package snowflake

import (
	"context"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

const (
	lease = 30 * time.Second // how long an expired document is unchanged, and how far ahead ids are reserved
	// maxAhead is how far ids may be ahead of the clock, in milliseconds. If the clock lags by farStep more, it was set
	// back and waiting would take too long.
	maxAhead = 5000
	farStep  = 1000
)

// A Generator generates ids. Its methods are safe for concurrent use. The caller of New must close it.
type Generator struct {
	docs  backend.Docs
	clock clock
	nodes int // how many there are

	mu      sync.Mutex
	holding bool  // whether it has a number
	node    int64 // the number
	last    int64 // millisecond of the last id
	seq     int64 // sequence of the last id
	until   int64 // last reserved millisecond
	stale   bool  // the clock was set back: claim another number
	closed  bool
	err     error         // of the last attempt to claim a number and reserve ids
	tried   chan struct{} // closed when the next attempt ends

	// The keeper goroutine owns these; New and Close use them only while it isn't running.
	owner  string // this generator's owner value in the document
	rev    int64  // revision of the document
	seen   map[int64]sighting
	wakeup signal.Signal // wakes the keeper
	end    context.CancelFunc
	ended  chan struct{}
}

// A clock reads the time. Its two readings are unrelated.
type clock struct {
	wall func() time.Time     // the machine's clock, which may be set
	mono func() time.Duration // monotonic
}

// New returns a Generator with a node number, which it keeps until Close. If all 1024 numbers are in use, New waits
// for one until ctx ends.
func New(ctx context.Context, docs backend.Docs) (*Generator, error) {
	begun := time.Now()
	g := newGenerator(docs, clock{wall: time.Now, mono: func() time.Duration { return time.Since(begun) }})
	for {
		err := g.attempt(ctx)
		if err == nil {
			break
		}
		if backend.CodeOf(err) != backend.ErrResourceExhausted || !retry.Sleep(ctx, lease/8) {
			return nil, err
		}
	}
	ctx, g.end = context.WithCancel(context.Background())
	g.ended = make(chan struct{})
	go g.keep(ctx)
	return g, nil
}

func newGenerator(docs backend.Docs, c clock) *Generator {
	return &Generator{
		docs: docs, clock: c, nodes: nodes,
		tried: make(chan struct{}), seen: map[int64]sighting{}, wakeup: signal.New(),
	}
}

// Next returns an id that no other call on this backend returns. It is greater than all earlier ids of this
// generator, unless the clock was set back by more than 5 s in between. Next blocks, until ctx ends, only if the
// reservation is used up or ids are 5 s ahead of the clock. If no ids can be reserved, it returns ErrUnavailable or
// the backend's error. If the clock is out of range or the generator is closed, it returns ErrFailedPrecondition.
func (g *Generator) Next(ctx context.Context) (ID, error) {
	for asked := false; ; {
		g.mu.Lock()
		id, need := g.draw()
		tried, err := g.tried, g.err
		if asked && need.reservation && err != nil {
			need.err = err
		}
		g.mu.Unlock()
		switch {
		case need.err != nil:
			return 0, need.err
		case need.wait > 0:
			retry.Sleep(ctx, need.wait)
		case need.reservation:
			g.wakeup.Set()
			select {
			case <-tried:
				asked = true
			case <-ctx.Done():
			}
		default:
			return id, nil
		}
		if ctx.Err() != nil {
			return 0, backend.Errorf(backend.CodeOf(ctx.Err()), "wait for an id: %w", context.Cause(ctx))
		}
	}
}

// A need is what draw lacks to generate an id.
type need struct {
	err         error
	wait        time.Duration
	reservation bool
}

// draw generates an id. The caller holds g.mu.
func (g *Generator) draw() (ID, need) {
	now, err := g.now()
	switch {
	case g.closed:
		return 0, need{err: backend.NewError(backend.ErrFailedPrecondition, "id generator is closed")}
	case err != nil:
		return 0, need{err: err}
	case !g.holding || g.stale:
		return 0, need{reservation: true}
	}
	ms, seq := g.last, g.seq+1
	switch {
	case now > ms:
		ms, seq = now, 0
	case seq > maxSeq:
		ms, seq = ms+1, 0
	}
	if ahead := ms - now; ahead > maxAhead+farStep {
		g.stale = true
		return 0, need{reservation: true}
	} else if ahead > maxAhead {
		return 0, need{wait: time.Duration(ahead-maxAhead) * time.Millisecond}
	}
	if ms > g.until {
		return 0, need{reservation: true}
	}
	g.last, g.seq = ms, seq
	return pack(ms, g.node, seq), need{}
}

// now returns the time in milliseconds since Epoch.
func (g *Generator) now() (int64, error) {
	t := g.clock.wall()
	ms := t.UnixMilli() - Epoch.UnixMilli()
	// Reservations lie ahead and must fit, too.
	if ms < 0 || ms > maxTime-lease.Milliseconds()-maxAhead-farStep {
		return 0, backend.Errorf(backend.ErrFailedPrecondition,
			"clock shows year %d, which is out of range for ids: set the machine's clock", t.Year())
	}
	return ms, nil
}

// Close releases the node number and stops the generator. Only the first call has an effect; ctx bounds the write. If
// the write fails, the number is free after one lease.
func (g *Generator) Close(ctx context.Context) error {
	g.mu.Lock()
	closed := g.closed
	if !closed {
		g.closed = true
		close(g.tried) // callers of Next see the generator closed
		g.tried = make(chan struct{})
	}
	g.mu.Unlock()
	if closed {
		return nil
	}
	g.end()
	<-g.ended
	return g.release(ctx)
}
