package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
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

// The error of a stopped task tells why it was stopped and by whom.
func TestStoppedTaskTellsWhoAndWhy(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app, q := work(t, memory.New(), jobWorker, same)
		for want, opts := range map[string][]af.ActionOption{
			"stopped on request":          nil,
			"stopped on request (by ann)": {af.By("ann"), nil},
			"wrong input":                 {af.Reason("wrong input")},
			"wrong input (by ann)":        {af.Reason("wrong input"), af.By("ann")},
		} {
			id := must(q.Store(t.Context(), 1, af.Delay(time.Hour)))(t)
			must(0, app.StopTask(t.Context(), id, opts...))(t)
			if got := must(app.GetTask(t.Context(), id))(t); got.Status != af.StatusStopped || got.Error.Message != want {
				t.Errorf("%s: %+v, want %q", got.Status, got.Error, want)
			}
		}
	})
}

// Invalid names and reasons are refused before anything changes, and so are options where they have no effect.
func TestActionOptionsAreChecked(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app, q := work(t, memory.New(), jobWorker, same)
		ctx := t.Context()
		id := must(q.Store(ctx, 1, af.Delay(time.Hour)))(t)
		for name, opt := range map[string]af.ActionOption{
			"long_by": af.By(strings.Repeat("x", 201)), "long_reason": af.Reason(strings.Repeat("x", 1001)),
			"not_utf8": af.By("\xff"), "nul": af.Reason("a\x00b"),
		} {
			_, bulk := app.StopTasks(ctx, af.TaskQuery{}, opt)
			_, retry := app.RetryTask(ctx, id, opt)
			_, run := app.RunJob(ctx, "j", opt)
			for what, err := range map[string]error{
				"StopTask": app.StopTask(ctx, id, opt), "StopTasks": bulk, "RetryTask": retry, "RunJob": run,
				"PauseQueue": app.PauseQueue(ctx, "job", opt), "ResumeQueue": app.ResumeQueue(ctx, "job", opt),
				"Schedule": q.Schedule(ctx, "j", "@every 1h", 1, opt), "RunNow": app.RunNow(ctx, id, opt),
			} {
				if !errors.Is(err, af.ErrInvalidArgument) {
					t.Errorf("%s, %s: %v", name, what, err)
				}
			}
		}
		for name, opt := range map[string]af.SubmitOption{
			"by": af.By("ann"), "reason": af.Reason("r"), "replace": af.Replace(), "payload": af.Payload([]byte("1")),
		} {
			_, submit := q.Submit(ctx, 1, opt)
			_, subtasks := q.Subtasks(ctx, id, []int{1}, opt)
			for what, err := range map[string]error{"Submit": submit, "Subtasks": subtasks} {
				if !errors.Is(err, af.ErrInvalidArgument) {
					t.Errorf("%s, %s: %v", name, what, err)
				}
			}
		}
		if page := must(app.Tasks(ctx, af.TaskQuery{}))(t); len(page.Tasks) != 1 || page.Tasks[0].Status.Final() {
			t.Errorf("%+v", page)
		}
		if page := must(app.Audit(ctx, af.AuditQuery{}))(t); len(page.Entries) != 0 {
			t.Errorf("recorded: %+v", page)
		}
	})
}

func TestHandleJobRefusesActionOptions(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app := open(t, memory.New())
		af.HandleJobFunc(app, "j", "@every 1h", func(context.Context) error { return nil }, af.By("ann"))
		if err := app.Start(t.Context()); !errors.Is(err, af.ErrInvalidArgument) {
			t.Errorf("Start: %v", err)
		}
	})
}

// Limits and jobs tell who changed them last, when and why. A call without effect does not count.
func TestLastChangeIsKept(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app, q := work(t, memory.New(), jobWorker, same, af.NoScheduler())
		ctx := t.Context()
		wantLimits := func(by, reason string, at time.Time) {
			t.Helper()
			if l := must(app.QueueLimits(ctx, "job"))(t); l.By != by || l.Reason != reason || !l.Changed.Equal(at) {
				t.Errorf("limits %+v, want by %q, reason %q at %v", l, by, reason, at)
			}
		}
		at := time.Now()
		must(0, app.PauseQueue(ctx, "job", af.By("ann"), af.Reason("deploy")))(t)
		wantLimits("ann", "deploy", at)
		time.Sleep(time.Minute)
		must(0, app.PauseQueue(ctx, "job", af.By("bob")))(t) // it is paused already
		wantLimits("ann", "deploy", at)
		must(0, app.UpdateMaxWorkers(ctx, "job", "", 2, af.By("bob")))(t)
		wantLimits("bob", "", time.Now())
		must(0, app.ResumeQueue(ctx, "job"))(t)
		wantLimits("", "", time.Now())
		must(0, app.ResetMaxWorkers(ctx, "job", "", af.Reason("done")))(t)
		wantLimits("", "done", time.Now())

		wantJob := func(by, reason string, at time.Time) {
			t.Helper()
			if j := must(app.Job(ctx, "j"))(t); j.By != by || j.Reason != reason || !j.Changed.Equal(at.Truncate(time.Second)) {
				t.Errorf("job %+v, want by %q, reason %q at %v", j, by, reason, at)
			}
		}
		at = time.Now()
		must(0, q.Schedule(ctx, "j", "@every 1h", 1, af.By("ann")))(t)
		wantJob("ann", "", at)
		time.Sleep(time.Minute)
		must(0, q.Schedule(ctx, "j", "@every 1h", 1, af.By("bob")))(t) // it is the same
		wantJob("ann", "", at)
		at = time.Now()
		must(0, app.DisableJob(ctx, "j", af.By("bob"), af.Reason("noisy")))(t)
		time.Sleep(time.Minute)
		must(0, app.DisableJob(ctx, "j", af.By("cid")))(t)
		must(app.RunJob(ctx, "j", af.By("cid")))(t)
		wantJob("bob", "noisy", at)
		must(0, app.EnableJob(ctx, "j", af.By("dan")))(t)
		wantJob("dan", "", time.Now())
		must(0, app.RemoveJob(ctx, "j", af.By("dan")))(t)
	})
}

// Documents that a version without this knowledge has written are read, and tell no name.
func TestDocumentsOfOlderVersionTellNoName(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var docs backend.Docs
		app, q := work(t, altered{memory.New(), func(p *backend.Ports) { docs = p.Docs }}, jobWorker, same, af.NoScheduler())
		ctx := t.Context()
		must(0, app.PauseQueue(ctx, "job", af.By("ann")))(t)
		must(0, q.Schedule(ctx, "j", "@every 1h", 1, af.By("ann")))(t)
		for _, name := range []string{"limits/job", "jobs/j"} {
			doc := must(docs.Get(ctx, name))(t)
			var members map[string]json.RawMessage
			must(0, json.Unmarshal(doc.Value, &members))(t)
			for _, unknown := range []string{"by", "reason", "changed"} {
				delete(members, unknown)
			}
			must(docs.PutIf(ctx, name, doc.Revision, must(json.Marshal(members))(t)))(t)
		}
		if l := must(app.QueueLimits(ctx, "job"))(t); !l.Paused || l.By != "" || !l.Changed.IsZero() {
			t.Errorf("limits %+v", l)
		}
		if j := must(app.Job(ctx, "j"))(t); j.By != "" || !j.Changed.IsZero() {
			t.Errorf("job %+v", j)
		}
	})
}

// A task that waits for its time, or for its next attempt, runs at once. Tasks that can't are refused.
func TestRunNow(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := jobWorker
		w.Retries, w.Backoff = 3, time.Hour
		begun := make(chan struct{}, 1)
		app, q := work(t, memory.New(), w, func(ctx context.Context, n int) (int, error) {
			switch {
			case n < 0:
				return hang(begun)(ctx, n)
			case n == 1 && af.TaskFrom(ctx).Attempt == 1:
				return 0, errors.New("once")
			}
			return n, nil
		})
		ctx, from := t.Context(), time.Now()
		later := must(q.Store(ctx, 2, af.Delay(time.Hour)))(t)
		again := must(q.Submit(ctx, 1))(t)
		running := must(q.Submit(ctx, -1))(t)
		<-begun
		synctest.Wait()
		for _, id := range []string{later, again} {
			must(0, app.RunNow(ctx, id))(t)
			must(q.Wait(ctx, id))(t)
			if took := time.Since(from); took > time.Second {
				t.Errorf("%s has ended after %v", id, took)
			}
		}
		gated := must(q.Subtasks(ctx, running, []int{3}))(t)[0]
		for _, id := range []string{later, running, gated} {
			if err := app.RunNow(ctx, id); !errors.Is(err, af.ErrFailedPrecondition) {
				t.Errorf("RunNow of %s: %v", id, err)
			}
		}
		if err := app.RunNow(ctx, "none"); !errors.Is(err, af.ErrNotFound) {
			t.Errorf("RunNow of no task: %v", err)
		}
		must(0, app.StopTask(ctx, running))(t)
	})
}

// A heavier task runs first, also if it was submitted last.
func TestReweigh(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := jobWorker
		w.Max = 1
		ran := make(chan int, 10)
		app, q := work(t, memory.New(), w, func(_ context.Context, n int) (int, error) { ran <- n; return n, nil })
		ctx := t.Context()
		must(0, app.PauseQueue(ctx, "job"))(t)
		must(q.Store(ctx, 1))(t)
		last := must(q.Store(ctx, 2))(t)
		must(0, app.Reweigh(ctx, last, 7, af.By("ann")))(t)
		for _, n := range []int{-1001, 1001} {
			if err := app.Reweigh(ctx, last, n); !errors.Is(err, af.ErrInvalidArgument) {
				t.Errorf("weight %d: %v", n, err)
			}
		}
		must(0, app.ResumeQueue(ctx, "job"))(t)
		if first := <-ran; first != 2 {
			t.Errorf("%d ran first", first)
		}
		must(q.Wait(ctx, last))(t)
		if err := app.Reweigh(ctx, last, 1, af.By("ann")); !errors.Is(err, af.ErrFailedPrecondition) {
			t.Errorf("of a task that has ended: %v", err)
		}
		if err := app.Reweigh(ctx, "none", 1); !errors.Is(err, af.ErrNotFound) {
			t.Errorf("of no task: %v", err)
		}
		page := must(app.Audit(ctx, af.AuditQuery{By: "ann"}))(t)
		if len(page.Entries) != 2 || page.Entries[0].Error == "" || page.Entries[1].Error != "" ||
			page.Entries[1].Detail != "7" || page.Entries[1].Target != last {
			t.Errorf("recorded: %+v", page)
		}
	})
}

// A deleted task and its subtasks are forgotten, also by TaskStatus while the store is unavailable.
func TestDeletedTaskIsForgotten(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var down atomic.Bool
		app, q := work(t, altered{memory.New(), func(p *backend.Ports) { p.Store = getFails{p.Store, &down} }}, jobWorker, same)
		ctx := t.Context()
		id := must(q.Store(ctx, 1, af.Delay(time.Minute)))(t)
		kept := must(q.Submit(ctx, 2))(t)
		sub := must(q.Subtasks(ctx, id, []int{3}))(t)[0]
		if err := app.DeleteTask(ctx, id); !errors.Is(err, af.ErrFailedPrecondition) {
			t.Errorf("deleting a task that waits: %v", err)
		}
		must(app.WaitTree(ctx, id))(t)
		for _, is := range []string{id, kept, sub} {
			if s := must(app.TaskStatus(ctx, is))(t); s != af.StatusSuccess {
				t.Errorf("%s is %s", is, s)
			}
		}
		if err := app.DeleteTask(ctx, sub); !errors.Is(err, af.ErrFailedPrecondition) {
			t.Errorf("deleting a subtask: %v", err)
		}
		must(0, app.DeleteTask(ctx, id))(t)
		must(0, app.DeleteTask(ctx, id))(t) // again has no effect
		down.Store(true)
		for is, known := range map[string]bool{id: false, sub: false, kept: true} {
			if s, err := app.TaskStatus(ctx, is); (err == nil) != known {
				t.Errorf("%s is %q, %v", is, s, err)
			}
		}
		down.Store(false)
	})
}

// getFails is a store whose Get is unavailable while down is set.
type getFails struct {
	backend.Store
	down *atomic.Bool
}

func (s getFails) Get(ctx context.Context, id string) (backend.Task, error) {
	if s.down.Load() {
		return backend.Task{}, backend.NewError(backend.ErrUnavailable, "down").With(backend.OutcomeNotSent)
	}
	return s.Store.Get(ctx, id)
}

// A claimed task names the instance that runs it, and each attempt the one that ran it.
func TestTaskNamesItsInstance(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		begun := make(chan struct{}, 1)
		app, q := work(t, memory.New(), jobWorker, hang(begun))
		id := must(q.Submit(t.Context(), 1))(t)
		<-begun
		in := app.Instance()
		if got := must(app.GetTask(t.Context(), id))(t); got.Instance != in.ID || got.IP != in.IP || in.ID == "" {
			t.Errorf("runs on %q at %q, want %q at %q", got.Instance, got.IP, in.ID, in.IP)
		}
		must(0, app.StopTask(t.Context(), id))(t)
		got := must(app.WaitTask(t.Context(), id))(t)
		if len(got.Attempts) != 1 || got.Attempts[0].Instance != in.ID || got.Attempts[0].IP != in.IP {
			t.Errorf("attempts %+v", got.Attempts)
		}
	})
}

// A program records actions of its own, with By and if they were made or their result is unknown.
func TestRecorder(t *testing.T) {
	app := openStarted(t, memory.New())
	ctx := t.Context()
	for _, err := range []error{
		nil, af.NewError(af.ErrNotFound, "no such page"),
		af.NewError(af.ErrUnavailable, "not sent").With(af.OutcomeNotSent), // nothing was done
	} {
		record := must(app.Recorder(af.By("ann"), af.Reason("a test")))(t)
		record(ctx, "page.edit", "start", "2 lines", err)
		record = must(app.Recorder())(t)
		record(ctx, "page.edit", "start", "2 lines", err)
	}
	if _, err := app.Recorder(af.By(strings.Repeat("x", 201))); af.CodeOf(err) != af.ErrInvalidArgument {
		t.Errorf("a name of 201 bytes: %v", err)
	}
	page := must(app.Audit(ctx, af.AuditQuery{Action: "page.edit"}))(t)
	if len(page.Entries) != 2 {
		t.Fatalf("%+v", page)
	}
	failed, made := page.Entries[0], page.Entries[1]
	if made.By != "ann" || made.Reason != "a test" || made.Target != "start" || made.Detail != "2 lines" || made.Error != "" ||
		!strings.Contains(failed.Error, "no such page") {
		t.Errorf("%+v", page)
	}
}
