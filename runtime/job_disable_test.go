package runtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// A lateStore delays inserts of the tasks of fires.
type lateStore struct {
	backend.Store
	until chan struct{}
	held  *atomic.Int64
}

func (s lateStore) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	if strings.HasPrefix(tasks[0].Task.ID, "job/") {
		s.held.Add(1)
		select {
		case <-s.until:
		case <-ctx.Done():
			return nil, backend.NewError(backend.ErrDeadlineExceeded, "late").With(backend.OutcomeUnknown)
		}
	}
	return s.Store.Insert(ctx, tasks)
}

// A delayed is an App whose scheduler is held up right before it inserts the tasks of fires, and another App.
type delayed struct {
	scheduler, other *af.App
	q                af.Queue[int, int]
	late             lateStore
	ran              atomic.Int64 // tasks
}

func newDelayed(t *testing.T) *delayed {
	t.Helper()
	world := memory.New()
	d := &delayed{late: lateStore{until: make(chan struct{}), held: &atomic.Int64{}}}
	d.scheduler, d.q = work(t, altered{world, func(p *backend.Ports) {
		d.late.Store = p.Store
		p.Store = d.late
	}}, jobWorker, func(context.Context, int) (int, error) { d.ran.Add(1); return 0, nil })
	d.other = open(t, world, af.NoScheduler())
	start(t, d.other)
	return d
}

// awaitInsert waits until the scheduler is held up.
func (d *delayed) awaitInsert() {
	for d.late.held.Load() == 0 {
		time.Sleep(100 * time.Millisecond) // virtual
	}
}

// A scheduler has decided a fire and is about to submit its task while another process disables or removes the job. No
// task is submitted after that has returned.
func TestDisabledJobSubmitsNoTask(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*af.App, context.Context, string, ...af.ActionOption) error
	}{{"disabled", (*af.App).DisableJob}, {"removed", (*af.App).RemoveJob}} {
		t.Run(c.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				d := newDelayed(t)
				other := d.other
				must(0, d.q.Schedule(t.Context(), "a", "@every 10s", 1))(t)
				d.awaitInsert()
				must(0, c.end(other, t.Context(), "a"))(t)
				before := must(other.Tasks(t.Context(),
					af.TaskQuery{Statuses: []af.Status{af.StatusWaiting, af.StatusPending, af.StatusRunning, af.StatusSuccess}}))(t)
				close(d.late.until)
				time.Sleep(time.Minute)
				synctest.Wait()
				if n := d.ran.Load(); n != 0 || before.Total != 0 {
					t.Errorf("%d tasks ran, %d were stored", n, before.Total)
				}
				page := must(other.Tasks(t.Context(), af.TaskQuery{Queue: jobWorker.Name}))(t)
				for _, task := range page.Tasks {
					if task.Status != af.StatusStopped {
						t.Errorf("%+v", task)
					}
				}
				must(0, c.end(other, t.Context(), "a"))(t) // repeating it has no effect
				if c.name == "disabled" {
					must(0, other.EnableJob(t.Context(), "a"))(t)
					time.Sleep(15 * time.Second)
					if d.ran.Load() == 0 {
						t.Error("the job does not fire after it was enabled")
					}
				}
			})
		})
	}
}

// A scheduler is about to submit several due times of a job that allows its tasks to overlap, while another process
// changes the job to queue them, and disables it. No task is submitted after that has returned.
func TestDisabledJobSubmitsNoTaskAfterItsOverlapChanged(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d := newDelayed(t)
		must(0, d.scheduler.StopScheduler(t.Context()))(t)
		must(0, d.q.Schedule(t.Context(), "a", "@every 10s", 1, af.Missed(af.MissedAll)))(t)
		time.Sleep(time.Minute)
		must(0, d.scheduler.StartScheduler(t.Context()))(t)
		d.awaitInsert()
		must(0, af.NewQueue[int, int](d.other, jobWorker).Schedule(t.Context(), "a", "@every 10s", 1, af.Missed(af.MissedAll),
			af.Overlap(af.OverlapQueue)))(t)
		must(0, d.other.DisableJob(t.Context(), "a"))(t)
		close(d.late.until)
		time.Sleep(time.Minute)
		if n := d.ran.Load(); n != 0 {
			t.Errorf("%d tasks ran after the job was disabled", n)
		}
	})
}

// A due time that was skipped, and is not in the history yet when the job is disabled, is added to the history.
func TestDisabledJobKeepsSkippedDueTimes(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		scheduler, q := work(t, altered{world, func(p *backend.Ports) { p.Docs = noHistory{p.Docs} }}, jobWorker,
			func(ctx context.Context, _ int) (int, error) { <-ctx.Done(); return 0, ctx.Err() })
		other := open(t, world, af.NoScheduler())
		start(t, other)
		must(0, q.Schedule(t.Context(), "a", "@every 10s", 1, af.Overlap(af.OverlapSkip)))(t)
		_ = must(scheduler.RunJob(t.Context(), "a"))(t)
		time.Sleep(15 * time.Second) // a due time is skipped, and adding it to the history fails
		must(0, other.DisableJob(t.Context(), "a"))(t)
		page := must(other.Fires(t.Context(), af.FireQuery{Job: "a"}))(t)
		for _, f := range page.Fires {
			if f.Skipped == af.SkippedOverlap {
				return
			}
		}
		t.Errorf("the skipped due time is not in the history: %+v", page.Fires)
	})
}

// noHistory rejects writes of histories.
type noHistory struct{ backend.Docs }

func (d noHistory) PutAll(ctx context.Context, docs []backend.Doc) ([]backend.Put, error) {
	if hasHistory(docs) {
		return nil, backend.NewError(backend.ErrUnavailable, "no").With(backend.OutcomeNotSent)
	}
	return d.Docs.PutAll(ctx, docs)
}

func hasHistory(docs []backend.Doc) bool {
	return slices.ContainsFunc(docs, func(d backend.Doc) bool { return strings.HasPrefix(d.Name, "fires/") })
}

// A task that is submitted while its job is being disabled counts when the job is enabled again: no other task runs at
// the same time.
func TestOverlapAfterJobWasDisabled(t *testing.T) {
	for _, c := range []struct{ before, overlap af.OverlapPolicy }{
		{af.OverlapSkip, af.OverlapSkip}, {af.OverlapQueue, af.OverlapQueue}, // and if the policy changes meanwhile:
		{af.OverlapAllow, af.OverlapSkip}, {af.OverlapAllow, af.OverlapQueue},
	} {
		t.Run(fmt.Sprint(c.before, "/", c.overlap), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				world := memory.New()
				slow := slowHistory{until: make(chan struct{}), held: &atomic.Int64{}}
				var ran atomic.Int64
				_, q := work(t, altered{world, func(p *backend.Ports) {
					slow.Docs = p.Docs
					p.Docs = slow
				}}, jobWorker, func(ctx context.Context, _ int) (int, error) { ran.Add(1); <-ctx.Done(); return 0, ctx.Err() })
				other := open(t, world, af.NoScheduler())
				start(t, other)
				must(0, q.Schedule(t.Context(), "a", "@every 10s", 1, af.Overlap(c.before)))(t)
				for slow.held.Load() == 0 { // the task is submitted, but its fire is not marked as submitted
					time.Sleep(100 * time.Millisecond)
				}
				must(0, other.DisableJob(t.Context(), "a"))(t)
				close(slow.until)
				must(0, q.Schedule(t.Context(), "a", "@every 10s", 1, af.Overlap(c.overlap)))(t)
				must(0, other.EnableJob(t.Context(), "a"))(t)
				time.Sleep(35 * time.Second)
				if n := ran.Load(); n != 1 {
					t.Errorf("%d tasks run at the same time", n)
				}
			})
		})
	}
}

// slowHistory delays writes of histories.
type slowHistory struct {
	backend.Docs
	until chan struct{}
	held  *atomic.Int64
}

func (d slowHistory) PutAll(ctx context.Context, docs []backend.Doc) ([]backend.Put, error) {
	if hasHistory(docs) {
		d.held.Add(1)
		select {
		case <-d.until:
		case <-ctx.Done():
			return nil, backend.NewError(backend.ErrDeadlineExceeded, "late").With(backend.OutcomeUnknown)
		}
	}
	return d.Docs.PutAll(ctx, docs)
}

// If a job's timetable changes just when a due time is decided, that due time is not due again.
func TestNewTimetableKeepsDecidedDueTimes(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		scheduler, q := work(t, world, jobWorker, func(context.Context, int) (int, error) { return 0, nil })
		must(0, q.Schedule(t.Context(), "a", "@every 10s", 1))(t)
		late := lateDocs{until: make(chan struct{})}
		other := open(t, altered{world, func(p *backend.Ports) {
			late.Docs = p.Docs
			p.Docs = late
		}}, af.NoScheduler())
		start(t, other)
		time.Sleep(8 * time.Second)
		put := make(chan error)
		go func() { put <- af.NewQueue[int, int](other, jobWorker).Schedule(t.Context(), "a", "@every 2s", 1) }()
		time.Sleep(3 * time.Second)
		must(0, scheduler.StopScheduler(t.Context()))(t) // the due time at 10 s is decided
		close(late.until)
		must(0, <-put)(t)
		job := must(scheduler.Job(t.Context(), "a"))(t)
		if !job.Next.After(job.Fired) || job.Fired.IsZero() {
			t.Errorf("fired %v, and next due %v", job.Fired, job.Next)
		}
	})
}

// lateDocs delays reads of a job.
type lateDocs struct {
	backend.Docs
	until chan struct{}
}

func (d lateDocs) Get(ctx context.Context, name string) (backend.Doc, error) {
	if name == "jobs/a" {
		<-d.until
	}
	return d.Docs.Get(ctx, name)
}

// The documents can't be written while a job is being enabled, or given another timetable. Due times until that has
// succeeded are of the pause, and of the old timetable.
func TestDueTimesOfASlowChangeAreNotMissed(t *testing.T) {
	for _, change := range []string{"enable", "timetable"} {
		t.Run(change, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				world := memory.New()
				scheduler, q := work(t, world, jobWorker, func(context.Context, int) (int, error) { return 0, nil })
				var down atomic.Bool
				other := open(t, altered{world, func(p *backend.Ports) { p.Docs = lostWrites{p.Docs, &down} }}, af.NoScheduler())
				start(t, other)
				must(0, q.Schedule(t.Context(), "a", "@every 1h", 1, af.Missed(af.MissedAll)))(t)
				must(0, scheduler.DisableJob(t.Context(), "a"))(t)
				if change == "timetable" {
					must(0, scheduler.EnableJob(t.Context(), "a"))(t)
				}
				time.Sleep(50 * time.Minute)
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				down.Store(true)
				time.AfterFunc(30*time.Minute+30*time.Second, func() { down.Store(false) })
				if change == "enable" {
					must(0, other.EnableJob(ctx, "a"))(t)
				} else {
					must(0, af.NewQueue[int, int](other, jobWorker).Schedule(ctx, "a", "*/7 * * * *", 1, af.Missed(af.MissedAll)))(t)
				}
				done := time.Now()
				time.Sleep(time.Minute)
				for _, f := range must(other.Fires(t.Context(), af.FireQuery{Job: "a"}))(t).Fires {
					if f.Due.Before(done) && !f.At.Before(done.Truncate(time.Second)) {
						t.Errorf("fired after the change: %+v", f)
					}
				}
			})
		})
	}
}

// lostWrites loses the writes of jobs while it is down.
type lostWrites struct {
	backend.Docs
	down *atomic.Bool
}

func (d lostWrites) PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error) {
	if d.down.Load() && strings.HasPrefix(name, "jobs/") {
		return 0, backend.NewError(backend.ErrUnavailable, "down")
	}
	return d.Docs.PutIf(ctx, name, rev, value)
}

// A process dies, or loses the documents, after RunJob has inserted its task and before it has noted that in the job. The
// task counts for later due times.
func TestOverlapWithAnUnnotedManualRun(t *testing.T) {
	for _, overlap := range []af.OverlapPolicy{af.OverlapSkip, af.OverlapQueue} {
		t.Run(string(overlap), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				world := memory.New()
				var ran atomic.Int64
				_, q := work(t, world, jobWorker,
					func(ctx context.Context, _ int) (int, error) { ran.Add(1); <-ctx.Done(); return 0, ctx.Err() })
				var down atomic.Bool
				other := open(t, altered{world, func(p *backend.Ports) {
					p.Docs, p.Store = lostWrites{p.Docs, &down}, downAfterInsert{p.Store, &down}
				}}, af.NoScheduler())
				start(t, other)
				must(0, q.Schedule(t.Context(), "a", "@every 10s", 1, af.Overlap(overlap)))(t)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				_ = must(other.RunJob(ctx, "a"))(t)
				time.Sleep(time.Minute)
				if n := ran.Load(); n != 1 {
					t.Errorf("%d tasks run at the same time", n)
				}
			})
		})
	}
}

// downAfterInsert sets down after the first insert.
type downAfterInsert struct {
	backend.Store
	down *atomic.Bool
}

func (s downAfterInsert) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	defer s.down.Store(true)
	return s.Store.Insert(ctx, tasks)
}
