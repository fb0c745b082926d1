package runtime_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// bulkCall is a bulk change of an App.
type bulkCall func(context.Context, af.TaskQuery, ...af.BulkOption) (af.BulkResult, error)

// pages calls a bulk change for all pages of a query, and adds up the results.
func pages(t *testing.T, change bulkCall, q af.TaskQuery, opts ...af.BulkOption) (sum af.BulkResult, calls int) {
	t.Helper()
	for calls = 1; ; calls++ {
		r := must(change(t.Context(), q, opts...))(t)
		sum.Matched, sum.Changed, sum.Failed = sum.Matched+r.Matched, sum.Changed+r.Changed, append(sum.Failed, r.Failed...)
		if q.Cursor = r.Cursor; q.Cursor == "" {
			return sum, calls
		}
	}
}

// Tasks are stopped page by page. A dry run changes nothing, and repeating a page changes no task twice.
func TestStopTasks(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		begun := make(chan struct{}, 10)
		app, q := work(t, memory.New(), jobWorker, func(ctx context.Context, n int) (int, error) {
			if n < 0 {
				return hang(begun)(ctx, n)
			}
			return n, nil
		})
		ctx := t.Context()
		done := must(q.Submit(ctx, 1))(t)
		must(q.Wait(ctx, done))(t)
		running := must(q.Submit(ctx, -1))(t)
		<-begun
		for range 24 {
			must(q.Store(ctx, 1, af.Delay(time.Hour)))(t)
		}
		query := af.TaskQuery{Queue: "job", Limit: 10}
		if sum, calls := pages(t, app.StopTasks, query, af.DryRun(), af.By("ann")); sum.Changed != 25 || calls != 3 {
			t.Errorf("dry run: %+v in %d calls", sum, calls)
		}
		live := af.TaskQuery{Statuses: []af.Status{af.StatusWaiting, af.StatusPending, af.StatusRunning}}
		if page := must(app.Tasks(ctx, live))(t); page.Total != 25 {
			t.Errorf("%d tasks live after the dry run", page.Total)
		}
		sum, calls := pages(t, app.StopTasks, query, af.By("ann"), af.Reason("wrong input"))
		if sum.Matched != 25 || sum.Changed != 25 || len(sum.Failed) > 0 || calls != 3 {
			t.Errorf("%+v in %d calls", sum, calls)
		}
		got := must(app.WaitTask(ctx, running))(t)
		if got.Status != af.StatusStopped || got.Error.Message != "wrong input (by ann)" {
			t.Errorf("%s: %+v", got.Status, got.Error)
		}
		all := af.TaskQuery{Statuses: []af.Status{af.StatusStopped, af.StatusSuccess}}
		if again, _ := pages(t, app.StopTasks, all); again.Matched != 26 || again.Changed != 0 || len(again.Failed) > 0 {
			t.Errorf("again: %+v", again)
		}
		page := must(app.Audit(ctx, af.AuditQuery{Action: "tasks.stop"}))(t)
		if len(page.Entries) != 3 || page.Entries[2].Detail != "matched 10, changed 10, failed 0" ||
			!strings.HasPrefix(page.Entries[0].Target, "queue=job status=") {
			t.Errorf("recorded: %+v", page.Entries)
		}
	})
}

// Without statuses, tasks in every state that is not final are stopped.
func TestStopTasksInEveryLiveState(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		begun := make(chan struct{}, 1)
		w := jobWorker
		w.Retries, w.Backoff = 1, time.Hour
		app, q := work(t, memory.New(), w, func(ctx context.Context, n int) (int, error) {
			if n == 0 {
				return 0, errors.New("later")
			}
			return hang(begun)(ctx, n)
		})
		ctx := t.Context()
		retrying := must(q.Submit(ctx, 0))(t)
		must(q.Submit(ctx, 1))(t)
		<-begun
		must(q.Store(ctx, 1, af.Delay(time.Hour)))(t)
		must(q.Submit(ctx, 1, af.Delay(time.Hour)))(t)
		time.Sleep(time.Second) // in virtual time: the result of the first attempt is stored
		if s := must(app.TaskStatus(ctx, retrying))(t); s != af.StatusRetrying {
			t.Fatalf("the task that failed is %s", s)
		}
		if sum, _ := pages(t, app.StopTasks, af.TaskQuery{}); sum.Matched != 4 || sum.Changed != 4 {
			t.Errorf("%+v", sum)
		}
	})
}

// Failed tasks are retried once, however often a page is repeated, and the others are left.
func TestRetryTasks(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		var runs atomic.Int64
		app, q := work(t, memory.New(), jobWorker, func(_ context.Context, n int) (int, error) {
			runs.Add(1)
			if broken.Load() && n%2 == 1 {
				return 0, af.Permanent(errors.New("broken"))
			}
			return n, nil
		})
		ctx := t.Context()
		broken.Store(true)
		var ids []string
		for n := range 20 {
			ids = append(ids, must(q.Submit(ctx, n))(t))
		}
		time.Sleep(time.Second)
		query := af.TaskQuery{Statuses: []af.Status{af.StatusFailed}, Limit: 4}
		if sum, _ := pages(t, app.RetryTasks, query, af.DryRun()); sum.Changed != 10 {
			t.Errorf("dry run: %+v", sum)
		}
		must(app.RetryTask(ctx, ids[1]))(t) // it fails again, and its retry is retried
		time.Sleep(time.Second)
		broken.Store(false)
		ran := runs.Load()
		if sum, _ := pages(t, app.RetryTasks, query); sum.Matched != 11 || sum.Changed != 10 || len(sum.Failed) > 0 {
			t.Errorf("%+v", sum)
		}
		if sum, _ := pages(t, app.RetryTasks, query); sum.Matched != 11 || sum.Changed != 0 || len(sum.Failed) > 0 {
			t.Errorf("again: %+v", sum)
		}
		time.Sleep(time.Second)
		if n := runs.Load() - ran; n != 10 {
			t.Errorf("%d ran again", n)
		}
		query.Sort = af.TasksByOldest
		if _, err := app.RetryTasks(ctx, query); !errors.Is(err, af.ErrInvalidArgument) {
			t.Errorf("oldest first: %v", err)
		}
		query.Before = time.Now()
		must(app.RetryTasks(ctx, query))(t)
	})
}

// Ended tasks are deleted with their subtasks. A task whose subtasks still run fails alone.
func TestDeleteTasks(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		begun := make(chan struct{}, 10)
		app, q := work(t, memory.New(), jobWorker, func(ctx context.Context, n int) (int, error) {
			if n < 0 {
				return hang(begun)(ctx, n)
			}
			return n, nil
		})
		ctx := t.Context()
		source := func(sub int) (source, subtask string) {
			source = must(q.Store(ctx, 1, af.Delay(time.Second)))(t)
			return source, must(q.Subtasks(ctx, source, []int{sub}))(t)[0]
		}
		for range 5 {
			must(q.Submit(ctx, 1))(t)
		}
		source(1)
		busy, running := source(-1)
		waiting := must(q.Store(ctx, 1, af.Delay(time.Hour)))(t)
		<-begun
		time.Sleep(time.Second)
		sum, _ := pages(t, app.DeleteTasks, af.TaskQuery{Queue: "job", Limit: 3})
		if sum.Matched < 7 || sum.Changed != 6 || len(sum.Failed) != 1 || sum.Failed[0].ID != busy ||
			!errors.Is(sum.Failed[0].Err, af.ErrFailedPrecondition) {
			t.Errorf("%+v", sum)
		}
		var left []string
		for _, task := range must(app.Tasks(ctx, af.TaskQuery{}))(t).Tasks {
			left = append(left, task.ID)
		}
		want := []string{busy, running, waiting}
		slices.Sort(left)
		if slices.Sort(want); !slices.Equal(left, want) {
			t.Errorf("%v are left, want %v", left, want)
		}
		must(0, app.StopTask(ctx, busy))(t)
		must(app.WaitTask(ctx, running))(t)
	})
}

// If the store becomes unavailable in the middle of a page, repeating the page completes it.
func TestInterruptedPageIsRepeated(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var left atomic.Int64
		left.Store(1 << 40)
		app, q := work(t, altered{memory.New(), func(p *backend.Ports) { p.Store = deletes{p.Store, &left} }}, jobWorker, same)
		ctx := t.Context()
		for range 30 {
			must(q.Submit(ctx, 1))(t)
		}
		time.Sleep(time.Second)
		left.Store(10)
		r, err := app.DeleteTasks(ctx, af.TaskQuery{})
		if !errors.Is(err, af.ErrUnavailable) || r.Changed != 10 {
			t.Errorf("%+v, %v", r, err)
		}
		left.Store(1 << 40)
		if r, err := app.DeleteTasks(ctx, af.TaskQuery{}); err != nil || r.Changed != 20 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// deletes is a store that is unavailable after some deletes.
type deletes struct {
	backend.Store
	left *atomic.Int64
}

func (s deletes) Delete(ctx context.Context, id string) error {
	if s.left.Add(-1) < 0 {
		return backend.NewError(backend.ErrUnavailable, "down").With(backend.OutcomeNotSent)
	}
	return s.Store.Delete(ctx, id)
}

// The audit log has who changed what, why, with which result, and no payload.
func TestAudit(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app, q := work(t, memory.New(), jobWorker, func(context.Context, int) (int, error) {
			return 0, af.Permanent(errors.New("broken"))
		}, af.NoScheduler())
		ctx, by, why := t.Context(), af.By("ann"), af.Reason("test")
		failed := must(q.Submit(ctx, 424242))(t)
		must(app.WaitTask(ctx, failed))(t)
		waits := must(q.Store(ctx, 1, af.Delay(time.Hour)))(t)
		var want []string
		did := func(action, target, detail string, err error) {
			t.Helper()
			if err != nil {
				t.Errorf("%s: %v", action, err)
			}
			want = append(want, fmt.Sprintf("%s %s %s", action, target, detail))
		}
		did("queue.pause", "job", "", app.PauseQueue(ctx, "job", by, why))
		did("queue.max", "job", "3 192.0.2.1", app.UpdateMaxWorkers(ctx, "job", "192.0.2.1", 3, by, why))
		did("queue.reset", "job", "192.0.2.1", app.ResetMaxWorkers(ctx, "job", "192.0.2.1", by, why))
		did("queue.resume", "job", "", app.ResumeQueue(ctx, "job", by, why))
		did("job.put", "j", "@every 1h", q.Schedule(ctx, "j", "@every 1h", 1, by, why))
		did("job.disable", "j", "", app.DisableJob(ctx, "j", by, why))
		run, err := app.RunJob(ctx, "j", by, why)
		did("job.run", "j", run, err)
		did("job.enable", "j", "", app.EnableJob(ctx, "j", by, why))
		did("job.remove", "j", "", app.RemoveJob(ctx, "j", by, why))
		retry, err := app.RetryTask(ctx, failed, by, why, af.Payload([]byte("424243")))
		did("task.retry", failed, retry, err)
		did("task.reweigh", waits, "5", app.Reweigh(ctx, waits, 5, by, why))
		did("task.run", waits, "", app.RunNow(ctx, waits, by, why))
		must(app.WaitTask(ctx, waits))(t)
		did("task.stop", waits, "", app.StopTask(ctx, waits, by, why))
		did("task.delete", waits, "", app.DeleteTask(ctx, waits, by, why))
		must(0, app.PauseQueue(ctx, "job"))(t) // by an unknown user
		if err := app.StopTask(ctx, "none", by, why); !errors.Is(err, af.ErrNotFound) {
			t.Errorf("stopping no task: %v", err)
		}
		want = append(want, "task.stop none ")
		var got []string
		for cursor := ""; ; {
			page := must(app.Audit(ctx, af.AuditQuery{Limit: 4, Cursor: cursor}))(t)
			for _, e := range page.Entries {
				got = append(got, fmt.Sprintf("%s %s %s", e.Action, e.Target, e.Detail))
				if e.By != "ann" || e.Reason != "test" || e.Instance != app.Instance().ID || (e.Error == "") == (e.Target == "none") ||
					strings.Contains(fmt.Sprintf("%+v", e), "42424") {
					t.Errorf("%+v", e)
				}
			}
			if cursor = page.Cursor; cursor == "" {
				break
			}
		}
		if slices.Reverse(got); !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if page := must(app.Audit(ctx, af.AuditQuery{Target: "job", Action: "queue.max"}))(t); len(page.Entries) != 1 {
			t.Errorf("selected: %+v", page)
		}
	})
}

// A change whose entry can't be written has happened, and is logged with the entry.
func TestUnwrittenEntryIsLogged(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var log lockedBuffer
		app, q := work(t, altered{memory.New(), func(p *backend.Ports) { p.Docs = noAudit{p.Docs} }}, jobWorker, same,
			af.Logger(slog.New(slog.NewTextHandler(&log, nil))))
		id := must(q.Store(t.Context(), 1, af.Delay(time.Hour)))(t)
		must(0, app.StopTask(t.Context(), id, af.By("ann"), af.Reason("why not")))(t)
		if text := log.String(); !strings.Contains(text, `msg="audit entry not written"`) ||
			!strings.Contains(text, `by=ann reason="why not" action=task.stop target=`+id) {
			t.Errorf("logged: %s", text)
		}
	})
}

// noAudit is a store of documents that can't write audit entries.
type noAudit struct{ backend.Docs }

func (d noAudit) PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error) {
	if strings.HasPrefix(name, "audit/") {
		return 0, backend.NewError(backend.ErrResourceExhausted, "full")
	}
	return d.Docs.PutIf(ctx, name, rev, value)
}

// A lockedBuffer has what was logged.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
