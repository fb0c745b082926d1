package tasks

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/heartbeat"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A reconciler compares the tasks that the store has claimed for this process with those that run here. It cancels
// attempts whose lease was lost or whose task must stop, and releases claims whose replies were lost.
type reconciler struct {
	e     *Engine
	soon  signal.Signal
	owner string // the owner of unclaimed
	// unclaimed are claims that were missing here at the last comparison, with the number of the next claim at that
	// time.
	unclaimed map[claimed]int64
}

const (
	reconcileEvery = 5 * heartbeat.Every
	// ackAfter is how long a hint stays unacknowledged. Then it would be delivered again if this process died, but
	// brokers expect acknowledgements in time.
	ackAfter = time.Minute
)

func newReconciler(e *Engine) *reconciler { return &reconciler{e: e, soon: signal.New()} }

// now requests a comparison. It never blocks.
func (r *reconciler) now() {
	r.soon.Set()
}

// run compares periodically, and on request, until ctx ends.
func (r *reconciler) run(ctx context.Context) {
	timer := time.NewTimer(reconcileEvery - heartbeat.Every)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			timer.Reset(reconcileEvery)
		case <-r.soon.C():
		case <-ctx.Done():
			return
		}
		r.reconcile(ctx)
	}
}

func (r *reconciler) reconcile(ctx context.Context) {
	e := r.e
	owner := e.heartbeat.Owner()
	before := map[claimed]bool{}
	e.eachRun(func(a *attempt) { before[a.key()] = true })
	opCtx, cancel := context.WithTimeout(ctx, heartbeat.Timeout(e.Lease))
	defer cancel()
	owned, err := e.Ports.Store.Owned(opCtx, owner)
	if err != nil || owner != e.heartbeat.Owner() {
		return
	}
	theirs := map[claimed]backend.Owned{}
	for _, o := range owned {
		theirs[claimed{o.ID, o.Fence}] = o
	}
	// The order matters. Granted tasks are registered before their claim ends, and an attempt passes its result to the
	// settler before it leaves its pool. So no task of this process is missed.
	next, ended := e.claims.bounds()
	running := map[claimed]*attempt{}
	e.eachRun(func(a *attempt) { running[a.key()] = a })
	here := e.settler.unwritten()
	for key, a := range running {
		o, ok := theirs[key]
		switch {
		case ok && o.Stopping:
			a.cancel(ErrStopped)
		case !ok && before[key] && !here[key]:
			a.cancel(ErrLeaseLost) // another process has claimed it
		}
		here[key] = true
	}
	if r.owner != owner {
		r.owner, r.unclaimed = owner, nil
	}
	r.giveBackLost(theirs, here, next, ended)
}

// giveBackLost releases claims unknown to this process because their replies were lost. Such a claim was sent before
// the store was read, so its number is below next when first missed. It is released by a later comparison, once all
// claims below that number have ended; until then its reply may still arrive.
func (r *reconciler) giveBackLost(theirs map[claimed]backend.Owned, here map[claimed]bool, next, ended int64) {
	unclaimed := map[claimed]int64{}
	for key, o := range theirs {
		if here[key] {
			continue
		}
		first, seen := r.unclaimed[key]
		switch {
		case !seen:
			unclaimed[key] = next
		case first <= ended:
			r.e.settler.add(settlement{Settle: giveBack(o), task: &backend.Task{ID: o.ID, Queue: o.Queue, Fence: o.Fence}})
		default:
			unclaimed[key] = first
		}
	}
	r.unclaimed = unclaimed
}

// giveAllBack releases, uncharged, all tasks that the store has claimed for this process. At the end these are claims
// whose replies were lost.
func (r *reconciler) giveAllBack(ctx context.Context) error {
	return retry.Do(ctx, retry.Timeout, func(ctx context.Context) error {
		owned, err := r.e.Ports.Store.Owned(ctx, r.e.heartbeat.Owner())
		if err != nil || len(owned) == 0 {
			return err
		}
		settles := make([]backend.Settle, len(owned))
		for i, o := range owned {
			settles[i] = giveBack(o)
		}
		return r.e.settleAll(ctx, settles)
	})
}

// giveBack returns the settlement of a claim that doesn't run here.
func giveBack(o backend.Owned) backend.Settle {
	to := backend.StatusWaiting
	if o.Stopping {
		to = backend.StatusStopped
	}
	return backend.Settle{ID: o.ID, Fence: o.Fence, To: to}
}

// abandonStuck abandons attempts whose handlers haven't returned long after their contexts ended, and acknowledges
// the hints of attempts that have run for long.
func (e *Engine) abandonStuck() {
	var long, stuck []*attempt
	e.eachRun(func(a *attempt) {
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
	e.abandonAttempts(stuck)
	for _, a := range long {
		a.acknowledge()
	}
}

// eachRun calls fn for every attempt that runs here.
func (e *Engine) eachRun(fn func(*attempt)) {
	for _, p := range e.pools {
		p.mu.Lock()
		for _, a := range p.running {
			fn(a)
		}
		p.mu.Unlock()
	}
}

// busy reports whether anything runs here.
func (e *Engine) busy() bool {
	for _, p := range e.pools {
		p.mu.Lock()
		n := p.slots
		p.mu.Unlock()
		if n > 0 {
			return true
		}
	}
	return false
}

// cancelRuns cancels every attempt that runs here.
func (e *Engine) cancelRuns(cause error) {
	e.eachRun(func(a *attempt) { a.cancel(cause) })
}
