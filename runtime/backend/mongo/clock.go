package mongo

import (
	"context"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
)

// A clock is the server's, as far as it is known here: what it said last, and what this process's monotonic clock has
// counted since. No step of this machine's wall clock moves it, and one of the server's does within measureEvery.
//
// The server could compare times itself ($$NOW), but only in expressions, which use no index.
type clock struct {
	mu   sync.Mutex
	base int64     // nanoseconds since 1970 by the server
	at   time.Time // when that was; only its monotonic reading counts
	last int64     // the last moment given out

	since func(time.Time) time.Duration // time.Since
}

const (
	measureEvery = 10 * time.Second
	samples      = 3
)

// now is the server's time.
func (k *clock) now() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.base + int64(k.since(k.at))
}

// moments returns the first of n moments, one nanosecond apart, that this process has not been given before: ages of
// tasks.
func (k *clock) moments(n int) int64 {
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	first := max(now, k.last+1)
	k.last = first + int64(n) - 1
	return first
}

// measure asks the server for its time, and takes it over unless what is known agrees with it as well as such a
// measurement can tell: so the clock doesn't jitter.
func (k *clock) measure(ctx context.Context, db *driver.Database) error {
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
			// The server's answer is cut to milliseconds, and was given half way.
			base, at = hello.LocalTime.UnixNano()+int64(time.Millisecond/2), before.Add(trip/2)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	unsure := fastest/2 + time.Millisecond
	if off := time.Duration(k.base + int64(at.Sub(k.at)) - base); k.at.IsZero() || off.Abs() > unsure {
		k.base, k.at = base, at
	}
	if ahead := k.last - base; ahead > int64(time.Second) {
		k.last = base // the server's clock was set back: ages follow it
	}
	return nil
}

// keepTime measures until the client is closed. Where the server does not answer the clock goes on as it was.
func (c *Client) keepTime() {
	tick := time.NewTicker(measureEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.alive.Done():
			return
		}
		ctx, cancel := context.WithTimeout(c.alive, c.config.Patience)
		if err := c.clock.measure(ctx, c.db); err != nil && c.alive.Err() == nil {
			c.config.Logger.Debug("the server's clock was not read", "error", err)
		}
		cancel()
	}
}
