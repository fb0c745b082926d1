package executor

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/stack"
)

// Why the context of a job ended; context.Cause returns one of these, or the cause of the context that Start was given.
var (
	ErrTimeout  = backend.NewError(backend.ErrDeadlineExceeded, "attempt timed out")
	ErrShutdown = backend.NewError(backend.ErrUnavailable, "the pool is shutting down")
)

// A Pool runs jobs of one function, from A to R. Its methods are safe for concurrent use. Whoever made it ends it, by
// Shutdown or Close.
type Pool[A, R any] struct {
	set    settings
	runner runner[A, R]

	mu      sync.Mutex
	begun   bool
	ending  bool            // takes no more jobs
	aborted error           // why nothing more runs
	ctx     context.Context // of the jobs
	cancel  context.CancelCauseFunc
	jobs    []*job[A, R] // in the order of submission, those not taken
	queue   []*job[A, R] // those that are ready
	next    int          // id
	active  int          // workers at work
	count   [failed + 1]int
	moved   chan struct{} // closed, and made anew, when something has ended

	room     chan struct{} // holds an element for each job that has not begun
	quitting chan struct{} // closed when no more jobs are taken
	done     chan struct{} // closed when the first Shutdown has ended; made by it
	doneErr  error
}

// A runner makes the attempts of a pool.
type runner[A, R any] interface {
	start() error
	run(ctx context.Context, a A) (R, error)
	kills() bool // what ignores the end of its context for longer than the grace
	close()      // once nothing runs any more
}

// The states of a job.
type state int

const (
	queued state = iota
	running
	delayed
	succeeded // these two are final
	failed
)

type job[A, R any] struct {
	Result[A, R]
	state state
	delay *time.Timer // while it is delayed
}

// A Result is one job and what came of it.
type Result[A, R any] struct {
	ID       int // from 0, in the order of submission
	Arg      A
	Value    R     // zero with an Err
	Err      error // of the last attempt, or why there was none
	Attempts int   // begun
}

// Progress counts the jobs of a pool. Total is the sum of the others, at any time.
type Progress struct {
	Total     int
	Queued    int // ready to run
	Running   int
	Delayed   int // failed, and to be tried again
	Succeeded int
	Failed    int // for good
}

// Ended is how many jobs have come to their end.
func (p Progress) Ended() int { return p.Succeeded + p.Failed }

// Goroutines returns a pool that runs fn in goroutines of this process.
func Goroutines[A, R any](fn func(ctx context.Context, arg A) (R, error), opts ...Option) *Pool[A, R] {
	return newPool(newSettings(opts), goroutines[A, R](fn))
}

func newPool[A, R any](s settings, r runner[A, R]) *Pool[A, R] {
	p := &Pool[A, R]{set: s, runner: r, moved: make(chan struct{}), room: make(chan struct{}, s.queue), quitting: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// Start begins to run jobs. Their contexts descend from ctx: when that ends, what runs is cancelled, what is queued fails,
// and no more is taken.
func (p *Pool[A, R]) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begun || p.ending {
		return backend.NewError(backend.ErrFailedPrecondition, "Start: the pool has been started or shut down before")
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

// Submit queues a job and returns its id. While the queue is full it waits, until ctx ends; before Start it is
// resource_exhausted then, since nothing would make room.
func (p *Pool[A, R]) Submit(ctx context.Context, arg A) (int, error) {
	select {
	case p.room <- struct{}{}:
	default:
		if err := p.await(ctx); err != nil {
			return 0, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.refusal()
	if err == nil && len(p.jobs) >= p.set.keep {
		err = backend.Errorf(backend.ErrResourceExhausted, "the pool remembers %d jobs; Take those that have ended, or let it Keep more", p.set.keep)
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

// await waits for room in the queue.
func (p *Pool[A, R]) await(ctx context.Context) error {
	p.mu.Lock()
	err := p.refusal()
	if err == nil && !p.begun {
		err = backend.Errorf(backend.ErrResourceExhausted, "%d jobs are queued and the pool has not been started", p.set.queue)
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
		return backend.Errorf(backend.CodeOf(ctx.Err()), "waiting for room in the queue: %w", context.Cause(ctx))
	}
}

// refusal is why no more jobs are taken. p.mu is held.
func (p *Pool[A, R]) refusal() error {
	switch {
	case p.aborted != nil:
		return backend.Errorf(backend.ErrFailedPrecondition, "the pool has ended: %w", p.aborted)
	case p.ending:
		return backend.Errorf(backend.ErrFailedPrecondition, "not queued: %w", ErrShutdown)
	}
	return nil
}

// SubmitBatch queues jobs in order and returns their ids. After an error, those of the jobs that were queued.
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

// pump gives ready jobs to free workers. p.mu is held.
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

// move changes the state of a job. One that leaves the queue before its first attempt makes room for another. p.mu is held.
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

// attempt makes one attempt of a job and sees to what follows.
func (p *Pool[A, R]) attempt(j *job[A, R]) {
	ctx, stop := p.ctx, context.CancelFunc(func() {})
	if p.set.timeout != 0 {
		ctx, stop = context.WithTimeoutCause(ctx, p.set.timeout, ErrTimeout)
	}
	var value R
	err := error(errGoexit)
	defer func() { // also where the function, or RetryIf, ends its goroutine
		stop()
		again := false
		defer func() { p.attempted(j, value, err, again) }()
		again, err = p.worth(j, err)
	}()
	value, err = p.contain(ctx, j.Arg)
}

// worth asks RetryIf, which may use the pool, whether an attempt's error is worth a retry. A panic takes the error's place.
func (p *Pool[A, R]) worth(j *job[A, R], failure error) (again bool, err error) {
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

// contain turns a panic into an error.
func (p *Pool[A, R]) contain(ctx context.Context, arg A) (value R, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = recovered(v)
		}
	}()
	value, err = p.runner.run(ctx, arg)
	ask(err)
	return value, err
}

// ask asks an error what it is while a panic at that, of a nil pointer for one, is still one of its function.
func ask(err error) {
	if err != nil {
		_, _ = err.Error(), backend.CodeOf(err)
	}
}

func (p *Pool[A, R]) attempted(j *job[A, R], value R, err error, again bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active--
	switch {
	case j.state != running: // it was left behind
	case err == nil:
		j.Value = value
		p.end(j, nil)
	case p.aborted == nil && again:
		j.Err = err
		p.move(j, delayed)
		j.delay = time.AfterFunc(p.set.delay(j.Attempts), func() { p.again(j) })
	default:
		p.end(j, err)
	}
	p.tell()
	p.pump()
}

// again makes a job that was delayed ready.
func (p *Pool[A, R]) again(j *job[A, R]) {
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

// tell wakes those who wait. p.mu is held.
func (p *Pool[A, R]) tell() {
	close(p.moved)
	p.moved = make(chan struct{})
}

// Wait waits until nothing is queued, runs, or is to be tried again; it doesn't matter whether jobs failed. Where ctx ends
// first, the error says so. Of a pool that has jobs and was not started it is failed_precondition.
func (p *Pool[A, R]) Wait(ctx context.Context) error {
	return p.until(ctx, func() (bool, error) {
		left := p.left()
		if left > 0 && !p.begun {
			return false, backend.NewError(backend.ErrFailedPrecondition, "Wait: the pool has not been started")
		}
		return left == 0, nil
	})
}

// until waits until cond, which is called with p.mu held, says that it holds.
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

// Progress counts the jobs, as they stand now.
func (p *Pool[A, R]) Progress() Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Progress{p.next, p.count[queued], p.count[running], p.count[delayed], p.count[succeeded], p.count[failed]}
}

// left is how many jobs have not ended. p.mu is held.
func (p *Pool[A, R]) left() int { return p.count[queued] + p.count[running] + p.count[delayed] }

// Results returns the jobs that have ended, in the order of submission.
func (p *Pool[A, R]) Results() []Result[A, R] {
	return p.pick(func(*job[A, R]) bool { return true }, false)
}

// Failed returns the jobs that have failed for good, in the order of submission.
func (p *Pool[A, R]) Failed() []Result[A, R] {
	return p.pick(func(j *job[A, R]) bool { return j.Err != nil }, false)
}

// Take is Results, and the pool forgets them. Progress still counts them.
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

// A PanicError is a panic in a function. From a child process Value is its text. Stack begins where it panicked and ends with
// the function.
type PanicError struct {
	Value any
	Stack []byte
}

// recovered returns the panic of value v. The deferred function that has recovered it calls it.
func recovered(v any) *PanicError { return &PanicError{v, []byte(stack.Recovered(v).Stack)} }

// Error tells the value; the stack is for whoever looks.
func (e *PanicError) Error() string { return fmt.Sprintf("the function panicked: %v", e.Value) }

// Unwrap makes it an internal error.
func (e *PanicError) Unwrap() error { return backend.ErrInternal }

var errGoexit = backend.NewError(backend.ErrInternal, "the function ended its goroutine")

// goroutines runs a function where it is.
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
