package amqp

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	checkAfter = time.Second     // age at which a call is checked, and the interval between checks
	replyGrace = 5 * time.Second // how long after its deadline a call still waits for a reply

	maxEventDelay = 10 * time.Millisecond // the longest that a renewal event normally takes
)

// watchPending finds calls that will never be answered. When the last instance of a service dies, its queue is deleted
// with its requests, silently. So while a call is pending, its queue is inspected. If a new instance recreates the
// queue before that, its renewal event reports it (renewal.go). Requests that expire in their queue are dropped
// silently too, which matters to callers whose context has no deadline.
func (c *calls) watchPending() {
	tick := time.NewTicker(checkAfter / 2)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.checkPending(time.Now())
		case <-c.conn.ctx.Done():
			return
		}
	}
}

func lastInstanceGone(service string) *backend.Error {
	return backend.Errorf(backend.ErrUnavailable, "the last instance of service %q ended during the call", service)
}

// checkPending ends calls whose deadline has passed, and those whose queue has no consumer any more.
func (c *calls) checkPending(now time.Time) {
	old := map[string][]*pending{}
	c.mu.Lock()
	for _, p := range c.pending {
		if now.After(p.deadline.Add(replyGrace)) {
			p.end(outcome{err: backend.Errorf(backend.ErrDeadlineExceeded, "calling service %q: no reply: %w",
				p.service, context.DeadlineExceeded).With(p.request.outcome())})
		} else if p.service != "" && now.Sub(p.since) >= checkAfter {
			old[p.service] = append(old[p.service], p)
		}
	}
	c.mu.Unlock()
	for service, calls := range old {
		g := calls[0].gen
		if g.hasEnded() {
			continue
		}
		ctx, stop := context.WithTimeout(c.conn.ctx, checkAfter)
		q, ok, err := g.inspector.inspectQueue(ctx, prefixCalls+service)
		stop()
		if err != nil || ok && q.Consumers > 0 {
			continue
		}
		for _, p := range calls {
			if p.gen == g {
				p.end(outcome{err: lastInstanceGone(service)})
			}
		}
	}
}
