package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/recorder"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/instrument"
)

// flusher is the instrument of a child process. Flush writes what it has recorded to a file.
type flusher struct {
	recorder.Recorder
	path string
}

func (f *flusher) Flush(context.Context) {
	var lines []string
	for _, s := range f.Spans(nil) {
		lines = append(lines, fmt.Sprintf("%s %s in %s, ended %d", s.Kind, s.Start.Queue, s.Trace, len(s.Ends)))
	}
	_ = os.WriteFile(f.path, []byte(strings.Join(lines, "\n")), 0o600)
}

// The parent observes the attempt, and the child what its handler does, in the same trace.
func TestAttemptInChildIsObserved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spans")
	t.Setenv("AF_TEST_INSTRUMENT", path)
	var rec recorder.Recorder
	app, q := isolate(t, func(app *af.App) {
		af.RegisterWorker(app, jobWorker, &job{same})
	}, af.Instrument(&rec))
	ctx, trace := rec.Root(t.Context())
	id := must(q.Submit(ctx, action{Do: "submit", N: 1}))(t)
	inner := must(q.Wait(t.Context(), id))(t).Text
	text, err := os.ReadFile(path)
	if want := "submit job in " + trace + ", ended 1"; err != nil || string(text) != want {
		t.Errorf("the child has observed %q, %v, want %q", text, err, want)
	}
	attempts := func(task string) []recorder.Span {
		return rec.Spans(func(s *recorder.Span) bool { return s.Kind == "attempt" && s.Start.Task == task })
	}
	for task, process := range map[string]bool{id: true, inner: false} {
		if got := attempts(task); len(got) != 1 || got[0].Trace != trace || got[0].Start.Process != process {
			t.Errorf("the attempts of %s are %+v, want one in %s, process %v", task, got, trace, process)
		}
	}
	if task := must(q.Get(t.Context(), id))(t); task.Trace[3:35] != trace || len(task.Metadata) > 0 {
		t.Errorf("the task has trace %q and metadata %v", task.Trace, task.Metadata)
	}

	gone := must(q.Submit(ctx, action{Do: "silent", N: 3}))(t)
	_, err = q.Wait(t.Context(), gone)
	if got := attempts(gone); err == nil || len(got) != 1 || len(got[0].Ends) != 1 || got[0].Ends[0].Err == nil {
		t.Errorf("the attempt of a child that exits is %+v, %v", got, err)
	}
	_ = app.Shutdown(t.Context())
	for _, line := range rec.NotOnce() {
		t.Error(line)
	}
}

// An attempt ends once when it is released at shutdown, and when it is abandoned.
func TestAttemptsEndAtShutdown(t *testing.T) {
	for _, ignores := range []bool{false, true} {
		t.Run(fmt.Sprintf("ignores_%v", ignores), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				var rec recorder.Recorder
				app := open(t, memory.New(), af.Instrument(&rec))
				release := make(chan struct{})
				af.RegisterWorker(app, jobWorker, &job{func(ctx context.Context, n int) (int, error) {
					if <-ctx.Done(); ignores {
						<-release
					}
					return n, ctx.Err()
				}})
				start(t, app)
				must(af.NewQueue[int, int](app, jobWorker).Submit(t.Context(), 1))(t)
				synctest.Wait()
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				if err := app.Shutdown(ctx); err == nil {
					t.Error("the drain is complete")
				}
				close(release)
				synctest.Wait()
				for _, line := range rec.NotOnce() {
					t.Error(line)
				}
				got := rec.Kinds("attempt")[0].Ends[0]
				if got.Attempt != "returned" || got.Status != af.StatusWaiting || got.Code != af.ErrUnavailable ||
					got.Abandoned != ignores {
					t.Errorf("the attempt ends with %+v", got)
				}
			})
		})
	}
}

// badInstrument panics in each method.
type badInstrument struct{ af.NoInstrument }

func (badInstrument) Inject(context.Context) map[string]string { panic("Inject") }

func (badInstrument) Extract(context.Context, map[string]string) context.Context { panic("Extract") }

func (badInstrument) Call(context.Context, instrument.Start) (context.Context, func(instrument.End)) {
	panic("Call")
}

func (badInstrument) Handle(context.Context, instrument.Start) (context.Context, func(instrument.End)) {
	return nil, func(instrument.End) { panic("End") }
}

func (badInstrument) Submit(ctx context.Context, _ instrument.Start) (context.Context, func(instrument.End)) {
	return ctx, func(instrument.End) { panic("End") }
}

func (badInstrument) Attempt(context.Context, instrument.Start) (context.Context, func(instrument.End)) {
	panic("Attempt")
}

func (badInstrument) Observe(instrument.Event) { panic("Observe") }

func (badInstrument) Trace(context.Context) string { panic("Trace") }

// Panics of an instrument break nothing and are logged once. The other instruments see everything.
func TestInstrumentPanics(t *testing.T) {
	var out log
	var rec recorder.Recorder
	app := open(t, memory.New(), out.option(), af.Instrument(nil, badInstrument{}, &rec))
	registerCalc(app, &calc{double})
	af.RegisterWorker(app, jobWorker, &job{same})
	start(t, app)
	for range 3 {
		if n := must(call(t.Context(), app, 2))(t); n != 4 {
			t.Errorf("got %d", n)
		}
		q := af.NewQueue[int, int](app, jobWorker)
		id := must(q.Submit(t.Context(), 3))(t)
		if n := must(q.Wait(t.Context(), id))(t); n != 3 {
			t.Errorf("got %d", n)
		}
	}
	for _, method := range []string{"Inject", "Extract", "Call", "End", "Attempt", "Observe", "Trace"} {
		if n := strings.Count(out.String(), `"method":"`+method+`"`); n != 1 {
			t.Errorf("%d panics of %s are logged", n, method)
		}
	}
	for _, kind := range []string{"call", "handle", "submit", "attempt"} {
		if n := len(rec.Kinds(kind)); n != 3 {
			t.Errorf("the other instrument has seen %d of kind %s", n, kind)
		}
	}
	_ = app.Shutdown(t.Context())
	for _, line := range rec.NotOnce() {
		t.Error(line)
	}
}

// Log records have the ids of the current span, in a handler and outside, and TraceFrom returns it.
func TestLogsFollowSpan(t *testing.T) {
	var out log
	var rec recorder.Recorder
	app := open(t, memory.New(), out.option(), af.Instrument(&rec))
	af.RegisterWorker(app, jobWorker, &job{func(ctx context.Context, n int) (int, error) {
		af.LoggerFrom(ctx).Info("inside", "from", af.TraceFrom(ctx))
		return n, nil
	}})
	start(t, app)
	ctx, trace := rec.Root(af.WithTrace(t.Context(), trace2))
	app.Logger().InfoContext(ctx, "outside")
	q := af.NewQueue[int, int](app, jobWorker)
	id := must(q.Submit(ctx, 1))(t)
	must(q.Wait(t.Context(), id))(t)
	attempt := rec.Kinds("attempt")[0]
	if r := out.record(t, "outside"); r["trace"] != trace || len(fmt.Sprint(r["span"])) != 16 {
		t.Errorf("logged %v", r)
	}
	if r := out.record(t, "inside"); r["trace"] != trace || r["span"] != attempt.ID ||
		r["from"] != "00-"+trace+"-"+attempt.ID+"-01" {
		t.Errorf("logged %v, want span %s", r, attempt.ID)
	}
}

// adder injects what it has.
type adder struct {
	af.NoInstrument
	adds map[string]string
}

func (a adder) Inject(context.Context) map[string]string { return a.adds }

// Names of the program are not replaced, and what would exceed the limits is left out.
func TestInjectedMetadata(t *testing.T) {
	for _, c := range []struct {
		name   string
		adds   map[string]string
		caller af.Metadata
		want   string
	}{
		{"added", map[string]string{"a": "1", "b": ""}, nil, "map[a:1]"},
		{"own_wins", map[string]string{"a": "1", "c": "3"}, af.Metadata{"a": "2"}, "map[a:2 c:3]"},
		{"too_large", map[string]string{"a": strings.Repeat("x", 9<<10)}, af.Metadata{"b": "2"}, "map[b:2]"},
		{"bad_name", map[string]string{"": "x"}, nil, "map[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := open(t, memory.New(), af.Instrument(adder{adds: c.adds}))
			af.RegisterWorker(app, jobWorker, &job{same})
			registerCalc(app, &calc{double})
			start(t, app)
			ctx := t.Context()
			for name, value := range c.caller {
				ctx = af.WithMetadata(ctx, name, value)
			}
			q := af.NewQueue[int, int](app, jobWorker)
			id := must(q.Submit(ctx, 1))(t)
			if got := fmt.Sprint(must(q.Get(ctx, id))(t).Metadata); got != c.want {
				t.Errorf("metadata %s, want %s", got, c.want)
			}
			if n, err := call(ctx, app, 2); n != 4 || err != nil {
				t.Errorf("a call returns %d, %v", n, err)
			}
		})
	}
}

// Without an instrument, and with one that does nothing, a call and a submission allocate the same.
func TestEmptyInstrumentAllocatesNothing(t *testing.T) {
	count := func(name string, opts ...af.AppOption) (calls, submissions float64) {
		app := open(t, memory.New(), opts...)
		registerCalc(app, &calc{double})
		start(t, app)
		q := af.NewQueue[int, int](app, jobWorker)
		args := json.RawMessage(`{"x":2}`)
		calls = testing.AllocsPerRun(2000, func() {
			if _, err := app.Invoke(t.Context(), af.Call{Service: "calc", Method: "Do", Args: args}); err != nil {
				t.Fatal(name, err)
			}
		})
		submissions = testing.AllocsPerRun(2000, func() {
			if _, err := q.Submit(t.Context(), 1, af.Delay(time.Hour)); err != nil {
				t.Fatal(name, err)
			}
		})
		return calls, submissions
	}
	for round := 1; ; round++ { // pools that the garbage collector empties make the numbers vary by one
		calls, submissions := count("none")
		with, submitted := count("empty", af.Instrument(af.NoInstrument{}))
		t.Logf("allocations: %v and %v per call, %v and %v per submission", calls, with, submissions, submitted)
		if with <= calls && submitted <= submissions {
			return
		}
		if round == 5 {
			t.Fatalf("an empty instrument adds %v allocations to a call, %v to a submission", with-calls, submitted-submissions)
		}
	}
}

// The client's instrument sees how often a call was sent, and nothing of a handler that is not begun.
func TestRefusedCallIsObserved(t *testing.T) {
	var rec recorder.Recorder
	app := open(t, memory.New(), af.Instrument(&rec))
	start(t, app)
	_ = app.Shutdown(t.Context())
	if _, err := call(t.Context(), app, 1); !errors.Is(err, af.ErrFailedPrecondition) {
		t.Error(err)
	}
	got := rec.Kinds("call")
	if len(got) != 1 || got[0].Ends[0].Code != af.ErrFailedPrecondition || got[0].Ends[0].Tries != 0 {
		t.Errorf("observed %+v", got)
	}
}

// Stored has only tasks that are new: af.task.submitted counts each task once.
func TestExistingTasksAreNotStoredAgain(t *testing.T) {
	var rec recorder.Recorder
	app := open(t, memory.New(), af.Instrument(&rec))
	af.RegisterWorker(app, jobWorker, &job{same})
	start(t, app)
	q := af.NewQueue[int, int](app, jobWorker)
	ids := must(q.SubmitMany(t.Context(), []int{1, 2}))(t)
	must(q.Wait(t.Context(), ids[0]))(t)
	first := must(q.Submit(t.Context(), 3, af.UniqueKey("key"), af.Delay(time.Hour)))(t)
	second := must(q.Submit(t.Context(), 3, af.UniqueKey("key"), af.Delay(time.Hour)))(t)
	for range 2 {
		must(app.RetryTask(t.Context(), ids[0]))(t)
	}
	var got []int
	for _, s := range rec.Kinds("submit") {
		got = append(got, s.Ends[0].Stored)
	}
	if want := []int{2, 1, 0, 1, 0}; !slices.Equal(got, want) || first != second {
		t.Errorf("stored %v, want %v; tasks %s and %s", got, want, first, second)
	}
}

// A handler has the trace of its message, whatever the context given to Receive has.
func TestTraceOfMessageIsThatOfSender(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const sender = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		app := open(t, memory.New())
		start(t, app)
		got := make(chan string, 2)
		go func() {
			_ = app.Receive(af.WithTrace(t.Context(), strings.ReplaceAll(sender, "a", "b")), "q",
				func(ctx context.Context, _ json.RawMessage) error {
					got <- af.TraceFrom(ctx)
					return nil
				})
		}()
		for _, trace := range []string{sender, ""} {
			if err := app.Send(af.WithTrace(t.Context(), trace), "q", 1); err != nil {
				t.Fatal(err)
			}
			if is := <-got; is != trace {
				t.Errorf("the handler has the trace %q, want %q", is, trace)
			}
		}
		_ = app.Shutdown(t.Context())
	})
}

// slowInserts is a store whose insertions take a while.
type slowInserts struct {
	backend.Store
	take time.Duration
}

func (s slowInserts) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	time.Sleep(s.take) // virtual
	return s.Store.Insert(ctx, tasks)
}

// The lag of a job ends when its task is stored, not when the scheduler begins to submit it.
func TestLagOfJobIncludesSubmission(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const take = 3 * time.Second
		var rec recorder.Recorder
		b := altered{memory.New(), func(p *backend.Ports) { p.Store = slowInserts{p.Store, take} }}
		w := jobWorker
		w.Jobs = []af.DeclaredJob{{ID: "j", Cron: "@every 20s"}}
		app := open(t, b, af.Instrument(&rec))
		af.RegisterWorker(app, w, &job{same})
		start(t, app)
		time.Sleep(time.Minute)
		fired := rec.Events(instrument.JobFired)
		if len(fired) < 2 {
			t.Fatalf("%d fires", len(fired))
		}
		for _, e := range fired {
			if e.Duration < take || e.Duration > take+time.Second {
				t.Errorf("a task that is stored %v after it was due has a lag of %v", take, e.Duration)
			}
		}
	})
}
