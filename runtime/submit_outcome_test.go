package runtime_test

import (
	"context"
	"errors"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"

	"github.com/afgen/afgen/internal/fault"
)

// submitter opens a queue without a worker, on a store that faults hit, and the same store as others see it.
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

// A submit whose first try may have stored the task never reports that nothing was sent, and names the task: repeating it with
// that id makes no second one.
func TestSubmitRemembersAnUnknownTry(t *testing.T) {
	bubble(t, func(t *testing.T) {
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
			t.Errorf("it gave up after %v of 30 s", took)
		}
		id := af.SubmittedID(err)
		w.Up()
		if tasks := stored(t, store); len(tasks) != 1 || tasks[0].ID != id {
			t.Fatalf("SubmittedID is %q, stored are %+v", id, tasks)
		}
		if again := must(q.Submit(t.Context(), 1, af.TaskID(id)))(t); again != id || len(stored(t, store)) != 1 {
			t.Errorf("submitted again as %q, stored are %+v", again, stored(t, store))
		}
	})
}

// A submit that meets an election, which takes 11 s, succeeds while its caller waits, and makes one task.
func TestSubmitOutlastsAnElection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w, b, _, q, store := submitter(t)
		b.Fail("Insert", 1, fault.ReplyLost)
		time.AfterFunc(10*time.Millisecond, func() { w.Down(false) })
		time.AfterFunc(11*time.Second, w.Up)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		id := must(q.Submit(ctx, 1))(t)
		if tasks := stored(t, store); len(tasks) != 1 || tasks[0].ID != id {
			t.Errorf("submitted %q, stored are %+v", id, tasks)
		}
	})
}

// Of a submit that was never sent the error says so, at once, and names no task.
func TestSubmitThatWasNotSent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, b, _, q, store := submitter(t)
		b.Fail("Insert", 100, fault.Refused)
		begun := time.Now()
		_, err := q.Submit(t.Context(), 1)
		e, ok := errors.AsType[*af.Error](err)
		if !ok || e.Code != af.ErrUnavailable || e.Outcome != af.OutcomeNotSent || af.SubmittedID(err) != "" {
			t.Errorf("Submit: %v", err)
		}
		if took := time.Since(begun); took > 2*time.Second || len(stored(t, store)) != 0 {
			t.Errorf("after %v stored are %+v", took, stored(t, store))
		}
	})
}

// A submit that waits to learn its outcome ends with its App.
func TestUnknownSubmitEndsWithItsApp(t *testing.T) {
	bubble(t, func(t *testing.T) {
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
