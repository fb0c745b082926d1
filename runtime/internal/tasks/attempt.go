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
	"github.com/afgen/afgen/runtime/internal/guard"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/stack"
)

// Why the context of a running task ended; context.Cause returns one of these.
var (
	// ErrStopped: the task was stopped.
	ErrStopped = backend.NewError(backend.ErrAborted, "the task was stopped")
	// ErrLeaseLost: this process could not show that it is alive, and the task may be running elsewhere.
	ErrLeaseLost = backend.NewError(backend.ErrAborted, "the claim on the task was lost")
	// ErrShutdown: the instance shuts down.
	ErrShutdown = backend.NewError(backend.ErrUnavailable, "the instance is shutting down")
	// ErrTimeout: the attempt took longer than its time-out.
	ErrTimeout = backend.NewError(backend.ErrDeadlineExceeded, "the attempt took longer than its timeout")
)

// graceAfterCancel is how long a handler may take to return once its context has ended; then its attempt is settled
// without it.
const graceAfterCancel = 10 * time.Second

// An attempt is one run of a claimed task.
type attempt struct {
	p       *pool
	task    *backend.Task // as it was claimed
	nonce   string
	hints   []backend.Hint // unacknowledged, so that they come back should this process die; p.mu guards them
	acked   bool           // p.mu
	ctx     context.Context
	handler Run
	cancel  context.CancelCauseFunc
	stop    func()    // the timer of its timeout
	clear   func()    // of a suspect: it is over, or cleared
	once    sync.Once // it is settled once: by its end, or by giving up on it
	over    atomic.Bool

	goroutine atomic.Int64 // that runs the handler
	abandoned time.Time    // when it was given up on; p.mu

	begun   time.Time
	endedAt time.Time // when abandonStuck first saw ctx ended; only it uses this
}

// start runs a claimed task in a slot of its own. It gives the task back if the pool began to close during the claim, or if
// the task is a suspect and another pool has claimed one at the same moment.
func (p *pool) start(t *backend.Task, c backend.Claim, hints ...backend.Hint) {
	a := &attempt{p: p, task: t, nonce: c.Nonce, hints: hints, begun: time.Now()}
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
		p.e.settler.add(settlement{Settle: backend.Settle{ID: t.ID, Fence: t.Fence, Nonce: c.Nonce, To: backend.StatusWaiting}, task: t, claim: a})
		return
	}
	a.ctx, a.cancel = context.WithCancelCause(context.Background())
	stop := func() {}
	if timeout := cmp.Or(t.Timeout, p.worker.Timeout); timeout != 0 { // one below zero has passed before the handler can begin
		a.ctx, stop = context.WithTimeoutCause(a.ctx, timeout, ErrTimeout)
	}
	a.ctx, a.handler = p.worker.Begin(a.ctx, t)
	p.mu.Lock()
	p.slots++
	p.running[a.key()] = a
	p.mu.Unlock()
	a.stop = stop
	if !p.e.heartbeat.Holds(c.Owner) { // the reply to the claim came too late: from now on the guard handles it
		a.cancel(ErrLeaseLost)
	}
	select {
	case p.work <- a:
	default:
		go p.serve(a)
	}
}

// serve runs an attempt, and then others on the same goroutine, whose stack has grown to the size that handlers need. It
// returns when the engine ends, or a handler ends the goroutine.
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
		if cause := context.Cause(a.ctx); cause != nil { // before it could begin
			return cause
		}
		result, err = a.handler.Handle(a.ctx)
		return err
	}, func(err error) {
		a.handler.Report(a.ctx, err)
		a.settle(result, err)
		a.stop()
		a.cancel(nil)
		a.leaveSlot()
	})
}

// settle passes the result of the attempt to the settler, once.
func (a *attempt) settle(result json.RawMessage, err error) {
	a.once.Do(func() {
		a.over.Store(true)
		a.p.e.settler.add(settlement{Settle: a.verdict(result, err, context.Cause(a.ctx)), task: a.task, claim: a})
	})
}

// abandon gives up on attempts whose handlers don't return after their contexts have ended, and logs where those are.
func (e *Engine) abandon(attempts []*attempt) {
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

// abandon settles an attempt whose handler doesn't return after its context has ended. What the handler still does is
// void, and its slot stays taken until it returns.
func (a *attempt) abandon(where string) {
	a.once.Do(func() {
		a.over.Store(true)
		a.p.mu.Lock()
		a.abandoned = time.Now()
		a.p.mu.Unlock()
		cause := context.Cause(a.ctx)
		a.handler.Logger(a.ctx).Error("a handler ignores its context; its attempt is settled without it", "cause", cause, "stack", where)
		err := backend.Errorf(backend.ErrDeadlineExceeded, "the handler ignored the end of its context: %w", cause)
		a.p.e.settler.add(settlement{Settle: a.verdict(nil, err, cause), task: a.task, claim: a})
	})
}

// acknowledge acknowledges the hints of the attempt.
func (a *attempt) acknowledge() {
	a.p.mu.Lock()
	hints := a.hints
	a.hints, a.acked = nil, true
	a.p.mu.Unlock()
	for _, h := range hints {
		h.Done()
	}
}

// leaveSlot gives the slot back.
func (a *attempt) leaveSlot() {
	p := a.p
	p.mu.Lock()
	p.slots--
	delete(p.running, a.key())
	abandoned := a.abandoned
	p.closeIfIdle()
	p.mu.Unlock()
	if !abandoned.IsZero() {
		a.handler.Logger(a.ctx).Warn("a handler that ignored its context has returned", "after", time.Since(abandoned).Round(time.Millisecond))
	}
	if a.clear != nil {
		a.clear()
	}
	p.wake.Set()
}

// verdict returns how an attempt ends: by its result, its error, or the cause of its context.
func (a *attempt) verdict(result json.RawMessage, err, cause error) backend.Settle {
	s := backend.Settle{ID: a.task.ID, Fence: a.task.Fence, Nonce: a.nonce, Log: a.handler.Lines()}
	var snooze *guard.SnoozeError
	if !a.task.WrongVersionSince.IsZero() && cause == nil {
		s.Payload = backend.PayloadDecoded
	}
	switch {
	case errors.Is(cause, ErrStopped):
		s.To, s.Error = backend.StatusStopped, guard.TaskError(ErrStopped)
	case err == nil && len(result) > backend.MaxMessage:
		s.To = backend.StatusFailed
		s.Error = guard.TaskError(backend.Errorf(backend.ErrResourceExhausted, "the result is %d bytes; at most %d are allowed", len(result), backend.MaxMessage))
	case err == nil:
		s.To, s.Result = backend.StatusSuccess, result
	case errors.Is(cause, ErrLeaseLost), errors.Is(cause, ErrShutdown):
		s.To, s.Error = backend.StatusWaiting, a.task.Error
	case errors.As(err, &snooze):
		s.To, s.Delay, s.Error = backend.StatusWaiting, snooze.Delay, a.task.Error
	case a.undecodedHere(err):
		a.wrongVersion(&s, err)
	case guard.IsPermanent(err), a.task.Attempt > a.p.worker.Retries:
		s.To, s.Error = backend.StatusFailed, a.handler.Failure(a.ctx, err)
	default:
		s.To, s.Error, s.Delay = backend.StatusRetrying, a.handler.Failure(a.ctx, err), backoff(a.p.worker.Backoff, a.task.Attempt)
	}
	if suspect := a.task.Suspect; suspect != nil { // one that ends by itself has killed no process
		s.Clear = s.To != backend.StatusWaiting || time.Since(a.begun) >= suspect.Test()
	}
	return s
}

const maxBackoff = 5 * time.Minute

// backoff is the pause before the attempt after n: the worker's, doubled each time up to 5 minutes (or the worker's, where
// that is longer), ±20 %.
func backoff(base time.Duration, n int) time.Duration {
	base = min(base, retry.Longest)
	d := float64(base) * math.Pow(2, float64(n-1))
	return retry.Jitter(time.Duration(min(d, float64(max(maxBackoff, base)))))
}
