package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// hinted is a transport that records the queues to which hints are sent.
type hinted struct {
	backend.Transport
	queues chan string
}

func (h hinted) Hint(ctx context.Context, queue string, ids []string) ([]bool, error) {
	select {
	case h.queues <- queue:
	default:
	}
	return h.Transport.Hint(ctx, queue, ids)
}

// The parent sends a hint for a task that a child process submits, so that no worker has to poll.
func TestTasksSubmittedByAChildAreHinted(t *testing.T) {
	queues := make(chan string, 100)
	b := altered{memory.New(), func(p *backend.Ports) { p.Transport = hinted{p.Transport, queues} }}
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	app := open(t, b)
	registerIsolated(app, nil)
	start(t, app)
	if _, err := do(t, af.NewQueue[action, report](app, isoWorker), action{Do: "store"}); err != nil {
		t.Fatal(err)
	}
	for queue := range queues {
		if queue == jobWorker.Name {
			return
		}
	}
}

func TestEachTaskRunsInItsOwnProcess(t *testing.T) {
	_, q := isolate(t, nil)
	seen := map[int]bool{os.Getpid(): true}
	for range 3 {
		got, err := do(t, q, action{Do: "say"})
		if err != nil || got.PPID != os.Getpid() || seen[got.PID] {
			t.Errorf("got %+v, %v; this is %d, seen %v", got, err, os.Getpid(), seen)
		}
		seen[got.PID] = true
	}
}

// An App in a child process runs no tasks, but supports all methods. None panics.
func TestAllMethodsOfAppInChild(t *testing.T) {
	_, q := isolate(t, nil)
	got, err := do(t, q, action{Do: "all methods"})
	if err != nil || !strings.Contains(got.Text, "Call ") || !strings.Contains(got.Text, "Workers") {
		t.Errorf("called %s, %v", got.Text, err)
	}
}

func TestWaitTreeInChild(t *testing.T) {
	app, q := isolate(t, nil)
	got, err := do(t, q, action{Do: "wait tree"})
	if err != nil || got.Text != "true true 2" || got.More != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tree := must(app.WaitTree(ctx, must(q.Submit(ctx, action{Do: "parent of waiter"}))(t)))(t)
	sub := must(app.Tasks(ctx, af.TaskQuery{Source: tree.Task.ID}))(t).Tasks[0]
	if sub.Error == nil || sub.Error.Code != af.ErrFailedPrecondition || tree.Failed != 1 {
		t.Errorf("waiting for its own tree: %v, tree %v", sub, tree)
	}
}

func TestErrorDetailsOfTaskInChild(t *testing.T) {
	_, q := isolate(t, nil)
	_, err := do(t, q, action{Do: "detail"})
	if detail, ok := af.Detail[action](err); !ok || detail.Text != "far" || af.CodeOf(err) != af.ErrOutOfRange {
		t.Errorf("%v with detail %v", err, detail)
	}
}

func TestCreatedInChild(t *testing.T) {
	_, q := isolate(t, nil)
	if got, err := do(t, q, action{Do: "created"}); err != nil || got.Text != "true false" {
		t.Errorf("%+v, %v", got, err)
	}
}

// The parent has the gauges. If the instruments of a child collected them when they are flushed, each task would read
// all queues.
func TestNoGaugesInChild(t *testing.T) {
	_, q := isolate(t, nil)
	if got, err := do(t, q, action{Do: "gauges"}); err != nil || got.Text != "0" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestInProcessStartsNoChild(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app := open(t, memory.New(), af.InProcess())
		registerIsolated(app, nil)
		start(t, app)
		got, err := do(t, af.NewQueue[action, report](app, isoWorker), action{Do: "say"})
		if err != nil || got.PID != os.Getpid() {
			t.Errorf("got %+v, %v; this is %d", got, err, os.Getpid())
		}
	})
}

func TestTaskFromInChild(t *testing.T) {
	app, q := isolate(t, nil)
	got, err := do(t, q, action{Do: "know"}, af.Timeout(time.Minute))
	if want := "iso 1 1 " + app.Instance().ID + " true true true"; err != nil || got.Text != want || af.IsChildProcess() {
		t.Errorf("got %q, %v; want %q", got.Text, err, want)
	}
}

func TestMetadataAndTraceInChild(t *testing.T) {
	called := make(chan string, 1)
	_, q := isolate(t, func(a *af.App) {
		registerCalc(a, &calc{func(ctx context.Context, x int) (int, error) {
			called <- fmt.Sprint(af.MetadataFrom(ctx), " ", af.TraceFrom(ctx))
			return x, nil
		}})
	})
	ctx := af.WithTrace(af.WithMetadata(t.Context(), "tenant", "acme"), trace)
	got := must(q.Wait(ctx, must(q.Submit(ctx, action{Do: "carry"}))(t)))(t)
	kid, other, _ := strings.Cut(got.Text, " ")
	if got := must(q.Wait(ctx, kid))(t); got.Text != "map[step:two tenant:acme] "+trace {
		t.Errorf("a subtask sees %s", got.Text)
	}
	if got := must(q.Wait(ctx, other))(t); got.Text != "map[] "+trace2 {
		t.Errorf("another task sees %s", got.Text)
	}
	if got := <-called; got != "map[] "+trace {
		t.Errorf("a call sees %s", got)
	}
}

func TestParentLogsRecordsOfChild(t *testing.T) {
	var lines log
	app, q := isolate(t, nil, lines.option())
	id := must(q.Submit(af.WithTrace(t.Context(), trace), action{Do: "log"}))(t)
	if _, err := q.Wait(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(lines.String(), `"msg":"report in a child",`)
	text, _, _ = strings.Cut(text, "\n")
	for _, want := range []string{`"queue":"iso"`, `"task":"` + id + `"`, `"attempt":1`,
		`"instance":"` + app.Instance().ID + `"`,
		`"trace":"` + strings.Split(trace, "-")[1] + `"`, `"a":1,"g":{"took":1000000000,"err":"no","n":2.5,"list":[1,2]}`} {
		if !strings.Contains(text, want) {
			t.Errorf("missing %s in %s", want, text)
		}
	}
	if strings.Count(text, `"task":`) != 1 {
		t.Errorf("duplicate attributes: %s", text)
	}
	if strings.Contains(lines.String(), "not asked for") {
		t.Error("records below the level are logged")
	}
	if kept := must(q.Get(t.Context(), id))(t).Log; !strings.Contains(strings.Join(kept, "\n"), "report in a child") {
		t.Errorf("stored with the task: %q", kept)
	}
}

func TestChildCallsThroughItsParent(t *testing.T) {
	var from string
	var ids sync.Map
	_, q := isolate(t, func(a *af.App) {
		registerCalc(a, &calc{func(ctx context.Context, x int) (int, error) {
			if from = af.MetadataFrom(ctx)["from"]; x == 13 {
				return 0, af.NewError(af.ErrOutOfRange, "unlucky", action{Do: "detail"})
			}
			return 2 * x, nil
		}})
	}, af.ServerMiddleware(func(next af.Handler) af.Handler {
		return func(ctx context.Context, req *af.Request) (json.RawMessage, error) {
			if _, twice := ids.LoadOrStore(req.ID, true); twice {
				t.Errorf("two calls have the id %s", req.ID)
			}
			return next(ctx, req)
		}
	}))
	for range 2 { // both processes number their calls from 1
		if _, err := do(t, q, action{Do: "call", N: 1}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := do(t, q, action{Do: "call", N: 21})
	if err != nil || got.More != 42 || from != strconv.Itoa(got.PID) {
		t.Errorf("got %+v, %v, from %s", got, err, from)
	}
	_, err = do(t, q, action{Do: "call", N: 13})
	wantError(t, err, af.ErrOutOfRange, af.OutcomeAnswered, "unlucky")
	_, err = do(t, q, action{Do: "call other"})
	wantError(t, err, af.ErrFailedPrecondition, af.OutcomeAnswered, "app is not connected")
}

func TestCallWithoutInstanceFailsAtOnceInChild(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	var calls atomic.Int32
	b := faulty(func(next backend.Calls, ctx context.Context, req *backend.Request) (*backend.Reply, error) {
		calls.Add(1)
		return next.Call(ctx, req)
	})
	app := open(t, altered{b, func(p *backend.Ports) { p.Location = "/srv/shop/af.db" }})
	registerIsolated(app, nil)
	start(t, app)
	_, err := do(t, af.NewQueue[action, report](app, isoWorker), action{Do: "call", N: 1})
	wantError(t, err, af.ErrUnavailable, af.OutcomeAnswered,
		`no instance of service "calc" is running on /srv/shop/af.db`)
	if n := calls.Load(); n != 1 {
		t.Errorf("%d attempts at a call that can't succeed", n)
	}
}

func TestChildSubmitsAndWaitsThroughItsParent(t *testing.T) {
	app, q := isolate(t, func(app *af.App) {
		af.RegisterWorker(app, jobWorker, &job{func(_ context.Context, n int) (int, error) { return n + os.Getpid(), nil }})
	})
	got, err := do(t, q, action{Do: "submit", N: 1000})
	if err != nil || got.More != os.Getpid()+1000 || got.Text == "" {
		t.Errorf("got %+v, %v", got, err)
	}
	// more than the requests in flight that are allowed
	if got, err = do(t, q, action{Do: "ids", N: 2000}); err != nil || got.More != 2000 {
		t.Errorf("%d ids of 2,000, %v", got.More, err)
	}
	got, err = do(t, q, action{Do: "delay", N: 1})
	if task := must(app.GetTask(t.Context(), got.Text))(t); err != nil ||
		task.RunAt.Sub(task.Created).Round(time.Minute) != time.Hour {
		t.Errorf("created at %v, due at %v, %v", task.Created, task.RunAt, err)
	}
	if n := historySum(t, app, jobWorker.Name, time.Now().Add(-time.Hour)).Submitted; n != 2 {
		t.Errorf("the history has %d submissions by children, want 2", n)
	}
	_, err = do(t, q, action{Do: "get", Text: "nobody"})
	wantError(t, err, af.ErrNotFound, af.OutcomeAnswered, "nobody")
}

func TestSubtasksInChild(t *testing.T) {
	app, _ := isolate(t, nil)
	q := af.NewQueue[action, report](app, isoFan)
	id := must(q.Submit(t.Context(), action{Do: "fan"}))(t)
	if _, err := q.Wait(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	await(t, app, id, "the set is finished", func(task af.Task) bool { return task.Subtasks != nil })
	seen := progress[map[string]int](t, app, id+"/done")
	if seen["pid"] == os.Getpid() || seen["total"] != 3 || seen["of them failed"] != 1 || seen["failed"] != 1 ||
		seen["success"] != 2 {
		t.Errorf("SubtasksDone saw %v", seen)
	}
	// A retry of SubtasksDone has another id, but the same subtasks.
	await(t, app, id+"/done", "the end", func(task af.Task) bool { return task.Status.Final() })
	again := must(app.RetryTask(t.Context(), id+"/done"))(t)
	seen = progress[map[string]int](t, app, again)
	if seen["total"] != 3 || seen["failed"] != 1 || seen["success"] != 2 {
		t.Errorf("the retry of SubtasksDone saw %v", seen)
	}
}

func TestLargePayloadsAndResultsInChild(t *testing.T) {
	_, q := isolate(t, nil)
	text := strings.Repeat("<long>", 100_000)
	got, err := do(t, q, action{Do: "echo", Text: text})
	if err != nil || got.Text != text {
		t.Errorf("got %d bytes, %v", len(got.Text), err)
	}
}

func TestErrorsOfHandlersInChild(t *testing.T) {
	var lines log
	app, q := isolate(t, nil, lines.option())
	for _, c := range []struct {
		do, text string
		code     af.Code
	}{
		{"coded", "too far", af.ErrOutOfRange},
		{"plain", "plain", af.ErrUnknown},
		{"permanent", "never", af.ErrNotFound},
		{"panic", "the handler panicked: secret (at isolate_worker_test.go:", af.ErrInternal},
		{"goexit", "ended its goroutine", af.ErrInternal},
	} {
		_, err := do(t, q, action{Do: c.do})
		wantError(t, err, c.code, af.OutcomeAnswered, c.text)
	}
	for _, want := range []string{`"msg":"panic in a worker"`, `"panic":"secret"`, "isolate_worker_test.go"} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("missing %s in the log:\n%s", want, lines.String())
		}
	}
	again := af.NewQueue[action, report](app, isoFan) // with retries
	for what, want := range map[string]int{"permanent": 1, "plain": 3} {
		id := must(again.Submit(t.Context(), action{Do: what}))(t)
		_, _ = again.Wait(t.Context(), id)
		if task := must(app.GetTask(t.Context(), id))(t); task.Attempt != want || task.Status != backend.StatusFailed {
			t.Errorf("%s: %d attempts, %s", what, task.Attempt, task.Status)
		}
	}
	id := must(q.Submit(t.Context(), action{Do: "snooze"}))(t)
	task := await(t, app, id, "it snoozes", func(task af.Task) bool { return task.Status == backend.StatusWaiting })
	if until := time.Until(task.RunAt); until < 50*time.Minute || task.Attempt != 0 {
		t.Errorf("snoozed for %v at attempt %d", until, task.Attempt)
	}
}

func TestMainWithoutStartFailsTheAttempt(t *testing.T) {
	_, q := isolate(t, nil)
	t.Setenv("AF_TEST_LOST", "1")
	_, err := do(t, q, action{Do: "say"})
	wantError(t, err, af.ErrInternal, af.OutcomeAnswered, "main must call Start")
	if !strings.Contains(err.Error(), "exit status 7; its stderr ends:\nmain went another way") {
		t.Error(err)
	}
}

// A payload that can't be decoded in a child process is distinguished from an error of the handler. If it is of another
// version, the task waits.
func TestUndecodablePayloadInChild(t *testing.T) {
	app, _ := isolate(t, nil)
	other := isoWorker
	other.Payload = "0ld000000000"
	for _, w := range []af.Worker{isoWorker, other} {
		q := af.NewVoidQueue[int](app, w)
		id := must(q.Submit(t.Context(), 7))(t)
		if w.Payload == "" {
			wantError(t, q.Wait(t.Context(), id), af.ErrInvalidArgument, af.OutcomeAnswered, "decoding a payload")
			continue
		}
		testkit.Eventually(t, "an attempt has failed", func() bool { return must(q.Get(t.Context(), id))(t).Error != nil })
		if task := must(q.Get(t.Context(), id))(t); task.Status.Final() || task.Attempt > 1 ||
			task.Error.Code != af.ErrFailedPrecondition || task.WrongVersionSince.IsZero() {
			t.Errorf("%+v, error %+v", task, task.Error)
		}
	}
}

// A handler in a child process can't wait for a task that can't start before the handler returns.
func TestWaitForOwnSubtaskFailsInChild(t *testing.T) {
	_, q := isolate(t, nil)
	for _, what := range []string{"wait gated", "wait itself"} {
		if _, err := do(t, q, action{Do: what}); !errors.Is(err, af.ErrFailedPrecondition) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := do(t, q, action{Do: "wait now"}); err != nil {
		t.Errorf("wait now: %v", err)
	}
}

// The lines of a child process are followed like those of a goroutine.
func TestFollowLogSeesLinesOfChildProcess(t *testing.T) {
	app, q := isolate(t, nil, af.Logger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	id := must(q.Submit(ctx, action{Do: "log and wait", Text: "in the child"}))(t)
	lines, done := following(ctx, app, id)
	for line := range lines {
		if strings.Contains(line, "in the child") {
			break
		}
	}
	if err := app.StopTask(ctx, id); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
