package tasks

import "sync"

// claimsInFlight numbers the claims of this process in the order in which they are sent, and tracks those in flight:
// sent, but their granted tasks not registered yet. The zero value is ready to use. It is safe for concurrent use.
//
// The reconciler needs it: a task that the store has granted to this process but that doesn't run here may belong to
// a claim in flight.
type claimsInFlight struct {
	mu   sync.Mutex
	next int64
	open map[int64]struct{}
}

// begin numbers a claim that is about to be sent.
func (c *claimsInFlight) begin() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = map[int64]struct{}{}
	}
	n := c.next
	c.next++
	c.open[n] = struct{}{}
	return n
}

// end records that a claim's tasks are registered, or that it failed.
func (c *claimsInFlight) end(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, n)
}

// bounds returns the number of the next claim, and the number below which no claim is in flight.
func (c *claimsInFlight) bounds() (next, ended int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ended = c.next
	for n := range c.open {
		ended = min(ended, n)
	}
	return c.next, ended
}
