package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A Scheduler fires the jobs of the cluster together with the schedulers of all other processes. They read changed
// jobs again when notified by events. Because events may be lost, the leader also reads all jobs every 5 s, and the
// others every 15 s.
//
// Its exported methods are safe for concurrent use.
type Scheduler struct {
	catalog *Catalog

	mu     sync.Mutex
	cancel context.CancelFunc // ends the last loop
	done   chan struct{}      // closed when that loop has ended; nil before the first
	wanted bool               // Start was called after the last Stop
	closed bool
	stale  map[string]bool // jobs to read again; nil means all

	changes    signal.Signal  // jobs have changed or a task has ended
	queued     atomic.Bool    // a due time waits for an earlier task to end
	background sync.WaitGroup // goroutines started by Declare

	// Only the loop uses these.
	jobs    map[string]*Document // as stored with their revisions, except during a pass
	wrote   map[string]int64     // revisions that this scheduler has written
	listed  time.Time            // when all jobs were read
	leader  leader
	clock   storeClock
	failing error    // of the last pass
	failed  failures // jobs that fail alone
}

// Start starts firing in the background. It does nothing if firing has started or after Close.
func (s *Scheduler) Start() error {
	if s.catalog.cfg.Docs == nil {
		return s.catalog.unimplemented()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.wanted {
		return nil
	}
	ctx, cancel := context.WithCancel(s.catalog.cfg.Context)
	before, done := s.done, make(chan struct{})
	s.cancel, s.done, s.wanted = cancel, done, true
	go func() {
		defer close(done)
		if before != nil {
			<-before
		}
		var parts sync.WaitGroup
		parts.Go(func() { s.catalog.cfg.Bus.Subscribe(topicJobs, s.jobsChanged)(ctx) })
		s.run(ctx)
		parts.Wait()
	}()
	return nil
}

// Stop stops firing until the next Start. It returns when the loop has ended, or with an error when ctx ends.
func (s *Scheduler) Stop(ctx context.Context) error {
	s.mu.Lock()
	cancel, done := s.cancel, s.done
	s.wanted = false
	s.mu.Unlock()
	if done == nil {
		return nil
	}
	cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return backend.Errorf(backend.CodeOf(ctx.Err()), "wait for the scheduler to stop: %w", context.Cause(ctx))
	}
}

// Close stops firing permanently. It does not block.
func (s *Scheduler) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.cancel != nil {
		s.cancel()
	}
}

// Wait waits for all background goroutines. Call it after Close and after the Config's Context has ended.
func (s *Scheduler) Wait() {
	_ = s.Stop(context.Background())
	s.background.Wait()
}

// TasksEnded notifies the scheduler of ended tasks; due times of their jobs may be waiting. It does not block.
func (s *Scheduler) TasksEnded(ids []string) {
	if s.queued.Load() && slices.ContainsFunc(ids, func(id string) bool { return strings.HasPrefix(id, TaskPrefix) }) {
		s.changes.Set()
	}
}

// jobsChanged handles an event: the ids of changed jobs, or nil after a gap in the events.
func (s *Scheduler) jobsChanged(event json.RawMessage) {
	var ids []string
	if event != nil && json.Unmarshal(event, &ids) != nil {
		ids = nil
	}
	s.readAgain(ids...)
}

// readAgain makes the loop read jobs again now; all of them if there are no ids.
func (s *Scheduler) readAgain(ids ...string) {
	s.markStale(ids...)
	s.changes.Set()
}

// markStale makes the loop read jobs again in its next pass; all of them if there are no ids.
func (s *Scheduler) markStale(ids ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(ids) == 0 || len(s.stale)+len(ids) > maxReads {
		s.stale = nil
	}
	for _, id := range ids {
		if s.stale != nil {
			s.stale[id] = true
		}
	}
}

// run fires jobs until ctx ends.
func (s *Scheduler) run(ctx context.Context) {
	s.jobs, s.leader.announced, s.wrote = nil, time.Time{}, map[string]int64{}
	s.failed = failures{}
	s.markStale()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.changes.C():
		case <-ctx.Done():
			return
		}
		pause, err := s.pass(ctx)
		if err != nil && ctx.Err() == nil {
			s.markStale()
			pause = retry.Jitter(retry.MinPoll)
			s.setFailing(err)
		}
		timer.Reset(pause)
	}
}

// setFailing logs the first of several consecutive failures, and the first success after them.
func (s *Scheduler) setFailing(err error) {
	before := s.failing
	s.failing = err
	switch {
	case err != nil && before == nil:
		s.catalog.cfg.Unavailable("firing jobs failed, retrying", err)
	case err == nil && before != nil:
		s.catalog.cfg.Available("firing jobs again", before)
	}
}

// pass fires due jobs and returns the time until the next pass. A failing job doesn't affect others.
func (s *Scheduler) pass(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	now, err := s.refresh(ctx)
	if err != nil {
		return 0, err
	}
	if !now.IsZero() && !s.clock.trusts(s.catalog.cfg.Log, now, time.Now()) {
		return time.Second, nil
	}
	fires := s.open(ctx, now)
	s.fireAll(ctx, fires, now)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	again, err := s.conclude(fires)
	pause, queued := retry.Jitter(relist), false
	if again {
		pause = 0
	}
	for _, j := range s.jobs {
		pause, queued = min(pause, s.wait(j, now)), queued || len(j.Pending) > 0
	}
	s.queued.Store(queued)
	if err == nil {
		s.setFailing(nil)
	}
	return max(pause-time.Since(began), 0), err
}

// open returns the jobs that have work now, the latest ones first. It repairs jobs with wrong times.
func (s *Scheduler) open(ctx context.Context, now time.Time) (fires []*fire) {
	steady := s.clock.steady(time.Now())
	for _, j := range s.jobs {
		if s.failed.wait(j) > 0 {
			continue
		}
		var err error
		if steady && (j.clamped || j.ahead(now)) {
			err = s.repair(ctx, j, now)
		}
		if err != nil || s.isOpen(j, now) {
			fires = append(fires, &fire{job: j, before: *j, err: err})
		}
	}
	slices.SortFunc(fires, func(a, b *fire) int {
		return cmp.Or(cmp.Compare(a.due(), b.due()), cmp.Compare(a.job.id, b.job.id))
	})
	return fires
}

// conclude handles the errors of a pass. The jobs of failed fires are read again, with the written changes. If nothing
// was written, a job becomes what it was: while its revision is the same, it is not decoded again. again reports
// whether another process has changed a job meanwhile. The error is the store's, if it is unavailable.
func (s *Scheduler) conclude(fires []*fire) (again bool, err error) {
	for _, f := range fires {
		switch {
		case f.err == nil:
			s.failed.succeeded(s.catalog.cfg.Log, f.job)
			if f.job.revision == f.before.revision {
				*f.job = f.before
			}
			continue
		case backend.CodeOf(f.err) == backend.ErrAborted:
			again = true
		case retry.Refused(f.err):
			s.failed.add(s.catalog.cfg.Log, f.job, f.err)
		default:
			err = f.err
		}
		*f.job = f.before
		s.markStale(f.job.id)
	}
	return again, err
}
