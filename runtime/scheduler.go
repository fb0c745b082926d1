package runtime

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// A scheduler fires the jobs of the whole cluster, beside those of all other Apps. What keeps a due time to one task
// stands at jobDoc; here is what keeps it cheap: one scheduler leads and fires at once, the others look a moment later
// whether it has. Who leads is a matter of who is announced, and may be wrong. All hear which jobs have changed, and read
// those; since news may be lost the leader reads all jobs every few seconds besides, and the others seldom.
//
// Due times are compared with the store's time and waited for by this process's monotonic clock; its wall clock is not
// looked at.
type scheduler struct {
	e *engine

	mu     sync.Mutex
	cancel context.CancelFunc // of the last loop
	done   chan struct{}      // closed when that has ended; nil where there was none
	wanted bool               // it is not to end
	ended  bool               // no other comes
	old    map[string]bool    // jobs that are to be read again; nil is all

	news   chan struct{} // jobs have changed, or a task has ended
	queued atomic.Bool   // a due time waits for an earlier task to end

	// Only the loop uses these.
	jobs      map[string]*jobDoc
	wrote     map[string]int64 // the revisions that this scheduler has written
	listed    time.Time        // all of them
	announced time.Time
	leads     bool
	failing   error
	clock     storeClock
}

const (
	leaderKind = "scheduler"
	lagBehind  = 2 * time.Second // by which those who don't lead are late
	relist     = 5 * time.Second // the net under news of changes
	relistLate = 3 * relist      // of those who don't lead: by then they know when nobody does
	maxReads   = 16              // of single jobs, rather than one of all
	freshFor   = 5 * time.Second // after which what was read is read again before tasks are made
	endWithin  = time.Second     // what is under way, when the scheduler is stopped
	waitQueued = time.Second     // between two looks whether an earlier task has ended, where no news comes
)

func newScheduler(e *engine) *scheduler { return &scheduler{e: e, news: make(chan struct{}, 1)} }

// start begins to fire, unless that was begun before or the engine stops.
func (s *scheduler) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.wanted {
		return
	}
	ctx, cancel := context.WithCancel(s.e.ctx)
	before, done := s.done, make(chan struct{})
	s.cancel, s.done, s.wanted = cancel, done, true
	go func() {
		defer close(done)
		if before != nil {
			<-before
		}
		var parts sync.WaitGroup
		parts.Go(func() { s.e.bus.Subscribe(topicJobs, s.heard)(ctx) })
		s.run(ctx)
		parts.Wait()
	}()
}

// stop ends firing and waits for the end until ctx ends.
func (s *scheduler) stop(ctx context.Context) error {
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
		return Errorf(CodeOf(ctx.Err()), "waiting for the scheduler to stop: %w", context.Cause(ctx))
	}
}

// end ends firing for good, and doesn't wait.
func (s *scheduler) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.cancel != nil {
		s.cancel()
	}
}

// wait waits for the end.
func (s *scheduler) wait() { _ = s.stop(context.Background()) }

// heard looks at the jobs of which there is news; after a gap, at all.
func (s *scheduler) heard(news json.RawMessage) {
	var ids []string
	if news != nil && json.Unmarshal(news, &ids) != nil {
		ids = nil
	}
	s.look(ids...)
}

// look has the loop read jobs again: these or, without ids, all.
func (s *scheduler) look(ids ...string) {
	s.again(ids...)
	s.wake()
}

// again is look, when the loop next looks by itself.
func (s *scheduler) again(ids ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(ids) == 0 || len(s.old)+len(ids) > maxReads {
		s.old = nil
	}
	for _, id := range ids {
		if s.old != nil {
			s.old[id] = true
		}
	}
}

func (s *scheduler) wake() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// tasksEnded has the loop look again if due times wait for that.
func (s *scheduler) tasksEnded(ids []string) {
	if s.queued.Load() && slices.ContainsFunc(ids, func(id string) bool { return strings.HasPrefix(id, "job/") }) {
		s.wake()
	}
}

func (s *scheduler) run(ctx context.Context) {
	s.jobs, s.announced, s.wrote = nil, time.Time{}, map[string]int64{}
	s.again()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.news:
		case <-ctx.Done():
			return
		}
		pause, err := s.pass(ctx)
		if err != nil && ctx.Err() == nil {
			s.again()
			pause = retry.Jitter(retry.MinPoll)
			s.failed(err)
		}
		timer.Reset(pause)
	}
}

// failed logs the first of failures in a row, and that it was the last.
func (s *scheduler) failed(err error) {
	before := s.failing
	s.failing = err
	switch {
	case err != nil && before == nil:
		s.e.tasks.LogUnavailable("jobs are not fired; trying again", err)
	case err == nil && before != nil:
		s.e.log.Log(s.e.ctx, s.e.tasks.LevelOf(before, slog.LevelInfo), "jobs are fired again")
	}
}

// pass fires what is due and returns how long there is nothing to do. One job that can't be fired doesn't keep others
// from it.
func (s *scheduler) pass(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	now, err := s.prepare(ctx)
	if err != nil {
		return 0, err
	}
	if !now.IsZero() && !s.clock.trusts(s.e.log, now, time.Now()) {
		return time.Second, nil
	}
	pause, queued := retry.Jitter(relist), false
	for _, j := range s.jobs {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		wait, e := s.see(ctx, j, now)
		if CodeOf(e) == ErrAborted { // somebody else was faster, or has changed it
			wait, e = 0, nil
		}
		if e != nil {
			err = e
		}
		pause, queued = min(pause, wait), queued || len(j.Pending) > 0
	}
	s.queued.Store(queued)
	if err == nil {
		s.failed(nil)
	}
	return max(pause-time.Since(began), 0), err
}

// due says whether a due time has passed that this scheduler would decide.
func (s *scheduler) due(j *jobDoc, now time.Time) bool {
	next := j.next()
	return !next.IsZero() && !now.Before(next.Add(s.lag()))
}

// open says whether there is anything that this scheduler would do for a job.
func (s *scheduler) open(j *jobDoc, now time.Time) bool {
	return s.due(j, now) || len(j.Pending) > 0 && s.mine(j, now)
}

// mine says whether what is decided of a job is this scheduler's to carry out: what it has decided itself, or what has
// been left.
func (s *scheduler) mine(j *jobDoc, now time.Time) bool {
	return s.wrote[j.id] == j.revision || !now.Before(time.Unix(j.Decided, 0).Add(s.lag()))
}

// see does what there is to do for a job, and returns how long that is nothing more.
func (s *scheduler) see(ctx context.Context, j *jobDoc, now time.Time) (time.Duration, error) {
	if s.clock.steady(time.Now()) && (j.clamped || j.ahead(now)) {
		if err := s.repair(ctx, j, now); err != nil {
			s.again(j.id)
			return 0, err
		}
	}
	if !s.open(j, now) {
		wait := relist
		if next := j.next(); !next.IsZero() {
			wait = min(wait, next.Add(s.lag()).Sub(now))
		}
		if len(j.Pending) > 0 {
			wait = min(wait, lagBehind)
		}
		return wait, nil
	}
	before := *j
	wait, err := s.fire(ctx, j, now)
	if err != nil {
		*j = before // what was written is read again
		s.again(j.id)
	}
	return wait, err
}

// fire decides what is due and carries out what is decided. What it has begun it ends, also when the scheduler is
// stopped.
func (s *scheduler) fire(ctx context.Context, j *jobDoc, now time.Time) (time.Duration, error) {
	stopped := ctx
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), retry.Timeout)
	defer cancel()
	defer context.AfterFunc(stopped, func() { time.AfterFunc(endWithin, cancel) })()
	live := false
	if j.Overlap != OverlapAllow {
		var err error
		if live, err = s.live(ctx, j, now); err != nil {
			return 0, err
		}
	}
	if s.due(j, now) && j.decide(now, live) {
		j.read = time.Now()
		if err := s.e.writeJob(ctx, j); err != nil {
			return 0, err
		}
		s.wrote[j.id] = j.revision
	}
	if err := s.carryOut(ctx, j, now, live); err != nil {
		return 0, err
	}
	wait := relist
	if len(j.Pending) > 0 {
		wait = waitQueued
	}
	if next := j.next(); !next.IsZero() {
		wait = min(wait, max(next.Add(s.lag()).Sub(now), 0))
	}
	return wait, nil
}

// live forgets the tasks of a job that have ended, and says whether any is left.
func (s *scheduler) live(ctx context.Context, j *jobDoc, now time.Time) (bool, error) {
	left, err := s.e.liveFires(ctx, j, now)
	if err != nil {
		return false, err
	}
	j.Live = left
	return len(left) > 0, nil
}

// carryOut makes the tasks that are decided, notes them, and takes them from the job's document. All of it may be
// repeated.
func (s *scheduler) carryOut(ctx context.Context, j *jobDoc, now time.Time, live bool) error {
	var tasks []backend.NewTask
	var notes []fireNote
	n, fired := 0, j.Fired
	for ; n < len(j.Pending); n++ {
		f := j.Pending[n]
		if f.Skip == "" {
			if j.Overlap == OverlapQueue && (live || len(tasks) > 0) {
				break
			}
			tasks = append(tasks, j.task(fireID(j.id, f.Due)))
			fired = max(fired, f.Due)
		}
		notes = append(notes, fireNote{firing: f, At: now.Unix()})
	}
	if n == 0 {
		return nil
	}
	if time.Since(j.read) > freshFor {
		// This process has hung, and others may have made these tasks long ago: they may have ended and be deleted.
		return NewError(ErrAborted, "the job is to be read again")
	}
	if len(tasks) > 0 {
		ids, err := s.e.insertOnce(ctx, tasks)
		if err != nil {
			return err
		}
		if j.Overlap != OverlapAllow {
			j.live(ids...)
		}
		s.e.wakeJob(j, ids)
	}
	if err := s.e.note(ctx, j.id, notes...); err != nil {
		return err
	}
	j.Pending, j.Fired = j.Pending[n:], fired
	if err := s.e.writeJob(ctx, j); err != nil {
		return err
	}
	s.wrote[j.id] = j.revision
	return nil
}

// insertOnce inserts tasks with one try. After an error any of them may be stored.
func (e *engine) insertOnce(ctx context.Context, tasks []backend.NewTask) ([]string, error) {
	ids := make([]string, 0, len(tasks))
	for part := range backend.SplitInsert(tasks, maxInsertBytes) {
		stored, err := e.store.Insert(ctx, part)
		if err != nil {
			return nil, err
		}
		for _, t := range stored {
			ids = append(ids, t.ID)
		}
	}
	return ids, nil
}
