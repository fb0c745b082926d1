package backend

import (
	"fmt"
	"time"
)

// The limits of WorkerSettings. Those of //af:worker are the same.
const (
	MaxSlots      = 10_000 // tasks at once
	MaxRetries    = 1000
	MaxTimeout    = 30 * 24 * time.Hour
	MaxBackoff    = 24 * time.Hour
	MaxBackoffMax = 30 * 24 * time.Hour
)

// WorkerSettings override settings of one worker. A nil field overrides nothing.
type WorkerSettings struct {
	Max        *int           // tasks at once on each instance
	Retries    *int           // attempts after the first
	Timeout    *time.Duration // of an attempt; 0 for none
	Backoff    *time.Duration // before the first retry
	BackoffMax *time.Duration // the longest delay; 0 is the default
}

// Check returns an error without a code if a setting is out of range.
func (s WorkerSettings) Check() error {
	inRange := func(name string, n *int, low, high int) error {
		if n == nil || *n >= low && *n <= high {
			return nil
		}
		return fmt.Errorf("%s %d out of range [%d, %d]", name, *n, low, high)
	}
	within := func(name string, d *time.Duration, low, high time.Duration) error {
		if d == nil || *d >= low && *d <= high {
			return nil
		}
		return fmt.Errorf("%s %v out of range [%v, %v]", name, *d, low, high)
	}
	for _, err := range []error{
		inRange("max", s.Max, 1, MaxSlots), inRange("retries", s.Retries, 0, MaxRetries),
		within("timeout", s.Timeout, 0, MaxTimeout), within("backoff", s.Backoff, 1, MaxBackoff),
		within("backoff max", s.BackoffMax, 0, MaxBackoffMax),
	} {
		if err != nil {
			return err
		}
	}
	if s.Backoff != nil && s.BackoffMax != nil && *s.BackoffMax != 0 && *s.BackoffMax < *s.Backoff {
		return fmt.Errorf("backoff max %v is less than the backoff %v", *s.BackoffMax, *s.Backoff)
	}
	return nil
}
