package tasks

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/heartbeat"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A reconciler compares what the store says this process runs with what it runs: it cancels attempts whose claim was lost or
// whose task must stop, and gives back claims whose replies were lost.
type reconciler struct {
	e     *Engine
	soon  signal.Signal
	owner string // to whom unclaimed belongs
	// unclaimed are claims that were missing here at the last look, with the number of the next claim when first missed.
	unclaimed map[claimed]int64
}

const (
	reconcileEvery = 5 * heartbeat.Every
	// ackAfter is how long a hint is kept unacknowledged: it tells of the death of this process, but brokers expect an acknowledgement in time.
	ackAfter = time.Minute
)

func newReconciler(e *Engine) *reconciler { return &reconciler{e: e, soon: signal.New()} }

// now asks for a comparison. It never waits.
func (r *reconciler) now() {
	r.soon.Set()
}

// run compares now and then, and when it is asked to, until ctx ends.
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
	opCtx, cancel := context.WithTimeout(ctx, e.heartbeat.Lease/4)
	defer cancel()
	owned, err := e.Ports.Store.Owned(opCtx, owner)
	if err != nil || owner != e.heartbeat.Owner() {
		return
	}
	theirs := map[claimed]backend.Owned{}
	for _, o := range owned {
		theirs[claimed{o.ID, o.Fence}] = o
	}
	// What a claim is granted is registered before the claim ends, and an attempt hands its result to the settler before it
	// leaves its pool: asked in this order, no task of this process is missed.
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
			a.cancel(ErrLeaseLost) // the fence has moved on
		}
		here[key] = true
	}
	if r.owner != owner {
		r.owner, r.unclaimed = owner, nil
	}
	r.giveBackLost(theirs, here, next, ended)
}

// giveBackLost gives back claims that this process doesn't know, since their replies were lost. Such a claim was sent before
// the store was read, so its number is below next when it is first missed. It is given back by a later look, once no claim
// below that number is in flight (all below ended are over): until then its reply may still come.
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

// giveAllBack gives back, uncharged, all that the store says this process runs: what is left at the end are claims whose
// replies were lost.
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

// giveBack settles a claim that nothing runs here.
func giveBack(o backend.Owned) backend.Settle {
	to := backend.StatusWaiting
	if o.Stopping {
		to = backend.StatusStopped
	}
	return backend.Settle{ID: o.ID, Fence: o.Fence, To: to}
}

// abandonStuck settles the attempts whose handlers have not returned long after their contexts ended, and acknowledges the
// hints of those that run for long.
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
	e.abandon(stuck)
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

// cancelRuns cancels every attempt that runs here.
func (e *Engine) cancelRuns(cause error) {
	e.eachRun(func(a *attempt) { a.cancel(cause) })
}
