package mesh

import "sync"

// balance counts the calls of this Mesh that each instance has, so that the next one goes to the instance with the fewest.
type balance struct {
	mu       sync.Mutex
	inFlight map[target]int
	turn     int
}

type target struct{ service, peer string }

func (t *try) target() target { return target{t.call.req.Service, t.peer} }

// pick returns the try whose instance has the fewest calls of this Mesh in flight, in turn among equals, with its way
// set. nil means that none of them can be reached now.
func (m *Mesh) pick(open []*try) *try {
	ways := make([]way, len(open))
	for i, t := range open {
		ways[i] = m.way(t.peer)
	}
	b := &m.balance
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn++
	best, fewest := -1, 0
	for i := range open {
		i = (b.turn + i) % len(open)
		if ways[i] == nil {
			continue
		}
		if n := b.inFlight[open[i].target()]; best < 0 || n < fewest {
			best, fewest = i, n
		}
	}
	if best < 0 {
		return nil
	}
	t := open[best]
	t.way = ways[best]
	b.count(t)
	return t
}

// begun counts a call as in flight.
func (b *balance) begun(t *try) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count(t)
}

func (b *balance) count(t *try) {
	if b.inFlight == nil {
		b.inFlight = map[target]int{}
	}
	b.inFlight[t.target()]++
	t.counted = true
}

// done counts it as in flight no more.
func (b *balance) done(t *try) {
	if !t.counted {
		return
	}
	t.counted = false
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inFlight[t.target()]--; b.inFlight[t.target()] == 0 {
		delete(b.inFlight, t.target())
	}
}

// way returns the way to an instance, or nil.
func (m *Mesh) way(peer string) way {
	if peer == m.address.ID {
		return &m.home
	}
	if l := m.link(peer); l != nil {
		return l
	}
	return nil
}
