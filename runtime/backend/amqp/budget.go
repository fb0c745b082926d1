package amqp

import (
	"sync"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	// maxRequests is how many bytes of requests a Conn holds at once: running, waiting for a slot, or being read by the
	// library.
	maxRequests = 256 << 20
	maxHintBody = backend.MaxID // bytes of a hint
)

// A budget bounds the bytes of received messages that a Conn holds. A message counts from its admission until it is
// freed, across generations.
type budget struct {
	limit int64

	mu        sync.Mutex
	used      int64
	consumers map[string]*share // by tag
}

// A share is the part of a budget that one consumer uses.
type share struct {
	budget    *budget
	tag       string
	maxBody   uint64
	counted   bool
	inTransit int64 // admitted and not yet received; guarded by budget.mu
}

// open registers a consumer of messages of at most maxBody bytes each. If counted, its messages are only admitted while
// the budget allows. open must be called before the consumer starts, and the share closed when no more messages arrive.
func (b *budget) open(tag string, maxBody uint64, counted bool) *share {
	s := &share{budget: b, tag: tag, maxBody: maxBody, counted: counted}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.consumers[tag] = s
	return s
}

// admit decides on a message by its length. Messages of an unknown tag have the largest limit and are not counted.
func (b *budget) admit(tag string, length uint64) verdict {
	if b == nil {
		if length > backend.MaxMessage {
			return tooLarge
		}
		return accepted
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.consumers[tag]
	switch {
	case length > backend.MaxMessage || s != nil && length > s.maxBody:
		return tooLarge
	case s == nil || !s.counted || length == 0:
		return accepted
	case b.used+int64(length) > b.limit:
		return overBudget
	}
	b.used += int64(length)
	s.inTransit += int64(length)
	return accepted
}

// received records that an admitted message has arrived. The caller must free it.
func (s *share) received(length int) {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	s.inTransit -= int64(length)
}

// close unregisters the consumer and frees its messages in transit.
func (s *share) close() {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	delete(s.budget.consumers, s.tag)
	s.budget.used -= s.inTransit
	s.inTransit = 0
}

func (b *budget) free(length int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= int64(length)
}
