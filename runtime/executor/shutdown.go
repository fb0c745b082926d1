package executor

import (
	"context"
	"errors"

	"github.com/afgen/afgen/runtime/backend"
)

// Shutdown drains the pool and closes it. The pool accepts no more jobs. Those that it has may end, including their
// retries, until ctx ends. Then the remaining ones are cancelled, as by Close. Shutdown returns nil after a complete
// drain. Otherwise its error has the number of jobs that were cancelled. In a pool that was not started, all jobs fail.
// A second call of Shutdown waits for the first and returns its error.
func (p *Pool[A, R]) Shutdown(ctx context.Context) error {
	return p.shutdown(ctx, func() error {
		if !p.started() {
			return nil
		}
		return p.Wait(ctx)
	})
}

// Close closes the pool without draining it. The pool accepts no more jobs, and queued and delayed ones fail. The
// contexts of running jobs are cancelled with the cause [ErrShutdown], and Close waits for them. A job that ignores its
// context for longer than [Grace] is killed if it runs in a child process. If it runs in a goroutine, it is abandoned
// and Close returns an error.
func (p *Pool[A, R]) Close() error {
	return p.shutdown(context.Background(), func() error { return nil })
}

func (p *Pool[A, R]) started() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begun
}

func (p *Pool[A, R]) shutdown(ctx context.Context, drain func() error) error {
	p.mu.Lock()
	if done := p.done; done != nil {
		p.mu.Unlock()
		select {
		case <-done:
			return p.doneErr
		case <-ctx.Done():
			return backend.Errorf(backend.CodeOf(ctx.Err()), "waiting for another Shutdown: %w", context.Cause(ctx))
		}
	}
	p.done = make(chan struct{})
	p.ending = true
	close(p.quitting)
	p.mu.Unlock()

	err := drain()
	p.abort(ErrShutdown)
	p.cancel(ErrShutdown)
	p.doneErr = errors.Join(err, p.awaitRunning())
	p.runner.close()
	close(p.done)
	return p.doneErr
}

// abort fails all jobs that are not running. Running ones are cancelled by their contexts.
func (p *Pool[A, R]) abort(cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.aborted != nil {
		return
	}
	p.aborted = cause
	p.queue = nil
	for _, j := range p.jobs {
		switch j.state {
		case queued:
			p.end(j, backend.Errorf(backend.CodeOf(cause), "not run: %w", cause))
		case delayed:
			j.delay.Stop()
			p.end(j, backend.Errorf(backend.CodeOf(cause), "not retried: %w; last error: %w", cause, j.Err))
		}
	}
	p.wake()
}

// awaitRunning waits for running jobs. Goroutines that ignore their contexts are abandoned after the grace.
func (p *Pool[A, R]) awaitRunning() error {
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if !p.runner.kills() {
		ctx, cancel = context.WithTimeout(ctx, p.set.grace)
	}
	defer cancel()
	if p.until(ctx, func() (bool, error) { return p.count[running] == 0, nil }) == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.count[running]
	for _, j := range p.jobs {
		if j.state == running {
			p.end(j, backend.Errorf(backend.ErrDeadlineExceeded, "job did not return after its context ended: %w",
				context.Cause(p.ctx)))
		}
	}
	p.wake()
	if n == 0 { // the last one has ended meanwhile
		return nil
	}
	return backend.Errorf(backend.ErrDeadlineExceeded, "%d jobs did not return after their contexts ended, abandoned", n)
}
