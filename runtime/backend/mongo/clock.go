package mongo

import (
	"context"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
)

// A clock estimates the server's time: the last time it reported, advanced by this process's monotonic clock. Steps of
// the local wall clock don't affect it; a step of the server's clock is adopted within measureEvery.
//
// The server could compare times itself ($$NOW), but only in expressions, which use no index.
type clock struct {
	mu            sync.Mutex
	base          int64     // the server's time at baseAt, in nanoseconds since 1970
	baseAt        time.Time // only its monotonic reading is used
	lastTimestamp int64     // last value returned by timestamps

	since func(time.Time) time.Duration // time.Since; replaced by tests
}

const (
	measureEvery = 10 * time.Second
	samples      = 3
)

// now returns the server's time.
func (c *clock) now() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.base + int64(c.since(c.baseAt))
}

// timestamps returns the first of n consecutive timestamps, one nanosecond apart, that this process has not used
// before. They order tasks by age.
func (c *clock) timestamps(n int) int64 {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	first := max(now, c.lastTimestamp+1)
	c.lastTimestamp = first + int64(n) - 1
	return first
}

// measure reads the server's time. It keeps the current estimate if that agrees within the error of the measurement, so
// that the clock doesn't jitter.
func (c *clock) measure(ctx context.Context, db *driver.Database) error {
	var base int64
	var at time.Time
	fastest := time.Duration(1<<63 - 1)
	for range samples {
		var hello struct{ LocalTime time.Time }
		before := time.Now()
		if err := db.RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello); err != nil {
			return err
		}
		if trip := time.Since(before); trip < fastest {
			fastest = trip
			// The server truncates to milliseconds; it replied half a round trip ago.
			base, at = hello.LocalTime.UnixNano()+int64(time.Millisecond/2), before.Add(trip/2)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	unsure := fastest/2 + time.Millisecond
	if off := time.Duration(c.base + int64(at.Sub(c.baseAt)) - base); c.baseAt.IsZero() || off.Abs() > unsure {
		c.base, c.baseAt = base, at
	}
	if ahead := c.lastTimestamp - base; ahead > int64(time.Second) {
		c.lastTimestamp = base // the server's clock was set back, and ages follow it
	}
	return nil
}

// measureLoop measures until the client is closed. While the server is down, the clock keeps running.
func (c *Client) measureLoop() {
	tick := time.NewTicker(measureEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(c.ctx, c.config.Patience)
		if err := c.clock.measure(ctx, c.db); err != nil && c.ctx.Err() == nil {
			c.config.Logger.Debug("reading the server's clock failed", "error", err)
		}
		cancel()
	}
}
