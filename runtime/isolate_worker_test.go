package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	goruntime "runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/instrument/metric"
)

// An action is the payload of the tests' isolated workers. Do selects the action.
type action struct {
	Do   string `json:"do"`
	N    int    `json:"n,omitempty"`
	Text string `json:"text,omitempty"`
}

// report is the result: the process, and what it has observed.
type report struct {
	PID  int    `json:"pid"`
	PPID int    `json:"ppid"`
	Text string `json:"text,omitempty"`
	More int    `json:"more,omitempty"`
}

// isolated is a worker with isolation=process, registered without generated code. app and other are Apps of its
// process.
type isolated struct{ app, other *af.App }

var (
	isoWorker = af.Worker{Name: "iso", Type: "Isolated", Max: 4, Backoff: time.Millisecond, Weight: 1,
		Isolation: "process"}
	isoFan = af.Worker{Name: "iso_fan", Type: "IsolatedFan", Max: 4, Retries: 2, Backoff: time.Millisecond,
		Isolation: "process"}
)

func registerIsolated(app, other *af.App) {
	af.RegisterWorker(app, isoWorker, &isolated{app, other})
	af.RegisterWorker(app, isoFan, &isolatedFan{isolated{app, other}})
	af.RegisterVoidWorker(app, isoPaced, &isolatedPaced{})
}

// childMain is main in the child processes of this package's tests. It registers the same workers as isolate.
func childMain() int {
	ctx := context.Background()
	limitFrames()
	if os.Getenv("AF_TEST_LOST") != "" {
		fmt.Fprintln(os.Stderr, "main went another way")
		return 7
	}
	other, err := af.Open(ctx, memory.New())
	if err == nil {
		err = other.Start(ctx) // it does not have the worker of the task
	}
	var app *af.App
	if err == nil {
		var opts []af.AppOption
		if os.Getenv("AF_TEST_MIDDLEWARE") != "" {
			opts = childMiddleware(new(trail), true)
		}
		if path := os.Getenv("AF_TEST_INSTRUMENT"); path != "" {
			opts = append(opts, af.Instrument(&flusher{path: path}))
		}
		app, err = af.Open(ctx, memory.New(), opts...)
	}
	if err == nil && !closed(app.Stopping()) {
		err = errors.New("servers would run here")
	}
	if err == nil {
		registerIsolated(app, other)
		err = app.Run(ctx)
	}
	fmt.Fprintln(os.Stderr, "child main:", err)
	return 1
}

// isolate starts an App with the isolated workers and what with registers.
func isolate(t *testing.T, with func(app *af.App), opts ...af.AppOption) (*af.App, af.Queue[action, report]) {
	t.Helper()
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	app := open(t, memory.New(), opts...)
	registerIsolated(app, nil)
	if with != nil {
		with(app)
	}
	start(t, app)
	return app, af.NewQueue[action, report](app, isoWorker)
}

// callAllMethods calls the methods of an App with zero arguments, except for those that start and end it, and returns
// their names.
func callAllMethods(ctx context.Context, app *af.App) string {
	var called []string
	v := reflect.ValueOf(app)
	for i := range v.NumMethod() {
		name := v.Type().Method(i).Name
		switch name {
		case "Run", "Start", "Shutdown", "AddService", "AddWorker":
			continue
		}
		func() {
			ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
			typ := v.Method(i).Type()
			args := make([]reflect.Value, typ.NumIn())
			for n := range args {
				args[n] = reflect.Zero(typ.In(n))
				if typ.In(n) == reflect.TypeFor[context.Context]() {
					args[n] = reflect.ValueOf(ctx)
				}
			}
			if typ.IsVariadic() {
				args = args[:len(args)-1]
			}
			if name == "StopTasks" { // without a query it would stop this task
				args = append(args, reflect.ValueOf(af.DryRun()))
			}
			v.Method(i).Call(args)
		}()
		called = append(called, name)
	}
	return strings.Join(called, " ")
}

func do(t *testing.T, q af.Queue[action, report], d action, opts ...af.SubmitOption) (report, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return q.Wait(ctx, must(q.Submit(ctx, d, opts...))(t))
}

func (w *isolated) Run(ctx context.Context, d action) (report, error) {
	me := report{PID: os.Getpid(), PPID: os.Getppid()}
	r := af.TaskFrom(ctx)
	switch d.Do {
	case "say":
		return me, nil
	case "echo":
		me.Text = d.Text
		return me, nil
	case "know":
		deadline, has := ctx.Deadline()
		me.Text = fmt.Sprintf("%s %d %d %s %v %v %v", r.Queue, r.Attempt, r.Fence, af.InstanceFrom(ctx).ID,
			has && time.Until(deadline) < time.Minute, w.app.Instance() == af.InstanceFrom(ctx), af.IsChildProcess())
		return me, nil
	case "log":
		log := af.LoggerFrom(ctx).With("a", 1).WithGroup("g").With("took", time.Second)
		log.Info("report in a child", "err", errors.New("no"), "n", 2.5, "list", []int{1, 2})
		log.Debug("not asked for")
		return me, nil
	case "log and wait":
		af.LoggerFrom(ctx).Info(d.Text)
		<-ctx.Done()
		return me, ctx.Err()
	case "call":
		ctx := af.WithMetadata(ctx, "from", strconv.Itoa(os.Getpid()))
		n, err := call(ctx, w.app, d.N)
		me.More = n
		return me, err
	case "carry": // submit a subtask, another task and a call
		q := af.NewQueue[action, report](w.app, isoWorker)
		kids, err := q.Subtasks(af.WithMetadata(ctx, "step", "two"), r.ID, []action{{Do: "carried"}})
		if err != nil {
			return me, err
		}
		id, err := q.Submit(af.WithTrace(ctx, trace2), action{Do: "carried"})
		if err == nil {
			me.Text = kids[0] + " " + id
			_, err = call(ctx, w.app, 1)
		}
		return me, err
	case "carried":
		me.Text = fmt.Sprint(af.MetadataFrom(ctx), " ", af.TraceFrom(ctx))
		return me, nil
	case "call other":
		_, err := call(ctx, w.other, 1)
		return me, err
	case "submit":
		q := af.NewQueue[int, int](w.app, jobWorker)
		id, err := q.Submit(ctx, d.N, af.UniqueKey("key"))
		if err == nil {
			me.Text = id
			me.More, err = q.Wait(ctx, id)
		}
		return me, err
	case "delay":
		id, err := af.NewQueue[int, int](w.app, jobWorker).Submit(ctx, d.N, af.Delay(time.Hour))
		me.Text = id
		return me, err
	case "wait gated", "wait now", "wait itself":
		q := af.NewQueue[action, report](w.app, isoWorker)
		var opts []af.SubtaskOption
		if d.Do == "wait now" {
			opts = append(opts, af.RunNow())
		}
		ids, err := q.Subtasks(ctx, r.ID, []action{{Do: "say"}}, opts...)
		if d.Do == "wait itself" {
			ids = []string{r.ID}
		}
		if err == nil {
			_, err = q.Wait(ctx, ids[0])
		}
		return me, err
	case "wait tree", "wait own tree":
		q := af.NewQueue[action, report](w.app, isoWorker)
		id, err := q.Submit(ctx, action{Do: "parent"})
		if d.Do == "wait own tree" {
			id = r.Source
		}
		if err != nil {
			return me, err
		}
		tree, err := w.app.WaitTree(ctx, id)
		me.More = tree.Succeeded
		me.Text = fmt.Sprint(tree.Task.ID == id, tree.Done == nil, tree.Total)
		return me, err
	case "parent", "parent of waiter":
		sub := action{Do: "say"}
		if d.Do == "parent of waiter" {
			sub.Do = "wait own tree"
		}
		_, err := af.NewQueue[action, report](w.app, isoWorker).Subtasks(ctx, r.ID, []action{sub})
		return me, err
	case "detail":
		return me, af.Permanent(fmt.Errorf("wrapped: %w", af.NewError(af.ErrOutOfRange, "too far", action{Text: "far"})))
	case "created":
		q := af.NewQueue[int, int](w.app, jobWorker)
		var first, second bool
		_, err := q.Submit(ctx, 1, af.TaskID("created in a child"), af.Created(&first))
		if err == nil {
			_, err = q.Submit(ctx, 1, af.TaskID("created in a child"), af.Created(&second))
		}
		me.Text = fmt.Sprint(first, second)
		return me, err
	case "gauges":
		n := 0
		err := metric.NewGauges(w.app).Read(ctx, func(metric.Metric, float64, ...string) { n++ })
		if _, refused := w.app.System(ctx); af.CodeOf(refused) != af.ErrFailedPrecondition {
			err = fmt.Errorf("System returned %w", refused)
		}
		me.Text = fmt.Sprint(n)
		return me, err
	case "all methods":
		me.Text = callAllMethods(ctx, w.app)
		return me, nil
	case "store":
		_, err := af.NewQueue[int, int](w.app, jobWorker).Submit(ctx, d.N)
		return me, err
	case "get":
		_, err := w.app.GetTask(ctx, d.Text)
		return me, err
	case "ids":
		var mu sync.Mutex
		var all sync.WaitGroup
		seen := map[string]bool{}
		for range d.N {
			all.Go(func() {
				id, err := w.app.Snowflake(ctx)
				mu.Lock()
				defer mu.Unlock()
				seen[id] = err == nil
			})
		}
		all.Wait()
		for _, ok := range seen {
			if ok {
				me.More++
			}
		}
		return me, nil
	case "fan":
		q := af.NewQueue[action, report](w.app, isoWorker)
		_, err := q.Subtasks(ctx, r.ID, []action{{Do: "say"}, {Do: "permanent"}, {Do: "say"}})
		return me, err
	case "coded":
		return me, fmt.Errorf("around: %w", af.NewError(af.ErrOutOfRange, "too far", action{Do: "detail"}))
	case "plain":
		return me, errors.New("plain")
	case "leak":
		return me, fmt.Errorf("password=hunter2: %w", af.ErrNotFound)
	case "silent":
		os.Exit(d.N)
	case "permanent":
		return me, af.Permanent(af.NewError(af.ErrNotFound, "never"))
	case "snooze":
		return me, af.Snooze(time.Hour)
	case "panic":
		panic("secret")
	case "goexit":
		goruntime.Goexit()
	case "exit":
		fmt.Fprintln(os.Stderr, strings.Repeat("chatter ", 2000)+"last words")
		os.Exit(d.N)
	case "crash elsewhere":
		go func() { panic("boom in another goroutine") }()
		select {}
	case "segfault":
		debug.SetPanicOnFault(false)
		p, _ := os.FindProcess(os.Getpid())
		_ = p.Signal(syscall.SIGSEGV)
		select {}
	case "wait": // until the context ends, after starting a process
		if err := begetAndTell(ctx, r); err != nil && ctx.Err() == nil { // the context may end before this process knows
			return me, err
		}
		<-ctx.Done()
		cause := context.Cause(ctx)
		stopped := errors.Is(cause, af.ErrTaskStopped)
		af.LoggerFrom(ctx).Info("ended", "cause", cause, "stopped", stopped, "lost", errors.Is(cause, af.ErrLeaseLost))
		return me, af.Errorf(af.ErrDataLoss, "%v; stopped: %v", cause, stopped)
	case "drain":
		if err := begetAndTell(ctx, r); err != nil {
			return me, err
		}
		select {
		case <-af.Draining(ctx):
			me.Text = "drained"
		case <-ctx.Done():
			me.Text = "cut short"
		}
		return me, nil
	case "hang":
		if err := begetAndTell(ctx, r); err != nil && ctx.Err() == nil { // the context may end before this process knows
			return me, err
		}
		select {}
	case "leave": // a process running
		return me, begetAndTell(ctx, r)
	}
	if strings.HasPrefix(d.Do, "bulk ") {
		return w.runBulk(ctx, d)
	}
	return me, fmt.Errorf("no action %q", d.Do)
}

// begetAndTell starts a process and stores both pids as progress.
func begetAndTell(ctx context.Context, r *af.Running) error {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		return err
	}
	return r.Progress(ctx, []int{os.Getpid(), cmd.Process.Pid})
}

// isolatedFan also has SubtasksDone, which stores what it has observed as progress.
type isolatedFan struct{ isolated }

func (w *isolatedFan) SubtasksDone(ctx context.Context, _ action, s af.Subtasks) error {
	seen := map[string]int{"pid": os.Getpid(), "total": s.Total, "of them failed": s.Failed}
	for task, err := range s.All(ctx) {
		if err != nil {
			return err
		}
		seen[string(task.Status)]++
	}
	return af.TaskFrom(ctx).Progress(ctx, seen)
}

// progress waits until a task has stored progress, and decodes it.
func progress[T any](t *testing.T, app *af.App, id string) (v T) {
	t.Helper()
	task := await(t, app, id, "progress or the end",
		func(task af.Task) bool { return len(task.Progress) > 0 || task.Status.Final() })
	if err := json.Unmarshal(task.Progress, &v); err != nil {
		t.Fatalf("%v in %+v", err, task)
	}
	return v
}

// await waits until cond returns true for a task.
func await(t *testing.T, app *af.App, id, what string, cond func(af.Task) bool) (task af.Task) {
	t.Helper()
	testkit.Succeeds(t, what, func() (err error) {
		if task, err = app.GetTask(t.Context(), id); err == nil && !cond(task) {
			err = fmt.Errorf("task %+v", task)
		}
		return err
	})
	return task
}
