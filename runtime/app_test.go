package runtime_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

type worker struct{}

func (worker) Run(context.Context, int) (int, error) { return 0, nil }

// testPackage is the import path of these tests.
const testPackage = "github.com/afgen/afgen/runtime_test"

func TestStartReturnsAllRegistrationErrors(t *testing.T) {
	app := open(t, memory.New())
	registerCalc(app, nil)
	registerCalc(app, &calc{double})
	af.RegisterWorker(app, af.Worker{Name: "w", Type: "W"}, (*worker)(nil))
	af.RegisterWorker(app, af.Worker{Name: "w", Type: "V"}, &worker{})
	af.RegisterWorker(app, af.Worker{Name: "p", Type: "P", Isolation: "thread"}, &worker{})
	af.RegisterWorker(app, af.Worker{Type: "N"}, &worker{})
	err := app.Start(t.Context())
	if err == nil {
		t.Fatal("the app started")
	}
	for _, text := range []string{
		testPackage + ".RegisterCalc: the implementation is nil",
		`service "calc" is registered twice: by ` + testPackage + `.Calc and ` + testPackage + ".Calc",
		testPackage + ".RegisterW: the worker is nil",
		`queue "w" is registered twice: by ` + testPackage + `.W and ` + testPackage + ".V",
		testPackage + `.RegisterP: unknown isolation "thread"`,
		testPackage + ".RegisterN: the worker has no name",
	} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q is missing in:\n%v", text, err)
		}
	}
	if _, err := call(t.Context(), app, 1); !errors.Is(err, af.ErrFailedPrecondition) {
		t.Errorf("calls work after a failed start: %v", err)
	}
}

func TestStartAndShutdownOnlyOnce(t *testing.T) {
	app := openStarted(t, memory.New())
	if err := app.Start(t.Context()); !errors.Is(err, af.ErrFailedPrecondition) {
		t.Errorf("second Start: %v", err)
	}
	for range 2 {
		if err := app.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := app.Start(t.Context()); !errors.Is(err, af.ErrFailedPrecondition) {
		t.Errorf("Start after Shutdown: %v", err)
	}
}

func TestRegistrationAfterStartIsReported(t *testing.T) {
	var lines log
	app := open(t, memory.New(), lines.option())
	start(t, app)
	registerCalc(app, &calc{double})
	if err := app.Shutdown(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "RegisterCalc: the app has been started") {
		t.Errorf("Shutdown: %v", err)
	}
	if !strings.Contains(lines.String(), "registered after Start") {
		t.Errorf("log: %s", lines.String())
	}
}

// A request that arrives while the App is starting is handled once all services are served.
func TestRequestsWaitUntilAllServicesAreServed(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		client := openStarted(t, world)
		early := make(chan error, 1)
		slow := serving(world, func(e backend.Endpoint) {
			if e.Service == "second" {
				go func() {
					_, err := call(t.Context(), client, 1)
					early <- err
				}()
				synctest.Wait()
				if len(early) > 0 {
					t.Error("a handler began before the second service was served")
				}
			}
		})
		app := open(t, slow)
		registerCalc(app, &calc{func(ctx context.Context, x int) (int, error) {
			_, err := app.Call(ctx, "second", "Do", nil)
			return x, err
		}})
		second := calcService
		second.Name = "second"
		af.RegisterService(app, second, &calc{}, af.Bind(&calcDo, func(context.Context, *calc, calcArgs) (calcReply, error) {
			return calcReply{}, nil
		}))
		begun := time.Now()
		start(t, app)
		if err := <-early; err != nil || time.Since(begun) != 0 {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

// serving is a backend that calls before ahead of each Serve.
func serving(b af.Backend, before func(backend.Endpoint)) af.Backend {
	return altered{b, func(p *backend.Ports) { p.Calls = servingCalls{p.Calls, before} }}
}

type servingCalls struct {
	backend.Calls
	before func(backend.Endpoint)
}

func (c servingCalls) Serve(ctx context.Context, e backend.Endpoint, h backend.Handler) (backend.Serving, error) {
	c.before(e)
	return c.Calls.Serve(ctx, e, h)
}

func TestOpenErrors(t *testing.T) {
	if _, err := af.Open(t.Context(), nil); !errors.Is(err, af.ErrInvalidArgument) {
		t.Errorf("nil backend: %v", err)
	}
	_, err := af.Open(t.Context(), broken{})
	if err == nil || err.Error() != "opening the backend: unknown: no such server" {
		t.Errorf("broken backend: %v", err)
	}
}

type broken struct{}

func (broken) Open(context.Context, backend.Env) (*backend.Ports, error) {
	return nil, errors.New("no such server")
}

func TestRunDrainsWhenItsContextEnds(t *testing.T) {
	app := open(t, memory.New())
	registerCalc(app, &calc{double})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx) }()
	if got, err := waitCall(t, app); got != 2 || err != nil {
		t.Fatalf("got %d, %v", got, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// waitCall calls until Run, in another goroutine, has started the App.
func waitCall(t *testing.T, app *af.App) (got int, err error) {
	for t.Context().Err() == nil {
		if got, err = call(t.Context(), app, 1); !errors.Is(err, af.ErrFailedPrecondition) {
			return got, err
		}
	}
	return 0, t.Context().Err()
}

func TestRunReturnsErrorOfStart(t *testing.T) {
	app := open(t, memory.New())
	registerCalc(app, nil)
	if err := app.Run(t.Context()); !errors.Is(err, af.ErrInvalidArgument) {
		t.Errorf("Run: %v", err)
	}
}

func TestInstancesShareCallsUntilDrained(t *testing.T) {
	world := memory.New()
	var served [2]atomic.Int32
	var apps [2]*af.App
	for i := range apps {
		apps[i] = serve(t, world, func(_ context.Context, x int) (int, error) {
			served[i].Add(1)
			return x, nil
		})
	}
	client := openStarted(t, world)
	for range 10 {
		if _, err := call(t.Context(), client, 1); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := served[0].Load(), served[1].Load(); a != 5 || b != 5 {
		t.Errorf("served %d and %d", a, b)
	}
	if err := apps[0].Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := call(t.Context(), client, 1); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := served[0].Load(), served[1].Load(); a != 5 || b != 15 {
		t.Errorf("served %d and %d after one was shut down", a, b)
	}
}

func TestConcurrencyIsLimited(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var running, most atomic.Int32
		app := serve(t, memory.New(), func(context.Context, int) (int, error) {
			n := running.Add(1)
			defer running.Add(-1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			time.Sleep(time.Second)
			return 0, nil
		})
		begun := time.Now()
		var wg sync.WaitGroup
		for range 3 * calcService.Concurrency {
			wg.Go(func() {
				if _, err := call(t.Context(), app, 1, af.Timeout(time.Hour)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if most.Load() != int32(calcService.Concurrency) || time.Since(begun) != 3*time.Second {
			t.Errorf("%d at once, %v in all", most.Load(), time.Since(begun))
		}
	})
}

func TestCallWithoutFreeSlotIsNotSent(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app := serve(t, memory.New(), func(ctx context.Context, _ int) (int, error) {
			time.Sleep(time.Minute)
			return 0, nil
		})
		var wg sync.WaitGroup
		for range calcService.Concurrency {
			wg.Go(func() { _, _ = call(t.Context(), app, 1, af.Timeout(time.Minute)) })
		}
		synctest.Wait()
		_, err := call(t.Context(), app, 1, af.Timeout(time.Second))
		wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeNotSent, "accepted the call")
		wg.Wait()
	})
}

func TestMaxInFlightDoesNotLimitHandlers(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var app *af.App
		app = serve(t, memory.New(), func(ctx context.Context, x int) (int, error) {
			if x == 1 {
				return call(ctx, app, 2)
			}
			time.Sleep(time.Second)
			return x, nil
		}, af.MaxInFlight(1, 1<<20))
		begun := time.Now()
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if got, err := call(t.Context(), app, 1); got != 2 || err != nil {
					t.Errorf("got %d, %v", got, err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(begun); took != 2*time.Second {
			t.Errorf("two calls of a second each, one at a time, took %v", took)
		}
		wg.Go(func() { _, _ = call(t.Context(), app, 1) })
		synctest.Wait()
		_, err := call(t.Context(), app, 1, af.Timeout(time.Millisecond))
		wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeNotSent, "too many calls in flight")
		wg.Wait()
	})
}

func TestHandlerContextHasInstanceButNotCallersValues(t *testing.T) {
	type key struct{}
	var lines log
	var in af.Instance
	var value any
	app := serve(t, memory.New(), func(ctx context.Context, _ int) (int, error) {
		in, value = af.InstanceFrom(ctx), ctx.Value(key{})
		af.LoggerFrom(ctx).Info("hello")
		return 0, nil
	}, lines.option())
	if _, err := call(context.WithValue(t.Context(), key{}, 1), app, 1); err != nil {
		t.Fatal(err)
	}
	if in != app.Instance() || in.IP != "192.0.2.1" || in.Version != "v1" || in.ID == "" || value != nil {
		t.Errorf("instance %+v, value %v", in, value)
	}
	for _, text := range []string{`"service":"calc"`, `"method":"Do"`, `"instance":"` + in.ID} {
		if !strings.Contains(lines.String(), text) {
			t.Errorf("%s missing in %s", text, lines.String())
		}
	}
	if af.InstanceFrom(t.Context()) != (af.Instance{}) || af.LoggerFrom(t.Context()) == nil {
		t.Error("InstanceFrom outside of a handler is not zero")
	}
	other := open(t, memory.New())
	if first, second := other.NewID(), other.NewID(); other.Instance().ID == in.ID || first == second {
		t.Error("ids repeat")
	}
}

func TestAnotherContractIsLoggedOncePerCaller(t *testing.T) {
	var lines log
	app := serve(t, memory.New(), double, lines.option())
	old := calcDo
	old.Fingerprint = "older"
	for range 3 {
		if got, err := old.Call(t.Context(), af.NewClient(app), calcArgs{1}); got.Result != 2 || err != nil {
			t.Errorf("got %v, %v", got, err)
		}
	}
	if n := strings.Count(lines.String(), "another version of the method"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, lines.String())
	}
}

// callsOnly is a memory backend without a store.
func callsOnly() af.Backend {
	return altered{memory.New(), func(p *backend.Ports) {
		*p = backend.Ports{Name: "callsonly", Calls: p.Calls, Close: p.Close}
	}}
}

func TestQueuesWithoutTaskSupport(t *testing.T) {
	app := open(t, callsOnly())
	q := af.NewQueue[int, int](app, af.Worker{Name: "w", Type: "W"})
	_, err := q.Submit(t.Context(), 1)
	wantError(t, err, af.ErrFailedPrecondition, af.OutcomeNotSent, "not been started")
	start(t, app)
	_, err = q.Submit(t.Context(), 1, af.Weight(3), af.Timeout(time.Second))
	wantError(t, err, af.ErrUnimplemented, af.OutcomeNotSent, "backend \"callsonly\" does not support tasks")
	_, err = q.Subtasks(t.Context(), "id", []int{1}, af.Weight(3), af.Batch("b"), af.RunNow(), af.OnFailure(af.FailFast))
	wantError(t, err, af.ErrUnimplemented, af.OutcomeNotSent, "does not support tasks")
	_, err = q.SubmitMany(t.Context(), []int{1, 2}, af.TaskID("x"))
	wantError(t, err, af.ErrInvalidArgument, af.OutcomeNotSent, "one payload, not 2")
	worker := open(t, callsOnly())
	af.RegisterWorker(worker, jobWorker, &job{})
	if err := worker.Start(t.Context()); !errors.Is(err, af.ErrUnimplemented) {
		t.Errorf("a worker without a store starts: %v", err)
	}
	var unmade af.Queue[int, int]
	_, err = unmade.Wait(t.Context(), "id")
	wantError(t, err, af.ErrFailedPrecondition, af.OutcomeNotSent, "no TaskClient")
}
