package runtime

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// giveUp settles the attempts whose handlers have not returned long after their contexts ended, and acknowledges the
// hints of those that run for long.
func (p *pulse) giveUp() {
	var long []*attempt
	p.e.eachRun(func(a *attempt) {
		if time.Since(a.begun) > ackAfter {
			long = append(long, a)
		}
		switch {
		case a.ctx.Err() == nil:
		case a.endedAt.IsZero():
			a.endedAt = time.Now()
		case time.Since(a.endedAt) >= graceAfterCancel:
			a.abandon()
		}
	})
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
	here := p.e.settler.unwritten()
	p.e.eachRun(func(a *attempt) {
		o, ok := theirs[a.key()]
		switch {
		case ok && o.Stopping:
			a.cancel(ErrTaskStopped)
		case !ok && before[a.key()] && !here[a.key()]:
			a.cancel(ErrLeaseLost) // the fence has moved on
		}
		here[a.key()] = true
	})
	p.release(theirs, here)
}

// release gives back claims of which this process knows nothing, since the reply was lost: those that were adrift at the
// audit before, too.
func (p *pulse) release(theirs map[claimed]backend.Owned, here map[claimed]bool) {
	p.mu.Lock()
	adrift := map[claimed]bool{}
	var lost []backend.Owned
	for key, o := range theirs {
		switch {
		case here[key]:
		case p.adrift[key]:
			lost = append(lost, o)
		default:
			adrift[key] = true
		}
	}
	p.adrift = adrift
	p.mu.Unlock()
	for _, o := range lost {
		a := &attempt{p: &pool{e: p.e}, task: &Task{ID: o.ID, Queue: o.Queue, Fence: o.Fence}}
		p.e.settler.add(settlement{giveBack(o), a})
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
