package mesh

import "sync"

// balance counts this Mesh's calls in flight by instance, so that the next call goes to the instance with the fewest.
type balance struct {
	mu       sync.Mutex
	inFlight map[target]int
	next     int
}

type target struct{ service, peer string }

func (t *try) target() target { return target{t.call.req.Service, t.peer} }

// pick returns the try whose instance has the fewest calls in flight from this Mesh, round-robin among equals, with its
// route set. It returns nil if none is connected.
func (m *Mesh) pick(open []*try) *try {
	routes := make([]route, len(open))
	for i, t := range open {
		routes[i] = m.routeTo(t.peer)
	}
	b := &m.balance
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	best, fewest := -1, 0
	for i := range open {
		i = (b.next + i) % len(open)
		if routes[i] == nil {
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
	t.route = routes[best]
	b.count(t)
	return t
}

// started counts a call as in flight.
func (b *balance) started(t *try) {
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

// done ends the count of started. It does nothing if the try isn't counted.
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

// routeTo returns the route to an instance, or nil if it isn't connected.
func (m *Mesh) routeTo(peer string) route {
	if peer == m.address.ID {
		return &m.local
	}
	if l := m.link(peer); l != nil {
		return l
	}
	return nil
}
