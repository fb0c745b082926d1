package tasks

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/guard"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/stack"
)

// The causes that end the context of a running task, as returned by context.Cause.
var (
	// ErrStopped: the task was stopped.
	ErrStopped = backend.NewError(backend.ErrAborted, "task stopped")
	// ErrLeaseLost: this process could not extend its lease, and the task may be running elsewhere.
	ErrLeaseLost = backend.NewError(backend.ErrAborted, "lease on the task lost")
	// ErrShutdown: the instance is shutting down.
	ErrShutdown = backend.NewError(backend.ErrUnavailable, "the instance is shutting down")
	// ErrTimeout: the attempt timed out.
	ErrTimeout = backend.NewError(backend.ErrDeadlineExceeded, "attempt timed out")
)

// graceAfterCancel is how long a handler may run after its context has ended. Then its attempt is settled without it.
const graceAfterCancel = 10 * time.Second

// An attempt is one run of a claimed task.
type attempt struct {
	p       *pool
	task    *backend.Task // as claimed
	nonce   string
	hints   []backend.Hint // unacknowledged, so they are delivered again if this process dies; guarded by p.mu
	acked   bool           // guarded by p.mu
	ctx     context.Context
	handler Run
	ended   func(instrument.End) // of the instruments; nil without any
	valued  bool                 // instruments have changed ctx
	cancel  context.CancelCauseFunc
	stop    func()    // stops the timer of its timeout
	clear   func()    // ends or clears a suspect
	once    sync.Once // settles once: at the end or when abandoned
	over    atomic.Bool

	goroutine atomic.Int64 // runs the handler
	abandoned time.Time    // when it was abandoned; guarded by p.mu

	begun   time.Time
	endedAt time.Time // when abandonStuck first saw ctx ended; only it uses this
}

// start runs a claimed task in its own slot. It releases the task if the pool began to close during the claim, or if
// the task is a suspect and another pool claimed one at the same time.
func (p *pool) start(t *backend.Task, c backend.Claim, hints ...backend.Hint) {
	a := &attempt{p: p, task: t, nonce: c.Nonce, hints: hints, begun: time.Now()}
	p.e.History.Started(t)
	p.mu.Lock()
	closing := p.closing
	p.mu.Unlock()
	if t.Suspected() {
		a.clear = p.e.holdSuspect(t.Suspect.Test())
	}
	if closing || t.Suspected() && a.clear == nil {
		if a.clear != nil {
			a.clear()
		}
		p.e.settler.add(settlement{
			Settle: backend.Settle{ID: t.ID, Fence: t.Fence, Nonce: c.Nonce, To: backend.StatusWaiting},
			task:   t, claim: a,
		})
		return
	}
	a.ctx, a.cancel = context.WithCancelCause(context.Background())
	stop := func() {}
	// a negative timeout expired before the handler can start
	if timeout := cmp.Or(t.Timeout, p.worker.Timeout); timeout != 0 {
		a.ctx, stop = context.WithTimeoutCause(a.ctx, timeout, ErrTimeout)
	}
	a.ctx, a.handler = p.worker.Begin(a.ctx, t)
	if p.e.Hooks != nil {
		a.observe()
	}
	p.mu.Lock()
	p.slots++
	p.running[a.key()] = a
	last := p.running[claimed{t.ID, t.Fence - 1}]
	cut := p.cut
	p.mu.Unlock()
	if cut { // the drain has begun and ended since closing was read
		a.cancel(ErrShutdown)
	}
	if last != nil { // the owner was declared dead, and no heartbeat or reconciliation has noticed it yet
		last.cancel(ErrLeaseLost)
	}
	a.stop = stop
	if !p.e.heartbeat.Holds(c.Owner) { // the claim's reply came too late: from now on the failure detector handles it
		a.cancel(ErrLeaseLost)
	}
	select {
	case p.work <- a:
	default:
		go p.serve(a)
	}
}

// serve runs an attempt, and then more on the same goroutine, whose stack has already grown. It returns when the
// engine ends or a handler calls runtime.Goexit.
func (p *pool) serve(a *attempt) {
	id := stack.ID()
	for {
		a.goroutine.Store(id)
		a.run()
		select {
		case a = <-p.work:
		case <-p.e.ctx.Done():
			return
		}
	}
}

func (a *attempt) key() claimed { return claimed{a.task.ID, a.task.Fence} }

// run runs the handler and settles the task. It keeps the slot until the handler has returned.
func (a *attempt) run() {
	var result json.RawMessage
	guard.Do(func() (err error) {
		if cause := context.Cause(a.ctx); cause != nil { // before the handler started
			return cause
		}
		result, err = a.handler.Handle(a.ctx)
		return err
	}, func(err error) {
		a.handler.Report(a.ctx, err)
		a.settleOnce(a.outcome(result, err), err)
		a.stop()
		a.cancel(nil)
		a.leaveSlot()
	})
}

// outcome returns the settlement of an attempt whose handler has returned. The worker may choose the delay of a retry,
// unless the attempt was abandoned before. Its code runs before settleOnce, so that it can't block abandon.
func (a *attempt) outcome(result json.RawMessage, err error) backend.Settle {
	s := a.verdict(result, err, context.Cause(a.ctx))
	if s.To == backend.StatusRetrying && !a.over.Load() {
		if delay, ok := a.handler.Backoff(a.ctx, err); ok {
			s.Delay = min(delay, retry.Longest)
		}
	}
	return s
}

// settleOnce passes the settlement of the attempt to the settler, once. err is the error of the handler.
func (a *attempt) settleOnce(s backend.Settle, err error) {
	a.once.Do(func() {
		a.over.Store(true)
		if a.ended != nil {
			a.observeEnd(&s, err, false)
		}
		a.p.e.settler.add(settlement{Settle: s, task: a.task, claim: a, begun: a.begun})
	})
}

// abandonAttempts settles attempts whose handlers don't return after their contexts ended, and logs their stacks.
func (e *Engine) abandonAttempts(attempts []*attempt) {
	attempts = slices.DeleteFunc(attempts, func(a *attempt) bool { return a.over.Load() })
	var ids []int64
	for _, a := range attempts[:min(len(attempts), stack.Most)] {
		ids = append(ids, a.goroutine.Load())
	}
	if len(ids) == 0 {
		return
	}
	stacks := stack.Of(ids...)
	for _, a := range attempts {
		a.abandon(stacks[a.goroutine.Load()])
	}
}

// abandon settles an attempt whose handler doesn't return after its context ended. The handler's result is discarded,
// and it keeps its slot until it returns.
func (a *attempt) abandon(where string) {
	a.once.Do(func() {
		a.over.Store(true)
		a.p.mu.Lock()
		a.abandoned = time.Now()
		a.p.mu.Unlock()
		cause := context.Cause(a.ctx)
		a.handler.Logger(a.ctx).Error("handler did not return after its context ended, settling its attempt",
			"cause", cause, "stack", where)
		err := backend.Errorf(backend.ErrDeadlineExceeded, "handler did not return after its context ended: %w", cause)
		s := a.verdict(nil, err, cause)
		if a.ended != nil {
			a.observeEnd(&s, err, true)
		}
		a.p.e.settler.add(settlement{Settle: s, task: a.task, claim: a, begun: a.begun})
	})
}

// acknowledge acknowledges the attempt's hints.
func (a *attempt) acknowledge() {
	a.p.mu.Lock()
	hints := a.hints
	a.hints, a.acked = nil, true
	a.p.mu.Unlock()
	for _, h := range hints {
		h.Done()
	}
}

// leaveSlot releases the slot.
func (a *attempt) leaveSlot() {
	p := a.p
	p.mu.Lock()
	p.slots--
	delete(p.running, a.key())
	abandoned := a.abandoned
	p.closeIfIdle()
	p.mu.Unlock()
	if !abandoned.IsZero() {
		a.handler.Logger(a.ctx).Warn("abandoned handler returned", "after", time.Since(abandoned).Round(time.Millisecond))
	}
	if a.clear != nil {
		a.clear()
	}
	p.wake.Set()
}

// verdict returns the settlement of an attempt from its result, its error, or the cause of its context.
func (a *attempt) verdict(result json.RawMessage, err, cause error) backend.Settle {
	s := backend.Settle{ID: a.task.ID, Fence: a.task.Fence, Nonce: a.nonce, Log: a.handler.Lines()}
	var snooze *guard.SnoozeError
	if !a.task.WrongVersionSince.IsZero() && cause == nil {
		s.Payload = backend.PayloadDecoded
	}
	switch {
	case errors.Is(cause, ErrStopped):
		s.To = backend.StatusStopped // the store has the reason
	case err == nil && len(result) > backend.MaxMessage:
		s.To = backend.StatusFailed
		s.Error = guard.TaskError(backend.Errorf(backend.ErrResourceExhausted, "result of %d bytes exceeds the maximum of %d",
			len(result), backend.MaxMessage))
	case err == nil:
		s.To, s.Result = backend.StatusSuccess, result
	case errors.Is(cause, ErrLeaseLost), errors.Is(cause, ErrShutdown):
		s.To, s.Error = backend.StatusWaiting, a.task.Error
	case errors.As(err, &snooze):
		s.To, s.Delay, s.Error = backend.StatusWaiting, snooze.Delay, a.task.Error
	case a.undecodedHere(err):
		a.wrongVersion(&s, err)
	case guard.IsPermanent(err), IsLast(a.task, a.p.worker.Retries):
		s.To, s.Error = backend.StatusFailed, a.handler.Failure(a.ctx, err)
	default:
		s.To, s.Error = backend.StatusRetrying, a.handler.Failure(a.ctx, err)
		s.Delay = backoff(a.p.worker.Backoff, a.p.worker.BackoffMax, a.task.Attempt)
	}
	if suspect := a.task.Suspect; suspect != nil { // it returned, so it killed no process
		s.Clear = s.To != backend.StatusWaiting || time.Since(a.begun) >= suspect.Test()
	}
	return s
}

// IsLast reports whether no attempt follows if a task's current one fails. The worker's number of retries applies to
// tasks without their own.
func IsLast(t *backend.Task, retries int) bool {
	if t.Retries != nil {
		retries = *t.Retries
	}
	return t.Attempt > retries
}

// Retryable reports whether an attempt with this error, whose context ended with cause, can be followed by another that
// is charged. The task may still have no attempts left.
func Retryable(err, cause error) bool {
	_, snoozed := errors.AsType[*guard.SnoozeError](err)
	return !snoozed && !guard.IsPermanent(err) && !guard.IsUndecoded(err) && !errors.Is(cause, ErrStopped) &&
		!errors.Is(cause, ErrLeaseLost) && !errors.Is(cause, ErrShutdown)
}

// maxBackoff is the longest delay of a worker that sets none.
const maxBackoff = 5 * time.Minute

// backoff returns the delay after attempt n: base, doubled for each attempt up to most, ±20 %. If most is 0, that is 5
// minutes or base, whichever is longer.
func backoff(base, most time.Duration, n int) time.Duration {
	base = min(base, retry.Longest)
	if most <= 0 {
		most = max(maxBackoff, base)
	}
	d := float64(base) * math.Pow(2, float64(n-1))
	return retry.Jitter(time.Duration(min(d, float64(most))))
}
