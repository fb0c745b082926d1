package amqp

import (
	"sync"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	// maxRequests is how many bytes of requests a Conn holds at once: those that run, those that wait for a slot, and those on their way
	// through the library.
	maxRequests = 256 << 20
	maxHintBody = backend.MaxID // of a hint
)

// A room bounds the bodies of messages that a Conn receives, in bytes. What is let in is held until it is freed, whichever generation
// it came by.
type room struct {
	most int64 // of what is counted

	mu        sync.Mutex
	held      int64
	consumers map[string]*share // by tag
}

// A share is what one consumer takes of a room.
type share struct {
	room    *room
	tag     string
	largest uint64
	counted bool
	coming  int64 // let in, and not yet received; guarded by room.mu
}

// open lets a consumer take messages of at most largest bytes each. If they are counted, they are let in only while there is room.
// It must be called before the consumer is opened. The share is closed when no more messages come.
func (r *room) open(tag string, largest uint64, counted bool) *share {
	s := &share{room: r, tag: tag, largest: largest, counted: counted}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.consumers[tag] = s
	return s
}

// take decides about a message. A tag that is not known has the largest messages there are, not counted.
func (r *room) take(tag string, length uint64) verdict {
	if r == nil {
		if length > backend.MaxMessage {
			return tooLarge
		}
		return taken
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.consumers[tag]
	switch {
	case length > backend.MaxMessage || s != nil && length > s.largest:
		return tooLarge
	case s == nil || !s.counted || length == 0:
		return taken
	case r.held+int64(length) > r.most:
		return noRoom
	}
	r.held += int64(length)
	s.coming += int64(length)
	return taken
}

// received notes that a message has come: from now on the caller frees it.
func (s *share) received(length int) {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	s.coming -= int64(length)
}

// close forgets the consumer, and frees what was on its way to it.
func (s *share) close() {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	delete(s.room.consumers, s.tag)
	s.room.held -= s.coming
	s.coming = 0
}

func (r *room) free(length int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held -= int64(length)
}
