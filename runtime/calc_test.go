package runtime_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/internal/child"
)

// children has the functions that this binary runs as a child process.
var children = testkit.Children{}

func TestMain(m *testing.M) {
	if child.Self() != nil {
		os.Exit(childMain())
	}
	children.Run()
	goleak.VerifyTestMain(m)
}

// calc is a service written like generated code. do is the body of its handlers.
type calc struct {
	do func(ctx context.Context, x int) (int, error)
}

type (
	calcArgs struct {
		X int `json:"x"`
	}
	calcReply struct {
		Result int `json:"result"`
	}
)

var (
	calcService = af.Service{Name: "calc", Type: "Calc", Concurrency: 4}
	calcDo      = af.Method[calcArgs, calcReply]{
		Service: "calc", Name: "Do", Signature: "(x int) (int)", Timeout: 5 * time.Second, Fingerprint: "f1",
	}
	calcAgain = af.Method[calcArgs, calcReply]{
		Service: "calc", Name: "Again", Signature: "(x int) (int)", Timeout: 5 * time.Second, Idempotent: true,
		Fingerprint: "f2",
	}
)

func registerCalc(r af.Registrar, impl *calc) {
	do := func(ctx context.Context, c *calc, a calcArgs) (r calcReply, err error) {
		r.Result, err = c.do(ctx, a.X)
		return r, err
	}
	af.RegisterService(r, calcService, impl, af.Bind(&calcDo, do), af.Bind(&calcAgain, do))
}

// call calls calc.Do through c.
func call(ctx context.Context, c af.Caller, x int, opts ...af.CallOption) (int, error) {
	r, err := calcDo.Call(ctx, af.NewClient(c, opts...), calcArgs{x})
	return r.Result, err
}

func double(_ context.Context, x int) (int, error) { return 2 * x, nil }

// open opens an App and shuts it down at the end of the test.
func open(t *testing.T, b af.Backend, opts ...af.AppOption) *af.App {
	t.Helper()
	opts = append([]af.AppOption{af.Logger(slog.New(slog.DiscardHandler)), af.IP("192.0.2.1"), af.Version("v1")}, opts...)
	app, err := af.Open(t.Context(), b, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = app.Shutdown(ctx) // tests of Shutdown check its error
	})
	return app
}

// serve starts an App that serves calc with do.
func serve(t *testing.T, b af.Backend, do func(context.Context, int) (int, error), opts ...af.AppOption) *af.App {
	t.Helper()
	app := open(t, b, opts...)
	registerCalc(app, &calc{do})
	start(t, app)
	return app
}

func start(t *testing.T, app *af.App) {
	t.Helper()
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// wantError checks the code, outcome and text of an error.
func wantError(t *testing.T, err error, code af.Code, outcome af.Outcome, text string) {
	t.Helper()
	e, ok := errors.AsType[*af.Error](err)
	if !ok {
		t.Fatalf("error %v (%T) is not an *af.Error", err, err)
	}
	if e.Code != code || e.Outcome != outcome || !strings.Contains(err.Error(), text) {
		t.Errorf("error %q, code %s, outcome %s; want code %s, outcome %s, text %q", err, e.Code, e.Outcome, code, outcome,
			text)
	}
	if !errors.Is(err, code) {
		t.Errorf("errors.Is(%v, %s) is false", err, code)
	}
}

// altered is a backend whose ports are changed when it is opened.
type altered struct {
	af.Backend
	alter func(*backend.Ports)
}

func (a altered) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := a.Backend.Open(ctx, env)
	if err == nil {
		a.alter(ports)
	}
	return ports, err
}

// faulty is a memory backend whose calls pass through call.
func faulty(call callFunc) af.Backend {
	return altered{memory.New(), func(p *backend.Ports) { p.Calls = faultyCalls{p.Calls, call} }}
}

type callFunc = func(next backend.Calls, ctx context.Context, req *backend.Request) (*backend.Reply, error)

type faultyCalls struct {
	backend.Calls
	call callFunc
}

func (c faultyCalls) Call(ctx context.Context, req *backend.Request) (*backend.Reply, error) {
	return c.call(c.Calls, ctx, req)
}

// A log is a destination of slog that tests can read.
type log struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *log) option() af.AppOption { return af.Logger(slog.New(slog.NewJSONHandler(l, nil))) }
