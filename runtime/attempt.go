package runtime

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
	// ErrTaskStopped: somebody has stopped the task.
	ErrTaskStopped = NewError(ErrAborted, "the task was stopped")
	// ErrLeaseLost: this process could not show that it lives, and the task may be running elsewhere.
	ErrLeaseLost = NewError(ErrAborted, "the claim on the task was lost")

	errTaskTimeout = NewError(ErrDeadlineExceeded, "the attempt took longer than its timeout")
	errShutdown    = NewError(ErrUnavailable, "the instance is shutting down")
)

// graceAfterCancel is how long a handler may take to return once its context has ended; then its attempt is settled
// without it.
const graceAfterCancel = 10 * time.Second

// An attempt is one run of a claimed task.
type attempt struct {
	p      *pool
	task   *Task // as it was claimed
	nonce  string
	hints  []backend.Hint // unacknowledged, so that they come back should this process die; p.mu guards them
	acked  bool           // p.mu
	ctx    context.Context
	cancel context.CancelCauseFunc
	stop   func()    // the timer of its timeout
	clear  func()    // of a suspect: it is over, or cleared
	once   sync.Once // it is settled once: by its end, or by giving up on it
	over   atomic.Bool

	goroutine atomic.Int64 // that runs the handler
	abandoned time.Time    // when it was given up on; p.mu

	begun   time.Time
	endedAt time.Time // when abandonStuck first saw ctx ended; only it uses this
}

// start runs a claimed task in a slot of its own. It goes back if its claim was under way when the pool began to close, or if it is a
// suspect and another pool has got one at the same moment.
func (p *pool) start(t *Task, c backend.Claim, hints ...backend.Hint) {
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
	if timeout := cmp.Or(t.Timeout, p.spec.Timeout); timeout != 0 { // one below zero has passed before the handler can begin
		a.ctx, stop = context.WithTimeoutCause(a.ctx, timeout, errTaskTimeout)
	}
	a.ctx = context.WithValue(a.ctx, handlingKey{}, &handling{app: p.e.app, running: &Running{
		ID: t.ID, Queue: t.Queue, Attempt: t.Attempt, Fence: t.Fence, Source: t.Source, e: p.e,
		trace: t.Trace, before: t.Log,
	}})
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

// serve runs an attempt, and then others in the same goroutine, whose stack has grown to what handlers need. It ends with
// the engine, or with a handler that ends its goroutine.
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

// run runs the handler and settles. The slot is its own until the handler has returned.
func (a *attempt) run() {
	var result json.RawMessage
	guard.Do(func() (err error) {
		if cause := context.Cause(a.ctx); cause != nil { // before it could begin
			return cause
		}
		result, err = a.handle(a.ctx)
		return err
	}, func(err error) {
		a.report(err)
		a.settle(result, err)
		a.stop()
		a.cancel(nil)
		a.leave()
	})
}

// handle calls the worker: Run, or SubtasksDone for a task that stands for that.
func (a *attempt) handle(ctx context.Context) (json.RawMessage, error) {
	spec, t := a.p.spec, a.task
	if theirs, ours := t.Fingerprint, spec.Payload; a.otherVersion() && a.p.e.app.strange.first(spec.Name+" "+theirs) {
		a.p.e.log.Warn("a task was submitted with another type of payload; unknown members are ignored, missing ones are zero",
			"queue", spec.Name, "task", t.ID, "theirs", theirs, "ours", ours)
	}
	if t.DoneOf == "" {
		return spec.Run(ctx, t.Payload)
	}
	if spec.SubtasksDone == nil {
		if a.otherVersion() {
			return nil, guard.Undecoded(Errorf(ErrInvalidArgument, "the worker of queue %s has no SubtasksDone", spec.Name))
		}
		return nil, nil // this version of the worker has none
	}
	var source Task
	err := retry.Do(ctx, opTimeout, func(ctx context.Context) (err error) {
		source, err = a.p.e.store.Get(ctx, t.DoneOf)
		return err
	})
	if code := CodeOf(err); code == ErrUnavailable || code == ErrDeadlineExceeded {
		return nil, Snooze(retry.MaxPoll) // not the worker's failure: no attempt is charged
	}
	if err != nil {
		return nil, err
	}
	s := Subtasks{all: a.p.e.allSubtasks(t.DoneOf)}
	if c := source.Subtasks; c != nil {
		s.Total, s.Succeeded, s.Failed, s.Stopped = c.Total, c.Succeeded, c.Failed, c.Stopped
	}
	return nil, spec.SubtasksDone(ctx, t.Payload, s)
}

// settle hands over what came of the attempt, once.
func (a *attempt) settle(result json.RawMessage, err error) {
	a.once.Do(func() {
		a.over.Store(true)
		a.p.e.settler.add(settlement{Settle: a.verdict(result, err, context.Cause(a.ctx)), task: a.task, claim: a})
	})
}

// maxStacks bounds how many stacks of handlers are logged at a time.
const maxStacks = 32

// abandon gives up on attempts whose handlers don't return after their contexts have ended, and logs where those are.
func (e *engine) abandon(attempts []*attempt) {
	attempts = slices.DeleteFunc(attempts, func(a *attempt) bool { return a.over.Load() })
	var ids []int64
	for _, a := range attempts[:min(len(attempts), maxStacks)] {
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
		LoggerFrom(a.ctx).Error("a handler ignores its context; its attempt is settled without it", "cause", cause, "stack", where)
		err := Errorf(ErrDeadlineExceeded, "the handler ignored the end of its context: %w", cause)
		a.p.e.settler.add(settlement{Settle: a.verdict(nil, err, cause), task: a.task, claim: a})
	})
}

// acknowledge lets the hints of the attempt go.
func (a *attempt) acknowledge() {
	a.p.mu.Lock()
	hints := a.hints
	a.hints, a.acked = nil, true
	a.p.mu.Unlock()
	for _, h := range hints {
		h.Done()
	}
}

// leave gives the slot back.
func (a *attempt) leave() {
	p := a.p
	p.mu.Lock()
	p.slots--
	delete(p.running, a.key())
	abandoned := a.abandoned
	p.rest()
	p.mu.Unlock()
	if !abandoned.IsZero() {
		LoggerFrom(a.ctx).Warn("a handler that ignored its context has returned", "after", time.Since(abandoned).Round(time.Millisecond))
	}
	if a.clear != nil {
		a.clear()
	}
	p.signal()
}

// verdict says how an attempt ends: by its result, its error, or why its context ended.
func (a *attempt) verdict(result json.RawMessage, err, cause error) backend.Settle {
	s := backend.Settle{ID: a.task.ID, Fence: a.task.Fence, Nonce: a.nonce, Log: TaskFrom(a.ctx).log.kept()}
	var snooze *guard.SnoozeError
	if !a.task.WrongVersionSince.IsZero() && cause == nil {
		s.Payload = backend.PayloadDecoded
	}
	switch {
	case errors.Is(cause, ErrTaskStopped):
		s.To, s.Error = backend.StatusStopped, guard.TaskError(ErrTaskStopped)
	case err == nil && len(result) > backend.MaxMessage:
		s.To = backend.StatusFailed
		s.Error = guard.TaskError(Errorf(ErrResourceExhausted, "the result is %d bytes; at most %d are allowed", len(result), backend.MaxMessage))
	case err == nil:
		s.To, s.Result = backend.StatusSuccess, result
	case errors.Is(cause, ErrLeaseLost), errors.Is(cause, errShutdown):
		s.To, s.Error = backend.StatusWaiting, a.task.Error
	case errors.As(err, &snooze):
		s.To, s.Delay, s.Error = backend.StatusWaiting, snooze.Delay, a.task.Error
	case a.undecodedHere(err):
		a.wrongVersion(&s, err)
	case guard.IsPermanent(err), a.task.Attempt > a.p.spec.Retries:
		s.To, s.Error = backend.StatusFailed, a.failure(err)
	default:
		s.To, s.Error, s.Delay = backend.StatusRetrying, a.failure(err), backoff(a.p.spec.Backoff, a.task.Attempt)
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

// failure is the error of a handler as its task keeps it. What RedactErrors hides of it is logged.
func (a *attempt) failure(err error) *backend.TaskError {
	if !a.p.e.app.settings.redact {
		return guard.TaskError(err)
	}
	e, hidden := redacted(err)
	if _, ok := errors.AsType[*guard.PanicError](err); hidden && !ok { // report logs panics
		errorLogFrom(a.ctx).Warn("a task failed; its error is redacted", "error", err)
	}
	return &backend.TaskError{Code: e.Code, Message: e.Message}
}

// report logs what is the worker's fault, and not an error that it returned.
func (a *attempt) report(err error) {
	switch p, ok := err.(*guard.PanicError); {
	case ok:
		errorLogFrom(a.ctx).Error("panic in a worker", p.Attrs()...)
	case err == error(guard.ErrGoexit):
		LoggerFrom(a.ctx).Error("a worker ended its goroutine")
	}
}

// A Running is a task as its handler sees it.
type Running struct {
	ID      string
	Queue   string
	Attempt int    // from 1
	Fence   int64  // rises with every claim: a write guarded by it loses to that of a later attempt
	Source  string // the task whose subtask this is

	e       *engine
	batches atomic.Int64
	trace   string
	before  []string // lines of the attempts before
	log     taskLog
}

// maxProgress bounds what Progress takes: it is part of the task's document, which is read and written as a whole.
const maxProgress = 64 << 10

// Progress notes how far the task has come; every reader of the task sees it. It is ErrAborted where the claim was lost, and
// ErrResourceExhausted, without anything being sent, if v encodes to more than 64 KiB.
func (r *Running) Progress(ctx context.Context, v any) error {
	progress, err := encode(v)
	if err != nil {
		return Errorf(ErrInvalidArgument, "the progress of task %s does not encode: %w", r.ID, err).With(OutcomeNotSent)
	}
	if len(progress) > maxProgress {
		return Errorf(ErrResourceExhausted, "the progress of task %s is %d bytes; at most %d are allowed", r.ID, len(progress),
			maxProgress).With(OutcomeNotSent)
	}
	if err := r.e.store.Progress(ctx, r.ID, r.Fence, progress); err != nil {
		return backend.AsError(err)
	}
	return nil
}

// TaskFrom returns the task that the handler whose context ctx is runs; nil outside of one.
func TaskFrom(ctx context.Context) *Running {
	if h := handlingFrom(ctx); h != nil {
		return h.running
	}
	return nil
}

// Permanent marks an error that a further attempt would not mend: the task fails at once.
func Permanent(err error) error { return guard.Permanent(err) }

// Snooze is an error for Run to return: the task waits for d and then runs again, and no attempt is charged. d is at least
// 100 ms, so that a task that snoozes again and again doesn't keep the store busy.
func Snooze(d time.Duration) error { return guard.Snooze(d) }
