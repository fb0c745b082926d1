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
	lease = 30 * time.Second // how long a document must stand still, and for how long ids are reserved ahead
	// maxAhead is how far ids may run ahead of the clock, in milliseconds, and farStep by how much more a clock must lag
	// for it to have been set back: then waiting is no way out.
	maxAhead = 5000
	farStep  = 1000
)

// A Generator makes ids. Its methods are safe for concurrent use. Whoever made it closes it.
type Generator struct {
	docs  backend.Docs
	clock clock
	nodes int // that there are

	mu      sync.Mutex
	holding bool  // a number
	node    int64 // it
	last    int64 // the millisecond of the last id
	seq     int64 // its sequence
	until   int64 // the last millisecond that is reserved
	stale   bool  // the clock was set back: another number is needed
	closed  bool
	err     error         // why the last attempt to hold a number and a reservation failed
	tried   chan struct{} // closed by the next attempt

	// Only the keeper uses these, and New and Close while there is none.
	owner  string // that this generator is in its number's document
	rev    int64  // of that document
	seen   map[int64]sighting
	wakeup signal.Signal // the keeper is wanted
	end    context.CancelFunc
	ended  chan struct{}
}

// A clock is what a generator knows of time. Its two readings have nothing to do with each other.
type clock struct {
	wall func() time.Time     // the machine's, which may be set
	mono func() time.Duration // only goes forward
}

// New makes a generator: it takes a node number, for which it waits until ctx ends where all 1024 are in use, and keeps it
// until Close.
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

// Next returns an id that no other call on this backend returns, greater than any that this generator has returned before
// (unless its clock was set back by more than 5 s meanwhile). It waits only where the reservation of ids has run out or
// ids are 5 s ahead of the clock, until ctx ends. ErrUnavailable, or what the backend answers, means that no ids are
// reserved and none could be; ErrFailedPrecondition that the clock is out of range, or the generator closed.
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
			return 0, backend.Errorf(backend.CodeOf(ctx.Err()), "waiting for an id: %w", context.Cause(ctx))
		}
	}
}

// A need is what keeps an id from being made.
type need struct {
	err         error
	wait        time.Duration
	reservation bool
}

// draw makes an id. g.mu is held.
func (g *Generator) draw() (ID, need) {
	now, err := g.now()
	switch {
	case g.closed:
		return 0, need{err: backend.NewError(backend.ErrFailedPrecondition, "the generator of ids is closed")}
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

// now is the clock's time as ids have it.
func (g *Generator) now() (int64, error) {
	t := g.clock.wall()
	ms := t.UnixMilli() - Epoch.UnixMilli()
	// What is reserved ahead must fit, too.
	if ms < 0 || ms > maxTime-lease.Milliseconds()-maxAhead-farStep {
		return 0, backend.Errorf(backend.ErrFailedPrecondition, "ids can't be made in the year %d: set the machine's clock", t.Year())
	}
	return ms, nil
}

// Close gives the number back and ends the generator, once; ctx bounds the write. When that fails, the number is free
// after a lease, and nothing else is lost.
func (g *Generator) Close(ctx context.Context) error {
	g.mu.Lock()
	closed := g.closed
	if !closed {
		g.closed = true
		close(g.tried) // whoever waits learns it
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
