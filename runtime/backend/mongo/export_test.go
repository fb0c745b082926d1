package mongo

import "time"

// SetClock replaces the function that measures the time since the server's time was read.
func (c *Client) SetClock(since func(time.Time) time.Duration) { c.clock.since = since }

// ProbeWhilePreparing probes the server while another caller prepares the client, and returns the resulting state.
func (c *Client) ProbeWhilePreparing() error {
	c.prepareSem <- struct{}{}
	defer func() { <-c.prepareSem }()
	c.probe()
	_, err := c.conn.Get()
	return err
}

// GroupsInFlight is how many shared commands may be under way.
const GroupsInFlight = groupsInFlight

// NeverSlow makes shared commands count as under way however long they take.
func NeverSlow(c *Config) { c.slowGroup = time.Hour }

// QueuedInserts returns the number of inserts that wait for a shared command.
func (c *Client) QueuedInserts() int { return c.inserts.Queued() }
