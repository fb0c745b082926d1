package executor

import (
	"context"
	"errors"

	"github.com/afgen/afgen/runtime/backend"
)

// Shutdown takes no more jobs, lets those that there are end, retries included, until ctx ends, then cancels what is left as
// Close does. It returns nil after a complete drain, and says what was cancelled otherwise. A pool that was not started has
// nothing to drain: its jobs fail. A second Shutdown waits for the first.
func (p *Pool[A, R]) Shutdown(ctx context.Context) error {
	return p.shutdown(ctx, func() error {
		if !p.started() {
			return nil
		}
		return p.Wait(ctx)
	})
}

// Close takes no more jobs, fails those that are queued or delayed, ends the contexts of those that run, with the cause
// [ErrShutdown], and waits for them. What ignores that for longer than [Grace] is killed, in a child process, or left behind,
// in a goroutine; then Close says so.
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
	p.doneErr = errors.Join(err, p.leave())
	p.runner.close()
	close(p.done)
	return p.doneErr
}

// abort fails what doesn't run. What runs is cancelled by its context.
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
			p.end(j, backend.Errorf(backend.CodeOf(cause), "not tried again: %w; it had failed: %w", cause, j.Err))
		}
	}
	p.tell()
}

// leave waits for what runs. Goroutines that ignore the end of their context are left behind after the grace.
func (p *Pool[A, R]) leave() error {
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
			p.end(j, backend.Errorf(backend.ErrDeadlineExceeded, "the job ignored the end of its context: %w", context.Cause(p.ctx)))
		}
	}
	p.tell()
	if n == 0 { // the last one has just ended
		return nil
	}
	return backend.Errorf(backend.ErrDeadlineExceeded, "%d jobs ignore the end of their contexts; their goroutines were left behind", n)
}
