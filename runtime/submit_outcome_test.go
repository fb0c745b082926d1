package runtime_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"

	"github.com/afgen/afgen/internal/fault"
)

// submitter opens a queue without a worker on a store with faults, and the same store without them.
func submitter(t *testing.T) (*fault.World, *fault.Backend, *af.App, af.Queue[int, int], backend.Store) {
	t.Helper()
	w := fault.Around(memory.New())
	b := fault.New(w, 1, fault.Plan{})
	app := open(t, b)
	start(t, app)
	theirs := must(w.Open(t.Context(), backend.Env{}))(t)
	return w, b, app, af.NewQueue[int, int](app, jobWorker), theirs.Store
}

func stored(t *testing.T, s backend.Store) []backend.Task {
	t.Helper()
	return must(s.List(t.Context(), backend.TaskQuery{Queue: jobWorker.Name, Limit: 100}))(t).Tasks
}

// If the first attempt of a Submit may have stored the task, its error never has OutcomeNotSent and names the task.
// Repeating it with that id does not store a second one.
func TestSubmitWithUnknownOutcome(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w, b, _, q, store := submitter(t)
		b.Fail("Insert", 1, fault.ReplyLost)
		time.AfterFunc(10*time.Millisecond, func() { w.Down(false) })
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		begun := time.Now()
		_, err := q.Submit(ctx, 1)
		e, ok := errors.AsType[*af.Error](err)
		if !ok || e.Outcome != af.OutcomeUnknown {
			t.Fatalf("Submit: %v, want outcome unknown", err)
		}
		if took := time.Since(begun); took < 25*time.Second {
			t.Errorf("returned after %v, want 30 s", took)
		}
		id := af.SubmittedID(err)
		w.Up()
		if tasks := stored(t, store); len(tasks) != 1 || tasks[0].ID != id {
			t.Fatalf("SubmittedID is %q, stored tasks %+v", id, tasks)
		}
		if again := must(q.Submit(t.Context(), 1, af.TaskID(id)))(t); again != id || len(stored(t, store)) != 1 {
			t.Errorf("submitted again as %q, stored tasks %+v", again, stored(t, store))
		}
	})
}

// A Submit during an election of 11 s succeeds after it and stores one task.
func TestSubmitSurvivesElection(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w, b, _, q, store := submitter(t)
		b.Fail("Insert", 1, fault.ReplyLost)
		time.AfterFunc(10*time.Millisecond, func() { w.Down(false) })
		time.AfterFunc(11*time.Second, w.Up)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		id := must(q.Submit(ctx, 1))(t)
		if tasks := stored(t, store); len(tasks) != 1 || tasks[0].ID != id {
			t.Errorf("submitted %q, stored tasks %+v", id, tasks)
		}
	})
}

// The error of a Submit that was not sent is returned at once, has OutcomeNotSent and names no task.
func TestSubmitThatWasNotSent(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		_, b, _, q, store := submitter(t)
		b.Fail("Insert", 100, fault.Refused)
		begun := time.Now()
		_, err := q.Submit(t.Context(), 1)
		e, ok := errors.AsType[*af.Error](err)
		if !ok || e.Code != af.ErrUnavailable || e.Outcome != af.OutcomeNotSent || af.SubmittedID(err) != "" {
			t.Errorf("Submit: %v", err)
		}
		if took := time.Since(begun); took > 2*time.Second || len(stored(t, store)) != 0 {
			t.Errorf("after %v, stored tasks %+v", took, stored(t, store))
		}
	})
}

// A Submit that waits for its outcome ends with its App.
func TestSubmitEndsWithItsApp(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		_, b, app, q, _ := submitter(t)
		b.Fail("Insert", 1, fault.ReplyLost)
		b.Fail("Insert", 1000, fault.Refused)
		ended := make(chan error, 1)
		go func() { _, err := q.Submit(context.Background(), 1); ended <- err }()
		time.Sleep(time.Minute)
		if err := app.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; af.SubmittedID(err) == "" {
			t.Errorf("Submit: %v", err)
		}
	})
}

// A handler that repeats a call to Subtasks with an unknown outcome, in the same run, submits the same subtasks.
func TestRepeatedSubtasksAreTheSame(t *testing.T) {
	for _, op := range []string{"Insert", "Spawn"} {
		t.Run(op, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				b := fault.New(fault.Around(memory.New()), 1, fault.Plan{})
				var q af.Queue[int, int]
				var second, third []string
				_, q = work(t, b, jobWorker, func(ctx context.Context, n int) (int, error) {
					if n != 0 {
						return n, nil
					}
					r := af.TaskFrom(ctx)
					b.Fail(op, 1000, fault.ReplyLost)
					brief, cancel := context.WithTimeout(ctx, time.Second)
					defer cancel()
					if _, err := q.Subtasks(brief, r.ID, []int{1, 2, 3}); err == nil {
						return 0, errors.New("it was answered")
					}
					b.Fail(op, 0, fault.ReplyLost)
					var err error
					if second, err = q.Subtasks(ctx, r.ID, []int{1, 2, 3}); err == nil {
						third, err = q.Subtasks(ctx, r.ID, []int{4})
					}
					return 0, err
				})
				id := must(q.Submit(t.Context(), 0))(t)
				must(q.Wait(t.Context(), id))(t)
				time.Sleep(time.Minute)
				source := must(q.Get(t.Context(), id))(t)
				if len(second) != 3 || len(third) != 1 || source.Subtasks == nil || source.Subtasks.Total != 4 {
					t.Errorf("%v and %v, subtasks %+v", second, third, source.Subtasks)
				}
			})
		})
	}
}

// A change of a job whose outcome is unknown never has OutcomeNotSent. If the first attempt was stored, a repeated one
// succeeds.
func TestChangedJobWithUnknownOutcome(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w, b, app, _, _ := submitter(t)
		if err := app.PutJob(t.Context(),
			af.JobSpec{ID: "nightly", Cron: "0 0 3 * * *", Worker: jobWorker, Payload: []byte("1")}); err != nil {
			t.Fatal(err)
		}
		b.Fail("Docs.PutIf", 1, fault.ReplyLost)
		if err := app.DisableJob(t.Context(), "nightly"); err != nil {
			t.Errorf("a reply was lost: %v", err)
		}
		b.Fail("Docs.PutIf", 1, fault.ReplyLost)
		time.AfterFunc(10*time.Millisecond, func() { w.Down(false) })
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		begun := time.Now()
		err := app.EnableJob(ctx, "nightly")
		w.Up()
		if e, ok := errors.AsType[*af.Error](err); !ok || e.Outcome != af.OutcomeUnknown ||
			time.Since(begun) < 25*time.Second {
			t.Errorf("after %v: %v, want outcome unknown", time.Since(begun), err)
		}
		if job := must(app.Job(t.Context(), "nightly"))(t); job.Disabled {
			t.Error("the job was not enabled")
		}
	})
}
