package amqp

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	lookAfter = time.Second     // a call that is as old is looked after, each time as much has passed
	lateGrace = 5 * time.Second // for an answer that comes after the call's time was up

	newsTravel = 10 * time.Millisecond // as long, at the most, is news of a new queue under way that isn't late
)

// watch finds calls that nobody will answer. When the last instance of a service dies, its queue goes, and takes along what
// is in it without a word; so while a call is pending its queue is looked for. (Where an instance is there again before that,
// it says that it made a new one.) And a request that expired in its queue is
// dropped as silently: a caller whose context has no deadline hears of it here.
func (c *calls) watch() {
	tick := time.NewTicker(lookAfter / 2)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.look(time.Now())
		case <-c.conn.ctx.Done():
			return
		}
	}
}

// renewed fails the calls that went with the queue of their service. The new queue was not bound yet when that was told, so
// a call is in the new one only if it is younger than the event, except for the time that this took. Those in kept are still
// answered. (Instances of older versions name them by their ids.)
func (c *calls) renewed(service string, kept []string, now time.Time) {
	spared := make(map[string]bool, len(kept))
	for _, id := range kept {
		spared[id] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, p := range c.pending {
		if p.service == service && now.Sub(p.since) > newsTravel && !spared[id] && !spared[keptID(id)] {
			p.end(outcome{err: gone(service)})
		}
	}
}

func gone(service string) *backend.Error {
	return backend.Errorf(backend.ErrUnavailable, "the last instance of service %q has gone during the call", service)
}

// look looks after the calls that are old enough.
func (c *calls) look(now time.Time) {
	old := map[string][]*pending{}
	c.mu.Lock()
	for _, p := range c.pending {
		if now.After(p.until.Add(lateGrace)) {
			p.end(outcome{err: backend.Errorf(backend.ErrDeadlineExceeded, "a call of service %q was not answered: %w",
				p.service, context.DeadlineExceeded).With(p.letter.outcome())})
		} else if now.Sub(p.since) >= lookAfter {
			old[p.service] = append(old[p.service], p)
		}
	}
	c.mu.Unlock()
	for service, calls := range old {
		g := calls[0].gen
		if g.hasEnded() {
			continue
		}
		ctx, stop := context.WithTimeout(c.conn.ctx, lookAfter)
		q, ok, err := g.clerk.look(ctx, prefixCalls+service)
		stop()
		if err != nil || ok && q.Consumers > 0 {
			continue
		}
		for _, p := range calls {
			if p.gen == g {
				p.end(outcome{err: gone(service)})
			}
		}
	}
}
