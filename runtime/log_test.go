package runtime_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/logs"
)

const (
	trace  = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	trace2 = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
)

// record returns the record with a message, from the output of a JSON handler.
func (l *log) record(t *testing.T, message string) map[string]any {
	t.Helper()
	for line := range strings.Lines(l.String()) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if r["msg"] == message {
			for _, key := range []string{"instance", "task", "service", "trace", "queue"} {
				if strings.Count(line, `"`+key+`":`) > 1 {
					t.Errorf("duplicate %q: %s", key, line)
				}
			}
			delete(r, "time")
			delete(r, "level")
			delete(r, "msg")
			return r
		}
	}
	t.Fatalf("no record %q in\n%s", message, l.String())
	return nil
}

func wantRecord(t *testing.T, got, want map[string]any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("record\n%s\nwant\n%s", g, w)
	}
}

func TestRecordsHaveAttributesOfTheCall(t *testing.T) {
	var lines log
	app := open(t, memory.New(), lines.option())
	registerCalc(app, &calc{func(ctx context.Context, x int) (int, error) {
		af.LoggerFrom(ctx).Info("by LoggerFrom", "x", x)
		app.Logger().InfoContext(ctx, "by context")
		app.Logger().Info("without one")
		app.Logger().With("y", 1).WithGroup("g").InfoContext(ctx, "in a group", "z", 2)
		af.LoggerFrom(ctx).WithGroup("g").Info("in a group of LoggerFrom", "z", 2)
		app.Logger().InfoContext(ctx, "its own", "service", "mine")
		app.Logger().With("service", "mine").InfoContext(ctx, "its logger's own")
		af.LoggerFrom(ctx).InfoContext(context.Background(), "with another context")
		return x, nil
	}})
	start(t, app)
	if _, err := call(af.WithTrace(t.Context(), trace), app, 1); err != nil {
		t.Fatal(err)
	}
	id := app.Instance().ID
	first := lines.record(t, "by LoggerFrom")
	all := map[string]any{"service": "calc", "method": "Do", "call": first["call"], "instance": id,
		"trace": "0af7651916cd43dd8448eb211c80319c"}
	with := func(more ...any) map[string]any {
		m := map[string]any{}
		for k, v := range all {
			m[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			m[more[i].(string)] = more[i+1]
		}
		return m
	}
	wantRecord(t, first, with("x", 1))
	wantRecord(t, lines.record(t, "by context"), all)
	wantRecord(t, lines.record(t, "without one"), map[string]any{"instance": id})
	group := map[string]any{"z": 2}
	wantRecord(t, lines.record(t, "in a group"), with("y", 1, "g", group))
	wantRecord(t, lines.record(t, "in a group of LoggerFrom"), with("g", group))
	wantRecord(t, lines.record(t, "its own"), with("service", "mine"))
	wantRecord(t, lines.record(t, "its logger's own"), with("service", "mine"))
	wantRecord(t, lines.record(t, "with another context"), all)
}

// talker is a worker that logs with say.
type talker struct {
	say func(ctx context.Context, n int) error
}

func (w *talker) Run(ctx context.Context, n int) error { return w.say(ctx, n) }

var talkerWorker = af.Worker{Name: "talk", Type: "Talker", Max: 4, Retries: 1, Backoff: time.Millisecond}

func TestTaskKeepsItsLastLines(t *testing.T) {
	var lines log
	app := open(t, memory.New(), lines.option())
	af.RegisterVoidWorker(app, talkerWorker, &talker{func(ctx context.Context, n int) error {
		if n == 0 {
			return nil
		}
		log := af.LoggerFrom(ctx).With("step", "load")
		for i := range n {
			log.Info("line", "i", i)
		}
		app.Logger().InfoContext(ctx, "by context\nin two lines", "long", strings.Repeat("ö", 1000))
		if af.TaskFrom(ctx).Attempt == 1 {
			return errors.New("once more")
		}
		panic("at last")
	}})
	start(t, app)
	q := af.NewVoidQueue[int](app, talkerWorker)
	run := func(n int) af.Task {
		t.Helper()
		id, err := q.Submit(af.WithTrace(t.Context(), trace), n)
		if err != nil {
			t.Fatal(err)
		}
		_ = q.Wait(t.Context(), id)
		task, err := q.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return task
	}
	if task := run(0); task.Log != nil || task.Trace != trace {
		t.Errorf("the log of a task that logs nothing is %q, its trace %q", task.Log, task.Trace)
	}
	task := run(2)
	text := strings.Join(task.Log, "\n")
	for _, want := range []string{
		"msg=attempt attempt=1 instance=" + app.Instance().ID + " ip=192.0.2.1", "msg=line step=load i=0",
		"msg=line step=load i=1",
		`msg="by context\nin two lines"`, "msg=attempt attempt=2", `msg="panic in a worker" panic="at last"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the log of the task:\n%s", want, text)
		}
	}
	if len(task.Log) != 9 || strings.Contains(text, "task=") { // lines do not repeat the id of the task
		t.Errorf("%d lines:\n%s", len(task.Log), text)
	}
	for _, want := range []string{"by context\nin two lines", "panic in a worker", "line"} {
		r := lines.record(t, want)
		if r["task"] != task.ID || r["queue"] != "talk" || r["attempt"] == nil ||
			r["trace"] != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("%v", r)
		}
	}
	task = run(500)
	size := 0
	for _, line := range task.Log {
		size += len(line)
	}
	if len(task.Log) < 10 || len(task.Log) > 20 || size > 4<<10+200 ||
		!strings.Contains(task.Log[len(task.Log)-1], "panic") {
		t.Errorf("%d lines, %d bytes:\n%s", len(task.Log), size, strings.Join(task.Log, "\n"))
	}
	if !slices.ContainsFunc(task.Log, func(l string) bool { return strings.Contains(l, "msg=attempt attempt=2") }) {
		t.Errorf("the log lacks the instance:\n%s", strings.Join(task.Log, "\n"))
	}
}

// Records below the level are not stored with the task, and need no allocations.
func TestTaskKeepsNothingBelowTheLevel(t *testing.T) {
	app := open(t, memory.New()) // the log is discarded
	af.RegisterVoidWorker(app, talkerWorker, &talker{func(ctx context.Context, _ int) error {
		af.LoggerFrom(ctx).Error("this is not logged")
		return nil
	}})
	start(t, app)
	q := af.NewVoidQueue[int](app, talkerWorker)
	id, err := q.Submit(t.Context(), 0)
	if err == nil {
		err = q.Wait(t.Context(), id)
	}
	if err != nil {
		t.Fatal(err)
	}
	if task, err := q.Get(t.Context(), id); err != nil || task.Log != nil {
		t.Errorf("%q, %v", task.Log, err)
	}
}

// The trace of a call is passed on to the calls and tasks of its handler. An invalid trace is not.
func TestTraceIsPassedOn(t *testing.T) {
	app := open(t, memory.New())
	seen := make(chan string, 3)
	af.RegisterVoidWorker(app, talkerWorker, &talker{func(ctx context.Context, n int) error {
		seen <- af.TraceFrom(ctx)
		return nil
	}})
	q := af.NewVoidQueue[int](app, talkerWorker)
	registerCalc(app, &calc{func(ctx context.Context, x int) (int, error) {
		seen <- af.TraceFrom(ctx)
		if x > 0 {
			return call(ctx, app, x-1)
		}
		_, err := q.Submit(ctx, 0)
		return 0, err
	}})
	start(t, app)
	for _, want := range []string{trace, ""} {
		ctx := af.WithTrace(af.WithTrace(t.Context(), want), "00-ABC-1-1")
		if got := af.TraceFrom(ctx); got != want {
			t.Errorf("trace %q, want %q", got, want)
		}
		if _, err := call(ctx, app, 1); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if got := <-seen; got != want {
				t.Errorf("trace %q, want %q", got, want)
			}
		}
	}
}

// The App opens its log before anything else and closes it last. Find returns the records of a task.
func TestAppOpensAndClosesItsLog(t *testing.T) {
	dir := t.TempDir()
	var console bytes.Buffer
	opened := af.LogTo(func() (slog.Handler, func() error, error) {
		l, err := logs.Open(logs.Options{Dir: dir, Name: "app", Console: &console})
		if err != nil {
			return nil, nil, err
		}
		return l.Handler(), l.Close, nil
	})
	app := open(t, memory.New(), opened)
	af.RegisterVoidWorker(app, talkerWorker, &talker{func(ctx context.Context, n int) error {
		af.LoggerFrom(ctx).Info("hello", "n", n)
		return nil
	}})
	start(t, app)
	q := af.NewVoidQueue[int](app, talkerWorker)
	ids, err := q.SubmitMany(t.Context(), []int{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if err := q.Wait(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	shutdown(t, app)
	found := 0
	for e, err := range logs.Find(dir, ids[1]) {
		if err != nil {
			t.Fatal(err)
		}
		found++
		if e.Message != "hello" || !strings.Contains(string(e.Line), app.Instance().ID) {
			t.Errorf("%s", e.Line)
		}
	}
	if found != 1 {
		t.Errorf("found %d", found)
	}
	for _, want := range []string{"msg=started", "msg=stopped"} {
		if !strings.Contains(console.String(), want) {
			t.Errorf("the console lacks %q", want)
		}
	}

	refused := errors.New("disk full")
	_, err = af.Open(t.Context(), memory.New(),
		af.LogTo(func() (slog.Handler, func() error, error) { return nil, nil, refused }))
	if !errors.Is(err, refused) || !strings.Contains(err.Error(), "opening the log") {
		t.Errorf("got %v", err)
	}
	closed := false
	_, err = af.Open(t.Context(), unopenable{}, af.LogTo(func() (slog.Handler, func() error, error) {
		return slog.NewTextHandler(io.Discard, nil), func() error { closed = true; return nil }, nil
	}))
	if err == nil || !closed {
		t.Errorf("after %v: log closed: %v", err, closed)
	}
}

// An App's logger can become slog's default. Wrapping package slog's own default handler would deadlock.
func TestLoggerOfAnAppAsDefault(t *testing.T) {
	before := slog.Default()
	defer slog.SetDefault(before)
	for _, opts := range [][]af.AppOption{nil, {af.Logger(nil)}, {af.Logger(slog.Default())},
		{af.Logger(slog.New(slog.DiscardHandler))}} {
		app, err := af.Open(t.Context(), memory.New(), opts...)
		if err != nil {
			t.Fatal(err)
		}
		logged := make(chan struct{})
		go func() {
			slog.SetDefault(app.Logger())
			slog.Debug("nothing")
			_ = slog.Default().Handler().Handle(t.Context(), slog.NewRecord(time.Now(), slog.LevelInfo, "by the default", 0))
			close(logged)
		}()
		select {
		case <-logged:
		case <-time.After(10 * time.Second):
			t.Fatal("deadlock")
		}
		shutdown(t, app)
		slog.SetDefault(before)
	}
}

// Package slog's own default handler is not wrapped. With LoggerFrom, records still have the instance only once.
func TestRecordsOfDefaultLoggerHaveInstanceOnce(t *testing.T) {
	var lines log
	stdlog.SetOutput(&lines)
	defer stdlog.SetOutput(os.Stderr)
	app, err := af.Open(t.Context(), memory.New())
	if err != nil {
		t.Fatal(err)
	}
	defer shutdown(t, app)
	registerCalc(app, &calc{func(ctx context.Context, x int) (int, error) {
		af.LoggerFrom(ctx).Info("by LoggerFrom")
		return x, nil
	}})
	start(t, app)
	if _, err := call(t.Context(), app, 1); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(lines.String()) {
		if strings.Contains(line, "by LoggerFrom") && strings.Contains(line, "service=calc") {
			if n := strings.Count(line, "instance="); n != 1 {
				t.Errorf("the instance is in the record %d times: %s", n, line)
			}
			return
		}
	}
	t.Errorf("no record has the task:\n%s", lines.String())
}

// unopenable is a backend that can't be opened.
type unopenable struct{ af.Backend }

func (unopenable) Open(context.Context, backend.Env) (*backend.Ports, error) {
	return nil, af.ErrUnavailable
}

func BenchmarkRecord(b *testing.B) {
	for name, h := range map[string]slog.Handler{
		"context": af.ContextHandler(slog.NewJSONHandler(io.Discard, nil)), "plain": slog.NewJSONHandler(io.Discard, nil),
	} {
		ctx, log := context.Background(), slog.New(h)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				log.InfoContext(ctx, "a record", "a", 1)
			}
		})
	}
}
