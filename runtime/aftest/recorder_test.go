package aftest_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/snippets/shop"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/aftest"
)

var tea = shop.Order{Item: "tea", Count: 3}

// numbers is a queue whose payloads encode only if they are positive.
func numbers(rec *aftest.Recorder) af.Queue[number, int] {
	return af.NewQueue[number, int](rec, af.Worker{Name: "numbers", Type: "Numbers", Weight: 5})
}

type number int

func (n number) MarshalJSON() ([]byte, error) {
	if n < 0 {
		return nil, errors.New("negative")
	}
	return json.Marshal(int(n))
}

func TestRecorderRecordsSubmissions(t *testing.T) {
	var rec aftest.Recorder
	receipts := shop.NewReceiptQueue(&rec)
	id, err := receipts.Submit(t.Context(), tea, af.TaskID("receipt-1"))
	if err != nil || id != "receipt-1" {
		t.Fatal(id, err)
	}
	if id, err = receipts.Submit(t.Context(), tea, af.TaskID("receipt-1")); err != nil || id != "receipt-1" {
		t.Errorf("the same id: %q, %v", id, err)
	}
	ids, err := receipts.SubmitMany(t.Context(), []shop.Order{{Item: "milk"}, {Item: "rice"}}, af.Weight(7))
	if err != nil || len(ids) != 2 || ids[0] == ids[1] {
		t.Fatal(ids, err)
	}
	if _, err := numbers(&rec).Store(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	want := []shop.Order{tea, {Item: "milk"}, {Item: "rice"}}
	if got := aftest.Submitted[shop.Order](&rec, "receipt"); !slices.Equal(got, want) {
		t.Errorf("submitted %v, want %v", got, want)
	}
	if got := aftest.Submitted[int](&rec, "numbers"); !slices.Equal(got, []int{1}) {
		t.Errorf("submitted %v", got)
	}
	all := rec.Tasks("")
	if len(all) != 4 || all[0].Status != af.StatusPending || all[1].Weight != 7 || all[3].Weight != 5 ||
		all[3].Status != af.StatusWaiting || all[0].Created.IsZero() {
		t.Errorf("tasks %+v", all)
	}
}

func TestRecorderRefusesLikeApp(t *testing.T) {
	var rec aftest.Recorder
	queue := numbers(&rec)
	many := func(opts ...af.SubmitOption) error {
		_, err := queue.SubmitMany(t.Context(), []number{1, 2}, opts...)
		return err
	}
	one := func(n number, opts ...af.SubmitOption) error {
		_, err := queue.Submit(t.Context(), n, opts...)
		return err
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, cancelled := queue.Submit(ended, 1)
	for name, err := range map[string]error{
		"payload":  one(-1),
		"weight":   one(1, af.Weight(1001)),
		"reserved": one(1, af.TaskID("job/1")),
		"many":     many(af.TaskID("a")),
		"zone":     queue.Schedule(t.Context(), "job", "@hourly", 1, af.Zone("Nowhere/Land")),
		"cron":     queue.Schedule(t.Context(), "job", "every day", 1),
		"option":   queue.Schedule(t.Context(), "job", "@hourly", 1, af.Arguments(1)),
	} {
		if !errors.Is(err, af.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if e, ok := errors.AsType[*af.Error](cancelled); !ok || e.Code != af.ErrCanceled || e.Outcome != af.OutcomeNotSent {
		t.Errorf("cancelled: %v", cancelled)
	}
	if all, jobs := rec.Tasks(""), rec.Jobs(); len(all) != 0 || len(jobs) != 0 {
		t.Errorf("recorded %v, %v", all, jobs)
	}
}

func TestRecorderKeepsUniqueKeys(t *testing.T) {
	var rec aftest.Recorder
	aftest.Handle(&rec, "numbers", func(context.Context, int) (int, error) { return 1, nil })
	queue := numbers(&rec)
	submit := func() string {
		t.Helper()
		id, err := queue.Submit(t.Context(), 1, af.UniqueKey("k"))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	first := submit()
	if second := submit(); second != first {
		t.Errorf("%s and %s have the same key", first, second)
	}
	if _, err := queue.Wait(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if third := submit(); third == first {
		t.Error("a finished task has kept its key")
	}
}

func TestRecorderRecordsSubtasks(t *testing.T) {
	var rec aftest.Recorder
	queue := numbers(&rec)
	run := func() []string {
		ctx := aftest.Context(t.Context(), af.Running{ID: "source"})
		var all []string
		for _, n := range []number{1, 2} {
			ids, err := queue.Subtasks(ctx, "source", []number{n, n})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, ids...)
		}
		return all
	}
	ids := run()
	if again := run(); !slices.Equal(ids, again) { // a second attempt
		t.Errorf("%v and %v", ids, again)
	}
	if _, err := queue.Subtasks(t.Context(), "", []number{1}); !errors.Is(err, af.ErrInvalidArgument) {
		t.Errorf("without a source: %v", err)
	}
	tasks := rec.Tasks("numbers")
	if len(tasks) != 4 || tasks[0].Source != "source" || !tasks[0].Gated || tasks[0].Batch == tasks[2].Batch {
		t.Errorf("%+v", tasks)
	}
}

// A batch whose submission failed has the same ids when it is repeated.
func TestRecorderRepeatsFailedSubtasks(t *testing.T) {
	var rec aftest.Recorder
	ctx := aftest.Context(t.Context(), af.Running{ID: "source"})
	rec.LoseReply()
	_, err := numbers(&rec).Subtasks(ctx, "source", []number{1})
	if err == nil {
		t.Fatal("no error")
	}
	if ids, err := numbers(&rec).Subtasks(ctx, "source", []number{1}); err != nil || len(rec.Tasks("")) != 1 {
		t.Errorf("%v, %v: %v", ids, err, rec.Tasks(""))
	}
}

func TestRecorderRunsTasksWhenWaitedFor(t *testing.T) {
	var rec aftest.Recorder
	receipts := shop.NewReceiptQueue(&rec)
	id, err := receipts.Submit(t.Context(), tea)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := receipts.Wait(t.Context(), id); !errors.Is(err, af.ErrFailedPrecondition) ||
		!strings.Contains(err.Error(), "aftest.Handle") {
		t.Errorf("without a function: %v", err)
	}
	if _, err := receipts.Wait(t.Context(), "unknown"); !errors.Is(err, af.ErrNotFound) {
		t.Errorf("unknown task: %v", err)
	}
	runs := 0
	aftest.Handle(&rec, "receipt", func(ctx context.Context, o shop.Order) (string, error) {
		runs++
		if o.Item == "milk" {
			return "", af.NewError(af.ErrNotFound, "no milk")
		}
		return "receipt of " + af.TaskFrom(ctx).ID, af.TaskFrom(ctx).Progress(ctx, 100)
	})
	for range 2 {
		if text, err := receipts.Wait(t.Context(), id); text != "receipt of "+id || err != nil {
			t.Errorf("%q, %v", text, err)
		}
	}
	if task, err := receipts.Get(t.Context(), id); err != nil || task.Status != af.StatusSuccess || runs != 1 ||
		string(task.Progress) != "100" {
		t.Errorf("%+v, %v, %d runs", task, err, runs)
	}
	milk, err := receipts.Submit(t.Context(), shop.Order{Item: "milk"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := receipts.Result(t.Context(), milk); !errors.Is(err, af.ErrNotFound) ||
		!strings.Contains(err.Error(), "no milk") {
		t.Errorf("error of the task: %v", err)
	}
	ended, cancel := context.WithTimeout(t.Context(), -1)
	defer cancel()
	if _, err := receipts.Wait(ended, milk); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait after the deadline: %v", err)
	}
}

func TestRecorderFailsSubmissions(t *testing.T) {
	var rec aftest.Recorder
	queue := numbers(&rec)
	rec.FailSubmit(af.NewError(af.ErrUnavailable, "down").With(af.OutcomeNotSent))
	rec.FailSubmit(af.NewError(af.ErrUnavailable, "no reply"))
	rec.LoseReply()
	if _, err := queue.Submit(t.Context(), 1); !errors.Is(err, af.ErrUnavailable) || af.SubmittedID(err) != "" {
		t.Errorf("not sent: %v", err)
	}
	_, err := queue.Submit(t.Context(), 2)
	if af.SubmittedID(err) == "" || len(rec.Tasks("")) != 0 {
		t.Errorf("unknown, not stored: %v", err)
	}
	_, err = queue.Submit(t.Context(), 3)
	id := af.SubmittedID(err)
	if id == "" || len(rec.Tasks("")) != 1 {
		t.Errorf("unknown, stored: %v", err)
	}
	if again, err := queue.Submit(t.Context(), 3, af.TaskID(id)); err != nil || again != id || len(rec.Tasks("")) != 1 {
		t.Errorf("repeated: %q, %v", again, err)
	}
	if _, err := queue.Submit(t.Context(), 4); err != nil {
		t.Errorf("after the failures: %v", err)
	}
}

func TestRecorderRecordsJobs(t *testing.T) {
	var rec aftest.Recorder
	for _, cron := range []string{"@hourly", "@daily"} {
		if err := numbers(&rec).Schedule(t.Context(), "report", cron, 1, af.Zone("Europe/Berlin")); err != nil {
			t.Fatal(err)
		}
	}
	if jobs := rec.Jobs(); len(jobs) != 1 || jobs[0].Cron != "@daily" || jobs[0].Options.Zone != "Europe/Berlin" {
		t.Errorf("%+v", jobs)
	}
}

func TestRecorderAnswersCalls(t *testing.T) {
	var rec aftest.Recorder
	client := shop.NewShopClient(&rec, af.Timeout(time.Second))
	if _, err := client.Price(t.Context(), tea); !errors.Is(err, af.ErrUnavailable) ||
		!strings.Contains(err.Error(), "HandleCall") {
		t.Errorf("without an answer: %v", err)
	}
	rec.HandleCall("shop", "Price", func(context.Context, af.Call) (any, error) {
		return map[string]int{"cents": 750}, nil
	})
	if cents, err := client.Price(t.Context(), tea); cents != 750 || err != nil {
		t.Errorf("%d, %v", cents, err)
	}
	rec.HandleCall("shop", "Price", func(context.Context, af.Call) (any, error) { return nil, af.ErrNotFound })
	_, err := client.Price(t.Context(), tea)
	if e, ok := errors.AsType[*af.Error](err); !ok || e.Code != af.ErrNotFound || e.Outcome != af.OutcomeAnswered {
		t.Errorf("%v", err)
	}
	calls := rec.Calls()
	if len(calls) != 3 || calls[0].Service != "shop" || calls[0].Method != "Price" ||
		calls[0].Options.Timeout != time.Second || !strings.Contains(string(calls[0].Args), `"tea"`) {
		t.Errorf("%+v", calls)
	}
}

func TestRecorderTellsCreatedFromFound(t *testing.T) {
	var rec aftest.Recorder
	receipts := shop.NewReceiptQueue(&rec)
	for i, want := range []bool{true, false} {
		created := !want
		_, err := receipts.Submit(t.Context(), tea, af.TaskID("receipt-1"), af.Created(&created))
		if err != nil || created != want {
			t.Errorf("submission %d: created %v, %v", i+1, created, err)
		}
	}
	rec.FailSubmit(af.NewError(af.ErrUnavailable, "down"))
	created := true
	if _, err := receipts.Submit(t.Context(), tea, af.Created(&created)); err == nil || created {
		t.Errorf("a failed submission: created %v, %v", created, err)
	}
}

// Metadata of the context in which a handler is tested is that of its task: its subtasks inherit it, and other tasks do
// not.
func TestMetadataInUnitTest(t *testing.T) {
	var rec aftest.Recorder
	ctx := aftest.Context(af.WithMetadata(t.Context(), "tenant", "acme"),
		af.Running{ID: "order-1", Queue: "order", Attempt: 1})
	if md := af.MetadataFrom(ctx); md["tenant"] != "acme" {
		t.Errorf("the task's metadata is %v", md)
	}
	q := numbers(&rec)
	if _, err := q.Subtasks(af.WithMetadata(ctx, "line", "1"), "order-1", []number{1}); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Submit(af.WithMetadata(ctx, "line", "2"), 2); err != nil {
		t.Fatal(err)
	}
	all := rec.Tasks("")
	for i, want := range []af.Metadata{{"tenant": "acme", "line": "1"}, {"line": "2"}} {
		if !maps.Equal(all[i].Metadata, want) {
			t.Errorf("task %d has the metadata %v, want %v", i, all[i].Metadata, want)
		}
	}
}
