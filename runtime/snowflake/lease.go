package snowflake

import (
	"context"
	"crypto/rand"
	"encoding/json"
	mrand "math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	prefix    = "snowflake/"
	opTimeout = 5 * time.Second
	maxRaces  = 50 // lost races for a number
)

// A holding is the document of a node number.
type holding struct {
	Owner string `json:"owner,omitempty"` // "" if released
	Until int64  `json:"until"`           // no id beyond this millisecond exists
}

// A sighting is the revision of a document and when it was first seen.
type sighting struct {
	rev   int64
	since time.Duration
}

// keep holds a number until ctx ends. It extends the reservation every third of a lease, and when woken.
func (g *Generator) keep(ctx context.Context) {
	defer close(g.ended)
	tick := time.NewTicker(lease / 3)
	defer tick.Stop()
	for ticks := 0; ; {
		select {
		case <-tick.C:
			if ticks++; ticks%6 == 0 {
				g.recover(ctx)
			}
		case <-g.wakeup.C():
		case <-ctx.Done():
			return
		}
		_ = g.attempt(ctx) // Next returns the error
	}
}

// attempt holds a number, reserves ids, and wakes callers of Next.
func (g *Generator) attempt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	err := g.hold(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
	close(g.tried)
	g.tried = make(chan struct{})
	return err
}

func (g *Generator) hold(ctx context.Context) error {
	g.mu.Lock()
	held, stale := g.holding, g.stale
	g.mu.Unlock()
	if held && !stale {
		held, err := g.extend(ctx)
		if held || err != nil {
			return err
		}
	} else if stale {
		// The released document reserves the ids used until now, so a process whose clock is ahead of them can claim the
		// number.
		_ = g.release(ctx) // on failure it is free after a lease
	}
	return g.take(ctx)
}

// extend extends the reservation and reports whether this generator still owns the number.
func (g *Generator) extend(ctx context.Context) (held bool, err error) {
	now, err := g.now()
	if err != nil {
		return true, err
	}
	g.mu.Lock()
	until := max(g.until, max(now, g.last)+lease.Milliseconds())
	node := g.node
	g.mu.Unlock()
	for range 3 {
		rev, err := g.put(ctx, node, g.rev, holding{g.owner, until})
		if err == nil {
			g.rev = rev
			g.mu.Lock()
			g.until = until
			g.mu.Unlock()
			return true, nil
		}
		if backend.CodeOf(err) != backend.ErrAborted {
			return true, err // the next attempt finds out whether it was written
		}
		// Another process owns the number, or the reply to an earlier extension was lost.
		doc, err := g.docs.Get(ctx, name(node))
		if h, ok := read(doc); err == nil && ok && h.Owner == g.owner {
			g.rev = doc.Revision
			continue
		} else if err != nil && backend.CodeOf(err) != backend.ErrNotFound {
			return true, err
		}
		break
	}
	g.mu.Lock()
	g.holding = false
	g.mu.Unlock()
	return false, nil
}

// take claims a free number.
func (g *Generator) take(ctx context.Context) error {
	for range maxRaces {
		now, err := g.now()
		if err != nil {
			return err
		}
		node, rev, floor, err := g.choose(ctx, now)
		if err != nil {
			return err
		}
		g.mu.Lock()
		if g.last-now <= maxAhead {
			floor = max(floor, g.last) // so that ids increase
		}
		g.mu.Unlock()
		h := holding{rand.Text(), max(now, floor) + lease.Milliseconds()}
		rev, err = g.put(ctx, node, rev, h)
		if err != nil && backend.CodeOf(err) != backend.ErrAborted {
			// The write may have succeeded.
			doc, again := g.docs.Get(ctx, name(node))
			if again != nil {
				return err
			}
			if is, ok := read(doc); ok && is == h {
				rev, err = doc.Revision, nil
			}
		}
		if err != nil {
			continue // another process was faster
		}
		g.owner, g.rev = h.Owner, rev
		g.mu.Lock()
		g.holding, g.stale, g.node, g.until = true, false, node, h.Until
		g.last, g.seq = floor, maxSeq // the next id is beyond floor
		g.mu.Unlock()
		return nil
	}
	return backend.Errorf(backend.ErrUnavailable, "lost %d races for a node number to other processes", maxRaces)
}

// choose returns a free number whose ids are not ahead of the clock, and the floor after which ids begin. It prefers
// a released number, so that there are never more documents than concurrent processes.
func (g *Generator) choose(ctx context.Context, now int64) (node, rev, floor int64, err error) {
	docs, err := g.watch(ctx)
	if err != nil {
		return 0, 0, 0, err
	}
	type candidate struct{ node, rev, floor int64 }
	var free []candidate
	taken := make([]bool, g.nodes)
	for _, d := range docs {
		n, ok := number(d.Name)
		if !ok || n >= int64(len(taken)) {
			continue
		}
		taken[n] = true
		if h, ok := read(d); ok && h.Until <= now+maxAhead && (h.Owner == "" || g.expired(n)) {
			free = append(free, candidate{n, d.Revision, h.Until})
		}
	}
	if len(free) == 0 {
		for n, t := range taken {
			if !t {
				free = append(free, candidate{node: int64(n)})
			}
		}
	}
	if len(free) == 0 {
		return 0, 0, 0, backend.Errorf(backend.ErrResourceExhausted,
			"all %d node numbers are in use or ahead of this machine's clock", g.nodes)
	}
	c := free[mrand.IntN(len(free))]
	return c.node, c.rev, c.floor, nil
}

// watch lists all documents and records which have changed.
func (g *Generator) watch(ctx context.Context) ([]backend.Doc, error) {
	docs, err := g.docs.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	now := g.clock.mono()
	for _, d := range docs {
		if n, ok := number(d.Name); ok && g.seen[n].rev != d.Revision {
			g.seen[n] = sighting{d.Revision, now}
		}
	}
	return docs, nil
}

// expired reports whether a number's document has been unchanged for a lease. Infrequent looks are safe: every write
// raises the revision.
func (g *Generator) expired(node int64) bool {
	s, ok := g.seen[node]
	return ok && g.clock.mono()-s.since >= lease
}

// recover releases the numbers of dead processes for new processes, which have not watched the documents yet.
func (g *Generator) recover(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	docs, err := g.watch(ctx)
	if err != nil {
		return
	}
	for _, d := range docs {
		h, ok := read(d)
		if n, is := number(d.Name); ok && is && h.Owner != "" && h.Owner != g.owner && g.expired(n) {
			_, _ = g.put(ctx, n, d.Revision, holding{Until: h.Until}) // other generators do the same
		}
	}
}

// release releases the number.
func (g *Generator) release(ctx context.Context) error {
	g.mu.Lock()
	held, node, last := g.holding, g.node, g.last
	g.holding = false
	g.mu.Unlock()
	if !held {
		return nil
	}
	_, err := g.put(ctx, node, g.rev, holding{Until: last})
	if backend.CodeOf(err) == backend.ErrAborted {
		return nil // another process owns it
	}
	return err
}

func (g *Generator) put(ctx context.Context, node, rev int64, h holding) (int64, error) {
	value, err := json.Marshal(h)
	if err != nil {
		return 0, err
	}
	return g.docs.PutIf(ctx, name(node), rev, value)
}

func read(d backend.Doc) (h holding, ok bool) {
	return h, json.Unmarshal(d.Value, &h) == nil && h.Until >= 0
}

// number returns the node number of a document's name.
func number(name string) (int64, bool) {
	n, err := strconv.ParseUint(strings.TrimPrefix(name, prefix), 10, nodeBits)
	return int64(n), err == nil
}
