package jobs

import (
	"context"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// Limits of a batch, so that it takes neither much memory nor long: the first batch doesn't wait for the last one, and
// with a slow store its jobs are still fresh when their tasks are inserted.
const (
	maxBatch      = 250     // jobs
	maxBatchTasks = 1000    // tasks in one insert, unless a single job has more
	maxBatchBytes = 8 << 20 // of documents or tasks, unless a single one has more
)

// fireAll decides due times and carries out pending ones, and sets the error of each fire. It inserts all tasks before
// it records the first fire. If the scheduler is stopped, it completes started batches for up to a second.
func (s *Scheduler) fireAll(ctx context.Context, fires []*fire, now time.Time) {
	stopped := ctx
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(stopped, func() { time.AfterFunc(stopWithin, cancel) })()
	started := 0
	for batch := range slices.Chunk(fires, maxBatch) {
		if stopped.Err() != nil {
			break
		}
		s.submit(ctx, batch, now)
		started += len(batch)
	}
	for batch := range slices.Chunk(fires[:started], maxBatch) {
		s.record(ctx, batch, now)
	}
}

// succeeding returns the fires that have not failed.
func succeeding(fires []*fire) []*fire {
	return slices.DeleteFunc(slices.Clone(fires), func(f *fire) bool { return f.err != nil })
}

// submit decides the due times of a batch and inserts the tasks of its fires. It is idempotent.
func (s *Scheduler) submit(ctx context.Context, batch []*fire, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	s.dropEnded(ctx, succeeding(batch), now)
	var decided []*fire
	for _, f := range succeeding(batch) {
		if s.isDue(f.job, now) && f.job.decide(now, f.live) {
			f.job.read = time.Now()
			decided = append(decided, f)
		}
	}
	s.write(ctx, succeeding(decided))
	s.insertAll(ctx, succeeding(batch))
}

// dropEnded removes ended tasks from the jobs' live ones.
func (s *Scheduler) dropEnded(ctx context.Context, batch []*fire, now time.Time) {
	batch = slices.DeleteFunc(batch, func(f *fire) bool { return f.job.Overlap == OverlapAllow })
	var ids []string
	for _, f := range batch {
		ids = append(ids, f.job.Live...)
	}
	statuses := make(map[string]backend.Status, len(ids))
	var err error
	for part := range slices.Chunk(ids, maxBatchTasks) {
		if err = s.catalog.addStatuses(ctx, statuses, part); err != nil {
			break
		}
	}
	for _, f := range batch {
		if f.err = err; err == nil {
			f.job.Live = f.job.liveIn(statuses, now)
			f.live = len(f.job.Live) > 0
		}
	}
}

// write stores the jobs of fires.
func (s *Scheduler) write(ctx context.Context, fires []*fire) {
	jobs := make([]*Document, len(fires))
	for i, f := range fires {
		jobs[i] = f.job
	}
	for i, err := range s.catalog.writeAll(ctx, jobs) {
		if fires[i].err = err; err == nil {
			s.wrote[jobs[i].id] = jobs[i].revision
		}
	}
}

// insertAll inserts the tasks of pending fires in groups. A job that has failed before gets a group of its own.
func (s *Scheduler) insertAll(ctx context.Context, batch []*fire) {
	var group []*fire
	tasks, bytes := 0, 0
	flush := func() {
		s.insert(ctx, group)
		group, tasks, bytes = group[:0], 0, 0
	}
	for _, f := range batch {
		if f.take(); f.err != nil || len(f.tasks) == 0 {
			continue
		}
		if s.failed.has(f.job) {
			s.insert(ctx, []*fire{f})
			continue
		}
		size := 0
		for i := range f.tasks {
			size += f.tasks[i].Task.Size()
		}
		if len(group) > 0 && (tasks+len(f.tasks) > maxBatchTasks || bytes+size > maxBatchBytes) {
			flush()
		}
		group, tasks, bytes = append(group, f), tasks+len(f.tasks), bytes+size
	}
	flush()
}

// insert inserts the tasks of a group.
func (s *Scheduler) insert(ctx context.Context, group []*fire) {
	if s.catalog.cfg.Hooks != nil {
		ctx = s.observe(ctx, group)
		defer s.observeEnd(group)
	}
	s.insertParts(ctx, group)
}

// insertParts inserts the tasks of a group. If the store refuses them, it inserts each half, until it has found the
// jobs that have caused this.
func (s *Scheduler) insertParts(ctx context.Context, group []*fire) {
	var tasks []backend.NewTask
	for _, f := range group {
		tasks = append(tasks, f.tasks...)
	}
	if len(tasks) == 0 {
		return
	}
	began := time.Now()
	stored, err := s.catalog.insert(ctx, tasks)
	if half := len(group) / 2; half > 0 && retry.Refused(err) {
		s.insertParts(ctx, group[:half])
		s.insertParts(ctx, group[half:])
		return
	}
	ended := map[string]bool{}
	for _, t := range stored {
		if t.Status.Final() {
			ended[t.ID] = true
		}
	}
	hints, poll := map[string][]string{}, map[string]bool{} // by queue
	for _, f := range group {
		done := f.tasks
		f.tasks, f.inserted, f.ended = nil, began, ended
		if f.err = err; err != nil {
			continue
		}
		f.stored = time.Now()
		var ids []string
		for _, t := range done {
			ids = append(ids, t.Task.ID)
		}
		if f.job.Overlap != OverlapAllow {
			f.job.addLive(ids...)
		}
		hints[f.job.Queue] = append(hints[f.job.Queue], ids...)
		poll[f.job.Queue] = poll[f.job.Queue] || len(f.job.Allow) > 0
	}
	for queue, ids := range hints {
		s.catalog.wake(queue, ids, poll[queue])
	}
}

// record adds carried-out fires to the histories, and removes them from Pending.
func (s *Scheduler) record(ctx context.Context, batch []*fire, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	batch = slices.DeleteFunc(succeeding(batch), func(f *fire) bool { return f.taken == 0 })
	for part := range slices.Chunk(batch, maxHistories) {
		notes := make([]*note, len(part))
		for i, f := range part {
			notes[i] = &note{job: f.job.id}
			for _, p := range f.job.Pending[:f.taken] {
				notes[i].entries = append(notes[i].entries, entryOf(p, now))
			}
		}
		s.catalog.addHistories(ctx, notes)
		for i, f := range part {
			f.err = notes[i].err
		}
	}
	batch = succeeding(batch)
	s.keepLate(ctx, batch, now)
	batch = succeeding(batch)
	for _, f := range batch {
		f.done = f.job.Pending[:f.taken]
		f.job.Pending, f.job.Fired = f.job.Pending[f.taken:], f.fired
	}
	s.write(ctx, batch)
	if s.catalog.cfg.Hooks != nil {
		s.observeFired(succeeding(batch), now)
	}
}
