// Package surplus decides without counting all ended tasks whether a queue has more of them than retention allows.
//
// A [Counts] remembers how many tasks a queue had, and counts only those that have ended since. Its result errs on
// one side: tasks that were deleted or reopened meanwhile are still counted. So a queue without a surplus costs a
// purge next to nothing, and before a purge deletes anything it finds the exact limit. The counts are in memory: a
// process that starts to purge counts each queue once.
package surplus

import (
	"math"
	"sync"
	"time"
)

const (
	// lateWrite is longer than a task's end takes to be stored. Ends younger than that are counted each time.
	lateWrite = time.Minute
	// recount is after how long a queue is counted again, because the store's clock may have stepped.
	recount = time.Hour
	// maxQueues bounds the memory. With more queues, some are counted again.
	maxQueues = 10_000
)

// A Count returns how many tasks of a queue ended after one instant and not after another, in nanoseconds since 1970.
// It may stop at limit.
type Count func(after, notAfter int64, limit int) (int, error)

// Counts holds what is known about the queues of a store. The zero Counts knows nothing. It is safe for concurrent
// use.
type Counts struct {
	mu     sync.Mutex
	queues map[string]known
}

type known struct {
	n       int   // tasks that ended until upTo
	upTo    int64 // nanoseconds since 1970
	counted int64 // when all were counted
}

// Exceeds reports whether more than limit tasks of a queue may have ended. now is the store's time in nanoseconds since
// 1970. False is exact, except that tasks whose end was stored more than a minute late may be missed for an hour.
func (c *Counts) Exceeds(queue string, now int64, limit int, count Count) (bool, error) {
	settled := now - int64(lateWrite)
	k, ok := c.get(queue)
	if !ok || k.upTo > settled || now-k.counted > int64(recount) {
		n, err := count(0, settled, limit+1)
		if err != nil {
			return false, err
		}
		k = known{n, settled, now}
	} else {
		n, err := count(k.upTo, settled, limit+1)
		if err != nil {
			return false, err
		}
		k.n, k.upTo = k.n+n, settled
	}
	recent := 0
	if k.n <= limit {
		var err error
		if recent, err = count(settled, math.MaxInt64, limit+1-k.n); err != nil {
			return false, err
		}
	}
	if k.n+recent > limit {
		c.forget(queue)
		return true, nil
	}
	c.put(queue, k)
	return false, nil
}

func (c *Counts) get(queue string) (known, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.queues[queue]
	return k, ok
}

func (c *Counts) put(queue string, k known) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.queues == nil || len(c.queues) >= maxQueues {
		c.queues = map[string]known{}
	}
	c.queues[queue] = k
}

func (c *Counts) forget(queue string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.queues, queue)
}
