package runtime

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// giveUp settles the attempts whose handlers have not returned long after their contexts ended, and acknowledges the
// hints of those that run for long.
func (p *pulse) giveUp() {
	var long, stuck []*attempt
	p.e.eachRun(func(a *attempt) {
		if time.Since(a.begun) > ackAfter {
			long = append(long, a)
		}
		switch {
		case a.ctx.Err() == nil:
		case a.endedAt.IsZero():
			a.endedAt = time.Now()
		case time.Since(a.endedAt) >= graceAfterCancel:
			stuck = append(stuck, a)
		}
	})
	p.e.abandon(stuck)
	for _, a := range long {
		a.acknowledge()
	}
}

func (p *pulse) auditNow() {
	select {
	case p.audits <- struct{}{}:
	default:
	}
}

// audit compares what the store thinks this process runs with what it runs.
func (p *pulse) audit(ctx context.Context) {
	owner := p.owner()
	before := map[claimed]bool{}
	p.e.eachRun(func(a *attempt) { before[a.key()] = true })
	opCtx, cancel := context.WithTimeout(ctx, p.lease/4)
	defer cancel()
	owned, err := p.e.store.Owned(opCtx, owner)
	if err != nil || owner != p.owner() {
		return
	}
	theirs := map[claimed]backend.Owned{}
	for _, o := range owned {
		theirs[claimed{o.ID, o.Fence}] = o
	}
	// What a claim is granted is registered before the claim ends, and an attempt hands its result to the settler before it
	// leaves its pool: asked in this order, no task of this process is missed.
	next, ended := p.e.claims.bounds()
	running := map[claimed]*attempt{}
	p.e.eachRun(func(a *attempt) { running[a.key()] = a })
	here := p.e.settler.unwritten()
	for key, a := range running {
		o, ok := theirs[key]
		switch {
		case ok && o.Stopping:
			a.cancel(ErrTaskStopped)
		case !ok && before[key] && !here[key]:
			a.cancel(ErrLeaseLost) // the fence has moved on
		}
		here[key] = true
	}
	p.release(theirs, here, next, ended)
}

// release gives back claims that this process doesn't know, since their replies were lost. Such a claim was sent before the
// store was read, so its number is below next when it is first missed. It is given back by a later audit, once no claim
// below that number is in flight (all below ended are over): until then its reply may still come.
func (p *pulse) release(theirs map[claimed]backend.Owned, here map[claimed]bool, next, ended int64) {
	p.mu.Lock()
	adrift := map[claimed]int64{}
	var lost []backend.Owned
	for key, o := range theirs {
		if here[key] {
			continue
		}
		before, seen := p.adrift[key]
		switch {
		case !seen:
			adrift[key] = next
		case before <= ended:
			lost = append(lost, o)
		default:
			adrift[key] = before
		}
	}
	p.adrift = adrift
	p.mu.Unlock()
	for _, o := range lost {
		a := &attempt{p: &pool{e: p.e}, task: &Task{ID: o.ID, Queue: o.Queue, Fence: o.Fence}}
		p.e.settler.add(settlement{Settle: giveBack(o), a: a})
	}
}

// giveBack settles a claim that nothing runs here.
func giveBack(o backend.Owned) backend.Settle {
	to := backend.StatusWaiting
	if o.Stopping {
		to = backend.StatusStopped
	}
	return backend.Settle{ID: o.ID, Fence: o.Fence, To: to}
}

// eachRun calls fn for every attempt that runs here.
func (e *engine) eachRun(fn func(*attempt)) {
	for _, p := range e.pools {
		p.mu.Lock()
		for _, a := range p.running {
			fn(a)
		}
		p.mu.Unlock()
	}
}

// cancelRuns cancels every attempt that runs here.
func (e *engine) cancelRuns(cause func(*attempt) error) {
	e.eachRun(func(a *attempt) { a.cancel(cause(a)) })
}
