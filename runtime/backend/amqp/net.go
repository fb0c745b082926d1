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
		} else if p.service != "" && now.Sub(p.since) >= lookAfter {
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
