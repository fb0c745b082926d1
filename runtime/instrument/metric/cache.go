package metric

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// methodSeries and queueSeries have the series of operations that succeed, so that these are looked up once for each
// name rather than for each value. Others are found by their labels.
type (
	methodSeries struct {
		service, name  string
		client, server slot
	}
	queueSeries struct {
		name                                                                    string
		submitted, wait, run, attempts, total, ended, claimDuration, claimTasks slot
	}
)

// methodKey identifies a method. Its parts are not joined, so that it allocates nothing.
type methodKey struct{ service, method string }

func newMethod(k methodKey) *methodSeries { return &methodSeries{service: k.service, name: k.method} }

func newQueue(name string) *queueSeries { return &queueSeries{name: name} }

// A slot has a series, or nil before its first value.
type slot struct{ series atomic.Pointer[Series] }

// recordIn records a value of a metric into the series that a slot keeps. l are always the labels of that series.
func (r *Recorder) recordIn(ctx context.Context, to *slot, metric int, value float64, l *labels) {
	s := to.series.Load()
	if s == nil {
		found := r.find(metric, *l)
		s = &found
		to.series.Store(s)
	}
	(*s)(ctx, value)
}

// A cache has a value for each key, up to MaxSeries. Readers need no lock. The zero cache is empty.
type cache[K comparable, V any] struct {
	mu  sync.Mutex
	all atomic.Pointer[map[K]*V] // replaced when a value is added
}

// get returns the value of a key. If it must be made and the cache is full, it is not kept.
func (c *cache[K, V]) get(key K, make func(K) *V) *V {
	if all := c.all.Load(); all != nil {
		if v := (*all)[key]; v != nil {
			return v
		}
	}
	return c.add(key, make)
}

func (c *cache[K, V]) add(key K, make func(K) *V) *V {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[K]*V{}
	if old := c.all.Load(); old != nil {
		if v := (*old)[key]; v != nil {
			return v
		}
		if len(*old) >= MaxSeries {
			return make(key)
		}
		maps.Copy(all, *old)
	}
	v := make(key)
	all[key] = v
	c.all.Store(&all)
	return v
}

// process is when this process began. The time since then needs no wall clock.
var process = time.Now()

// now returns the time since the process began.
func now() time.Duration { return time.Since(process) }
