package dashboard

import (
	"context"
	"sync"
	"time"

	af "github.com/afgen/afgen/runtime"
)

const (
	maxReads     = 50              // reads for pages that begin in any second
	steadyReads  = 30              // of these, while pages ask for more all the time
	readsAtOnce  = 4               // reads for pages at the same time
	longestQueue = 5 * time.Second // after which a read is refused that could not begin
	readInterval = time.Second / steadyReads
)

// A pace limits the reads for pages, however many viewers there are and whatever they look at. A nil one limits nothing.
type pace struct {
	slots chan struct{} // holds a value for each read, and for each that waits for its time

	mu   sync.Mutex
	next time.Time // when a read may begin that does not use what a quiet time has saved
}

func newPace() *pace { return &pace{slots: make(chan struct{}, readsAtOnce)} }

// begin waits until a read may begin. After a nil error the caller must call end.
func (p *pace) begin(ctx context.Context) error {
	if p == nil {
		return nil
	}
	limit := time.NewTimer(longestQueue)
	defer limit.Stop()
	select {
	case p.slots <- struct{}{}:
	case <-limit.C:
		return af.NewError(af.ErrResourceExhausted,
			"Too many different pages are open, so the dashboard can't read this one in time.").With(af.OutcomeNotSent)
	case <-ctx.Done():
		return endedBy(ctx)
	}
	if err := sleep(ctx, p.turn()); err != nil {
		<-p.slots
		return err
	}
	return nil
}

// turn returns when the next read may begin, from now.
func (p *pace) turn() time.Duration {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next.Before(now) {
		p.next = now
	}
	saved := (maxReads - steadyReads - 1) * readInterval
	at := p.next.Add(-saved)
	p.next = p.next.Add(readInterval)
	return at.Sub(now)
}

func (p *pace) end() {
	if p != nil {
		<-p.slots
	}
}

// sleep waits for a time, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return endedBy(ctx)
	}
}

// endedBy returns the error of a context that has ended.
func endedBy(ctx context.Context) error {
	return af.Errorf(af.CodeOf(ctx.Err()), "%w", context.Cause(ctx))
}
