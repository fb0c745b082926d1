// Package once makes something happen once for each of a bounded number of keys, such as a warning.
package once

import "sync"

// A Set has the keys that were seen. The zero value is empty. It is safe for concurrent use.
type Set struct {
	mu   sync.Mutex
	seen map[string]bool
}

// most bounds the keys of a Set.
const most = 1024

// First reports whether it is called with a key for the first time. After 1024 keys it returns false for all others.
func (s *Set) First(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[key] || len(s.seen) >= most {
		return false
	}
	if s.seen == nil {
		s.seen = map[string]bool{}
	}
	s.seen[key] = true
	return true
}
