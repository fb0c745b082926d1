package mongo

import "time"

// SetClock replaces what counts the time since the server was asked for its own.
func (c *Client) SetClock(since func(time.Time) time.Duration) { c.clock.since = since }

// FirstFields returns the fields that the indexes of tasks begin with.
func FirstFields() []string {
	fields := []string{"_id"}
	for _, x := range indexes {
		fields = append(fields, x.keys[0].Key)
	}
	return fields
}

// LookWhilePreparing asks the server once while another caller prepares the client, and returns the state after that.
func (c *Client) LookWhilePreparing() error {
	c.preparing <- struct{}{}
	defer func() { <-c.preparing }()
	c.look()
	_, err := c.conn.Get()
	return err
}
