package executor

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/stack"
)

// Causes with which the context of a job ends: see context.Cause. If the context given to Start has ended, it is that
// one's cause.
var (
	ErrTimeout  = backend.NewError(backend.ErrDeadlineExceeded, "attempt timed out")
	ErrShutdown = backend.NewError(backend.ErrUnavailable, "the pool is shutting down")
)

// A Pool runs jobs of one function with argument A and result R. Its methods are safe for concurrent use. The code that
// created it must call Shutdown or Close.
type Pool[A, R any] struct {
	set    settings
	runner runner[A, R]

	mu      sync.Mutex
	begun   bool
	ending  bool            // accepts no more jobs
	aborted error           // if not nil, no more jobs are run
	ctx     context.Context // parent of the jobs' contexts
	cancel  context.CancelCauseFunc
	jobs    []*job[A, R] // all that Take has not removed, in the order of submission
	queue   []*job[A, R] // ready to run
	next    int          // id of the next job
	active  int          // busy workers
	count   [failed + 1]int
	moved   chan struct{} // closed and replaced when a job has ended

	room     chan struct{} // has an element for each job that has not begun
	quitting chan struct{} // closed when the pool accepts no more jobs
	done     chan struct{} // closed when the first Shutdown has ended, which creates it
	doneErr  error
}

// A runner runs the attempts of a pool.
type runner[A, R any] interface {
	start() error
	run(ctx context.Context, a A) (R, error)
	kills() bool // whether it kills jobs that ignore the end of their contexts for longer than the grace
	close()      // called when no job is running
}

// The states of a job.
type state int

const (
	queued state = iota
	running
	delayed
	succeeded // final, as is failed
	failed
)

type job[A, R any] struct {
	Result[A, R]
	state state
	delay *time.Timer // set while the job is delayed
}

// A Result is a job with its result.
type Result[A, R any] struct {
	ID       int // from 0, in the order of submission
	Arg      A
	Value    R     // zero if Err is not nil
	Err      error // of the last attempt, or why the job was not run
	Attempts int   // attempts begun
}

// Progress counts the jobs of a pool by their state. Total is the sum of the other fields.
type Progress struct {
	Total     int
	Queued    int // ready to run
	Running   int
	Delayed   int // failed and waiting for a retry
	Succeeded int
	Failed    int // without retries left
}

// Ended returns the number of jobs that have succeeded or failed.
func (p Progress) Ended() int { return p.Succeeded + p.Failed }

// Goroutines returns a pool that runs fn in goroutines of this process.
func Goroutines[A, R any](fn func(ctx context.Context, arg A) (R, error), opts ...Option) *Pool[A, R] {
	return newPool(newSettings(opts), goroutines[A, R](fn))
}

func newPool[A, R any](s settings, r runner[A, R]) *Pool[A, R] {
	p := &Pool[A, R]{
		set: s, runner: r, moved: make(chan struct{}), room: make(chan struct{}, s.queue), quitting: make(chan struct{}),
	}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// Start starts running jobs. Their contexts are derived from ctx. When ctx ends, running jobs are cancelled, queued
// ones fail, and the pool accepts no more. If the pool has already been started or shut down, Start returns
// failed_precondition.
func (p *Pool[A, R]) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begun || p.ending {
		return backend.NewError(backend.ErrFailedPrecondition, "Start: the pool has already been started or shut down")
	}
	if err := p.runner.start(); err != nil {
		return err
	}
	p.begun = true
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	context.AfterFunc(p.ctx, func() { p.abort(context.Cause(p.ctx)) })
	p.pump()
	return nil
}

// Submit queues a job and returns its id. If the queue is full, it blocks until a job begins or ctx ends. If the pool
// has not been started, it returns resource_exhausted instead. After Shutdown it returns failed_precondition.
func (p *Pool[A, R]) Submit(ctx context.Context, arg A) (int, error) {
	select {
	case p.room <- struct{}{}:
	default:
		if err := p.awaitRoom(ctx); err != nil {
			return 0, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.refusal()
	if err == nil && len(p.jobs) >= p.set.keep {
		err = backend.Errorf(backend.ErrResourceExhausted, "the pool holds %d jobs; remove results with Take or raise Keep",
			p.set.keep)
	}
	if err != nil {
		<-p.room
		return 0, err
	}
	j := &job[A, R]{Result: Result[A, R]{ID: p.next, Arg: arg}}
	p.next++
	p.count[queued]++
	p.jobs = append(p.jobs, j)
	p.queue = append(p.queue, j)
	p.pump()
	return j.ID, nil
}

// awaitRoom waits until the queue is no longer full, and reserves a place.
func (p *Pool[A, R]) awaitRoom(ctx context.Context) error {
	p.mu.Lock()
	err := p.refusal()
	if err == nil && !p.begun {
		err = backend.Errorf(backend.ErrResourceExhausted, "the queue is full with %d jobs and the pool has not "+
			"been started", p.set.queue)
	}
	p.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case p.room <- struct{}{}:
		return nil
	case <-p.quitting:
		return backend.Errorf(backend.ErrFailedPrecondition, "not queued: %w", ErrShutdown)
	case <-ctx.Done():
		return backend.Errorf(backend.CodeOf(ctx.Err()), "the queue is full: %w", context.Cause(ctx))
	}
}

// refusal returns an error if the pool accepts no more jobs. p.mu is held.
func (p *Pool[A, R]) refusal() error {
	switch {
	case p.aborted != nil:
		return backend.Errorf(backend.ErrFailedPrecondition, "the pool has ended: %w", p.aborted)
	case p.ending:
		return backend.Errorf(backend.ErrFailedPrecondition, "not queued: %w", ErrShutdown)
	}
	return nil
}

// SubmitBatch queues jobs in order, as Submit does, and returns their ids. With an error it returns the ids of the jobs
// that were queued.
func (p *Pool[A, R]) SubmitBatch(ctx context.Context, args []A) ([]int, error) {
	ids := make([]int, 0, len(args))
	for _, a := range args {
		id, err := p.Submit(ctx, a)
		if err != nil {
			return ids, fmt.Errorf("%d of %d jobs were queued: %w", len(ids), len(args), err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// pump starts ready jobs while workers are free. p.mu is held.
func (p *Pool[A, R]) pump() {
	for p.begun && p.aborted == nil && p.active < p.set.workers && len(p.queue) > 0 {
		j := p.queue[0]
		p.queue[0] = nil
		if p.queue = p.queue[1:]; len(p.queue) == 0 {
			p.queue = nil
		}
		p.move(j, running)
		j.Attempts++
		p.active++
		go p.attempt(j)
	}
}

// move changes the state of a job. A job that leaves the queue for its first attempt frees a place. p.mu is held.
func (p *Pool[A, R]) move(j *job[A, R], to state) {
	if j.state == queued && j.Attempts == 0 {
		<-p.room
	}
	p.count[j.state]--
	p.count[to]++
	j.state = to
}

// end ends a job. p.mu is held.
func (p *Pool[A, R]) end(j *job[A, R], err error) {
	if j.Err = err; err != nil {
		p.move(j, failed)
	} else {
		p.move(j, succeeded)
	}
}

// attempt runs one attempt of a job and handles its result.
func (p *Pool[A, R]) attempt(j *job[A, R]) {
	ctx, stop := p.ctx, context.CancelFunc(func() {})
	if p.set.timeout != 0 {
		ctx, stop = context.WithTimeoutCause(ctx, p.set.timeout, ErrTimeout)
	}
	var value R
	err := error(errGoexit)
	defer func() { // also runs if the function or RetryIf calls runtime.Goexit
		stop()
		again := false
		defer func() { p.attempted(j, value, err, again) }()
		again, err = p.retryable(j, err)
	}()
	value, err = p.recoverPanics(ctx, j.Arg)
}

// retryable reports whether a failed attempt is retried. If RetryIf panics, the panic replaces the error. p.mu must not
// be held, because RetryIf may use the pool.
func (p *Pool[A, R]) retryable(j *job[A, R], failure error) (again bool, err error) {
	switch {
	case failure == nil || j.Attempts > p.set.retries:
		return false, failure
	case p.set.retryIf == nil:
		return true, failure
	}
	defer func() {
		if v := recover(); v != nil {
			again, err = false, recovered(v)
		}
	}()
	return p.set.retryIf(failure), failure
}

// recoverPanics runs the function and converts a panic into an error.
func (p *Pool[A, R]) recoverPanics(ctx context.Context, arg A) (value R, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = recovered(v)
		}
	}()
	value, err = p.runner.run(ctx, arg)
	checkError(err)
	return value, err
}

// checkError calls the methods of an error, so that a panic in them, such as of a nil pointer, is recovered as one of
// the function.
func checkError(err error) {
	if err != nil {
		_, _ = err.Error(), backend.CodeOf(err)
	}
}

func (p *Pool[A, R]) attempted(j *job[A, R], value R, err error, again bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active--
	switch {
	case j.state != running: // Shutdown has abandoned it
	case err == nil:
		j.Value = value
		p.end(j, nil)
	case p.aborted == nil && again:
		j.Err = err
		p.move(j, delayed)
		j.delay = time.AfterFunc(p.set.delay(j.Attempts), func() { p.requeue(j) })
	default:
		p.end(j, err)
	}
	p.wake()
	p.pump()
}

// requeue makes a delayed job ready.
func (p *Pool[A, R]) requeue(j *job[A, R]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if j.state != delayed {
		return
	}
	j.delay, j.Err = nil, nil
	p.move(j, queued)
	p.queue = append(p.queue, j)
	p.pump()
}

// wake wakes the goroutines in until. p.mu is held.
func (p *Pool[A, R]) wake() {
	close(p.moved)
	p.moved = make(chan struct{})
}

// Wait blocks until all submitted jobs have ended, whether they succeeded or failed. If ctx ends first, it returns an
// error with the code of ctx's. If the pool has jobs and was not started, it returns failed_precondition.
func (p *Pool[A, R]) Wait(ctx context.Context) error {
	return p.until(ctx, func() (bool, error) {
		left := p.left()
		if left > 0 && !p.begun {
			return false, backend.NewError(backend.ErrFailedPrecondition, "Wait: the pool has not been started")
		}
		return left == 0, nil
	})
}

// until waits until cond returns true or an error. cond is called with p.mu held.
func (p *Pool[A, R]) until(ctx context.Context, cond func() (bool, error)) error {
	for {
		p.mu.Lock()
		ok, err := cond()
		moved, left := p.moved, p.left()
		p.mu.Unlock()
		if ok || err != nil {
			return err
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return backend.Errorf(backend.CodeOf(ctx.Err()), "%d jobs have not ended: %w", left, context.Cause(ctx))
		}
	}
}

// Progress returns the current numbers of jobs.
func (p *Pool[A, R]) Progress() Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &p.count
	return Progress{p.next, c[queued], c[running], c[delayed], c[succeeded], c[failed]}
}

// left returns the number of jobs that have not ended. p.mu is held.
func (p *Pool[A, R]) left() int { return p.count[queued] + p.count[running] + p.count[delayed] }

// Results returns the jobs that have ended, in the order of submission. It does not remove them.
func (p *Pool[A, R]) Results() []Result[A, R] {
	return p.pick(func(*job[A, R]) bool { return true }, false)
}

// Failed returns the jobs that have failed and are not retried, in the order of submission.
func (p *Pool[A, R]) Failed() []Result[A, R] {
	return p.pick(func(j *job[A, R]) bool { return j.Err != nil }, false)
}

// Take removes the jobs that have ended from the pool and returns them, in the order of submission. Progress still
// counts them.
func (p *Pool[A, R]) Take() []Result[A, R] {
	return p.pick(func(*job[A, R]) bool { return true }, true)
}

func (p *Pool[A, R]) pick(want func(*job[A, R]) bool, take bool) []Result[A, R] {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Result[A, R]
	var rest []*job[A, R]
	for _, j := range p.jobs {
		if j.state >= succeeded && want(j) {
			out = append(out, j.Result)
		} else if take {
			rest = append(rest, j)
		}
	}
	if take {
		p.jobs = rest
	}
	return out
}

// A PanicError is a panic in a function. If it occurred in a child process, Value is its text. Stack begins with the
// frame that panicked and ends with the function.
type PanicError struct {
	Value any
	Stack []byte
}

// recovered returns the error of a panic with value v. Only the deferred function that has recovered it may call it.
func recovered(v any) *PanicError { return &PanicError{v, []byte(stack.Recovered(v).Stack)} }

// Error returns the text of the value, without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("the function panicked: %v", e.Value) }

// Unwrap returns the code internal.
func (e *PanicError) Unwrap() error { return backend.ErrInternal }

var errGoexit = backend.NewError(backend.ErrInternal, "the function ended its goroutine")

// goroutines is the runner that calls a function in this process.
type goroutines[A, R any] func(context.Context, A) (R, error)

func (g goroutines[A, R]) start() error {
	if g == nil {
		return backend.NewError(backend.ErrInvalidArgument, "Start: the function is nil")
	}
	return nil
}

func (g goroutines[A, R]) run(ctx context.Context, a A) (R, error) { return g(ctx, a) }
func (g goroutines[A, R]) close()                                  {}
func (g goroutines[A, R]) kills() bool                             { return false }
