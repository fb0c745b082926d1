package testkit

import (
	"sync"
	"time"
)

// A Direction is a direction of a [Link].
type Direction int

const (
	Requests Direction = iota // from clients to the server
	Replies                   // from the server to clients
)

// A Link is a network between clients and a server that a test can break. The zero Link works. Its methods are safe for
// concurrent use.
type Link struct {
	mu      sync.Mutex
	blocked [2]chan struct{} // by direction; nil if data passes, closed by Restore
	delay   time.Duration    // in both directions
}

// Block stops all data in one direction. Blocked data is kept and arrives after Restore.
func (l *Link) Block(d Direction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.blocked[d] == nil {
		l.blocked[d] = make(chan struct{})
	}
}

// Delay delays all data in both directions.
func (l *Link) Delay(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = d
}

// Restore undoes Block and Delay.
func (l *Link) Restore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for d, c := range l.blocked {
		if c != nil {
			close(c)
		}
		l.blocked[d] = nil
	}
	l.delay = 0
}

// Pass blocks until data may pass. Code that carries data over the link calls it first.
func (l *Link) Pass(d Direction) {
	l.mu.Lock()
	blocked, delay := l.blocked[d], l.delay
	l.mu.Unlock()
	if delay > 0 {
		time.Sleep(delay)
	}
	if blocked != nil {
		<-blocked
	}
}
