package surplus

import (
	"errors"
	"testing"
	"time"
)

// A history is the ends of a queue's tasks.
type history struct {
	ends     []int64
	examined int
	err      error
}

func (h *history) count(after, notAfter int64, limit int) (int, error) {
	n := 0
	for _, at := range h.ends {
		if after < at && at <= notAfter && n < limit {
			n++
		}
	}
	h.examined += n
	return n, h.err
}

func (h *history) end(now int64, n int) {
	for range n {
		h.ends = append(h.ends, now)
	}
}

const start = int64(1000 * time.Hour)

func TestExceeds(t *testing.T) {
	var c Counts
	var h history
	now := start
	check := func(want bool) {
		t.Helper()
		if got, err := c.Exceeds("q", now, 100, h.count); got != want || err != nil {
			t.Fatalf("got %v, %v, want %v", got, err, want)
		}
	}
	check(false)
	h.end(now, 100)
	check(false)
	now += int64(2 * time.Minute)
	check(false)
	h.end(now, 1)
	check(true)
	h.ends = h.ends[1:] // as a purge would
	now += int64(2 * time.Minute)
	check(false)
	h.ends[0] = now - int64(90*time.Second) // an end that was stored late, which the hourly count finds
	h.end(now, 1)
	check(true)
}

// A queue that doesn't change is counted once.
func TestUnchangedIsNotCountedAgain(t *testing.T) {
	var c Counts
	var h history
	h.end(start, 5000)
	now := start + int64(2*time.Minute)
	for minute := range 50 {
		if got, err := c.Exceeds("q", now, 5000, h.count); got || err != nil {
			t.Fatal(got, err)
		}
		if minute == 0 {
			h.examined = 0
		}
		now += int64(time.Minute)
	}
	if h.examined > 0 {
		t.Errorf("examined %d ends of an unchanged queue", h.examined)
	}
}

// The ends of the last minute are counted until they are older, so that an end that is stored late is not missed.
func TestLateWrites(t *testing.T) {
	var c Counts
	var h history
	now := start
	h.end(now, 10)
	if got, err := c.Exceeds("q", now, 10, h.count); got || err != nil {
		t.Fatal(got, err)
	}
	h.end(now-int64(30*time.Second), 1)
	now += int64(time.Minute)
	if got, err := c.Exceeds("q", now, 10, h.count); !got || err != nil {
		t.Fatal("missed an end that was stored 30 s late", err)
	}
}

// After the clock was set back, what is known is worthless.
func TestClockSetBack(t *testing.T) {
	var c Counts
	var h history
	now := start
	if got, err := c.Exceeds("q", now, 10, h.count); got || err != nil {
		t.Fatal(got, err)
	}
	now -= int64(24 * time.Hour)
	h.end(now, 11)
	now += int64(2 * time.Minute)
	if got, err := c.Exceeds("q", now, 10, h.count); !got || err != nil {
		t.Fatal("missed ends before the step", err)
	}
}

func TestErrors(t *testing.T) {
	var c Counts
	h := history{err: errors.New("down")}
	if _, err := c.Exceeds("q", start, 10, h.count); !errors.Is(err, h.err) {
		t.Fatal(err)
	}
	h.err = nil
	h.end(start, 11)
	if got, err := c.Exceeds("q", start, 10, h.count); !got || err != nil {
		t.Fatal(got, err)
	}
}

func TestQueuesAreBounded(t *testing.T) {
	var c Counts
	var h history
	for i := range 3 * maxQueues {
		if _, err := c.Exceeds(time.Duration(i).String(), start, 10, h.count); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.queues) > maxQueues {
		t.Errorf("%d queues are remembered", len(c.queues))
	}
}
