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

func TestCallReturnsTheResults(t *testing.T) {
	app := serve(t, memory.New(), double)
	got, err := call(t.Context(), app, 21)
	if got != 42 || err != nil {
		t.Errorf("got %d, %v", got, err)
	}
}

func TestUntypedCallAcceptsObjects(t *testing.T) {
	app := serve(t, memory.New(), double)
	for _, args := range []any{map[string]int{"x": 4}, struct{ X int }{4},
		json.RawMessage(`{"x":4,"more":"is ignored"}`)} {
		got, err := app.Call(t.Context(), "calc", "Do", args)
		if string(got) != `{"result":8}` || err != nil {
			t.Errorf("args %v: got %s, %v", args, got, err)
		}
	}
	if got, err := app.Call(t.Context(), "calc", "Do", nil); string(got) != `{"result":0}` || err != nil {
		t.Errorf("no args: got %s, %v", got, err)
	}
	_, err := app.Call(t.Context(), "calc", "Do", []int{4})
	wantError(t, err, af.ErrInvalidArgument, af.OutcomeNotSent, "must be a JSON object")
	_, err = app.Call(t.Context(), "calc", "Do", func() {})
	wantError(t, err, af.ErrInvalidArgument, af.OutcomeNotSent, "encoding the arguments")
	_, err = app.Call(t.Context(), "", "Do", nil)
	wantError(t, err, af.ErrInvalidArgument, af.OutcomeNotSent, "needs a service and a method")
}

func TestCallsBeforeStartAndAfterShutdownAreNotSent(t *testing.T) {
	app := open(t, memory.New())
	registerCalc(app, &calc{double})
	_, err := call(t.Context(), app, 1)
	wantError(t, err, af.ErrFailedPrecondition, af.OutcomeNotSent, "not been started")
	start(t, app)
	if _, err := call(t.Context(), app, 1); err != nil {
		t.Fatal(err)
	}
	if err := app.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = call(t.Context(), app, 1)
	wantError(t, err, af.ErrFailedPrecondition, af.OutcomeNotSent, "shut down")
}

func TestClientWithoutCallerIsAnError(t *testing.T) {
	_, err := call(t.Context(), nil, 1)
	wantError(t, err, af.ErrFailedPrecondition, af.OutcomeNotSent, "no Caller")
}

// In a bubble, time advances only when all goroutines are blocked, so the test can check that the calls do not wait.
func TestUnknownServiceOrMethodFailsAtOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app := serve(t, memory.New(), double)
		begun := time.Now()
		_, err := app.Call(t.Context(), "nosuch", "Do", nil)
		wantError(t, err, af.ErrUnavailable, af.OutcomeNotSent, `no instance of service "nosuch"`)
		_, err = app.Call(t.Context(), "calc", "Nosuch", nil)
		wantError(t, err, af.ErrUnimplemented, af.OutcomeAnswered, `service "calc" has no method "Nosuch"`)
		if took := time.Since(begun); took != 0 {
			t.Errorf("took %v", took)
		}
		if _, err := call(t.Context(), app, 1); err != nil {
			t.Errorf("the server no longer answers: %v", err)
		}
	})
}

func TestUndecodableArgumentsAreInvalid(t *testing.T) {
	app := serve(t, memory.New(), double)
	for _, args := range []string{`{"x":"four"}`, `{"x":`, `{"x":1e400}`} {
		_, err := app.Invoke(t.Context(), af.Call{Service: "calc", Method: "Do", Args: json.RawMessage(args)})
		wantError(t, err, af.ErrInvalidArgument, af.OutcomeAnswered, "decoding the arguments")
	}
	if _, err := call(t.Context(), app, 1); err != nil {
		t.Errorf("the server no longer answers: %v", err)
	}
}

func TestUndecodableReplyIsInternal(t *testing.T) {
	app := serve(t, memory.New(), double, af.ServerMiddleware(func(af.Handler) af.Handler {
		return func(context.Context, *af.Request) (json.RawMessage, error) {
			return json.RawMessage(`{"result":"x"}`), nil
		}
	}))
	got, err := call(t.Context(), app, 1)
	wantError(t, err, af.ErrInternal, af.OutcomeAnswered, "decoding the reply of calc.Do")
	if got != 0 {
		t.Errorf("got %d with an error", got)
	}
}

func openStarted(t *testing.T, b af.Backend) *af.App {
	app := open(t, b)
	start(t, app)
	return app
}

func TestCallDeadline(t *testing.T) {
	hour := 3600 * time.Second
	for _, c := range []struct {
		name    string
		context time.Duration
		timeout time.Duration
		want    time.Duration
	}{
		{"neither", 0, 0, 5 * time.Second},
		{"context", 2 * time.Second, 0, 2 * time.Second},
		{"context_later_than_method", hour, 0, hour},
		{"timeout", 0, 3 * time.Second, 3 * time.Second},
		{"context_first", time.Second, 3 * time.Second, time.Second},
		{"timeout_first", 4 * time.Second, 3 * time.Second, 3 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				var seen time.Duration
				app := serve(t, memory.New(), func(ctx context.Context, _ int) (int, error) {
					deadline, _ := ctx.Deadline()
					seen = time.Until(deadline)
					<-ctx.Done()
					return 0, ctx.Err()
				})
				ctx := t.Context()
				if c.context > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.context)
					defer cancel()
				}
				begun := time.Now()
				_, err := call(ctx, app, 1, af.Timeout(c.timeout))
				if !errors.Is(err, af.ErrDeadlineExceeded) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v", err)
				}
				if took := time.Since(begun); took != c.want || seen != c.want {
					t.Errorf("took %v, the handler saw %v; want %v", took, seen, c.want)
				}
			})
		})
	}
}

func TestHandlerThatIgnoresItsDeadlineDoesNotBlockTheCaller(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		app := serve(t, memory.New(), func(_ context.Context, x int) (int, error) {
			if x == 1 {
				<-release
			}
			return x, nil
		})
		begun := time.Now()
		_, err := call(t.Context(), app, 1, af.Timeout(time.Second))
		wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeUnknown, "calling calc.Do")
		if took := time.Since(begun); took != time.Second {
			t.Errorf("took %v", took)
		}
		if got, err := call(t.Context(), app, 2); got != 2 || err != nil {
			t.Errorf("the server no longer answers: %d, %v", got, err)
		}
		close(release)
	})
}

func TestCancellationReachesTheHandler(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var cause error
		app := serve(t, memory.New(), func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return 0, ctx.Err()
		})
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("the user closed the window")
		go func() {
			time.Sleep(time.Second)
			cancel(why)
		}()
		_, err := call(ctx, app, 1)
		wantError(t, err, af.ErrCanceled, af.OutcomeUnknown, "the user closed the window")
		if !errors.Is(err, context.Canceled) || !errors.Is(err, why) {
			t.Errorf("%v is neither context.Canceled nor the cause", err)
		}
		synctest.Wait()
		if !errors.Is(cause, af.ErrCanceled) || !strings.Contains(cause.Error(), "the caller stopped waiting") {
			t.Errorf("the handler's cause is %v", cause)
		}
	})
}

func TestEndedContextIsNotSent(t *testing.T) {
	app := serve(t, memory.New(), func(context.Context, int) (int, error) {
		t.Error("the call was sent")
		return 0, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := call(ctx, app, 1)
	wantError(t, err, af.ErrCanceled, af.OutcomeNotSent, "calling calc.Do")
}

func TestWaitForReadyWaitsForAnInstance(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		client := openStarted(t, world)
		begun := time.Now()
		_, err := call(t.Context(), client, 1, af.WaitForReady(), af.Timeout(3*time.Second))
		wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeNotSent, "no instance")
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("took %v", took)
		}
		go func() {
			time.Sleep(1100 * time.Millisecond)
			serve(t, world, double)
		}()
		begun = time.Now()
		if got, err := call(t.Context(), client, 4, af.WaitForReady()); got != 8 || err != nil {
			t.Errorf("got %d, %v", got, err)
		}
		if took := time.Since(begun); took < 1100*time.Millisecond || took > 1200*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestOnlyIdempotentMethodsAreRetried(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		var ids []string
		lost := faulty(func(next backend.Calls, ctx context.Context, req *backend.Request) (*backend.Reply, error) {
			ids = append(ids, req.ID)
			if calls.Add(1) < 3 {
				return nil, af.NewError(af.ErrUnavailable, "the connection was lost")
			}
			return next.Call(ctx, req)
		})
		app := serve(t, lost, double)
		_, err := call(t.Context(), app, 1)
		wantError(t, err, af.ErrUnavailable, af.OutcomeUnknown, "the connection was lost")
		if calls.Load() != 1 {
			t.Errorf("a method that is not idempotent was called %d times", calls.Load())
		}
		calls.Store(0)
		ids = nil
		got, err := calcAgain.Call(t.Context(), af.NewClient(app), calcArgs{5})
		if got.Result != 10 || err != nil || calls.Load() != 3 {
			t.Errorf("got %v, %v after %d attempts", got, err, calls.Load())
		}
		if ids[0] != ids[1] || ids[1] != ids[2] {
			t.Errorf("the idempotency key changed: %q", ids)
		}
		calls.Store(-100)
		_, err = calcAgain.Call(t.Context(), af.NewClient(app), calcArgs{5})
		wantError(t, err, af.ErrUnavailable, af.OutcomeUnknown, "the connection was lost")
		if n := calls.Load() + 100; n != 4 {
			t.Errorf("%d attempts, want 1 and 3 retries", n)
		}
	})
}

// After a try with an unknown outcome, all others are not sent, and then the call fails or its context ends. The first
// one may still have been handled.
func TestOutcomeOfALostTryIsKept(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		tries, refusal := 0, af.NewError(af.ErrUnavailable, "busy").With(af.OutcomeNotSent)
		app := serve(t, faulty(func(next backend.Calls, ctx context.Context, req *backend.Request) (*backend.Reply, error) {
			if tries++; tries > 1 {
				return nil, refusal
			}
			if _, err := next.Call(ctx, req); err != nil {
				return nil, err
			}
			return nil, af.NewError(af.ErrUnavailable, "the reply was lost")
		}), double)
		_, err := calcAgain.Call(t.Context(), af.NewClient(app), calcArgs{5})
		wantError(t, err, af.ErrUnavailable, af.OutcomeUnknown, "busy")
		tries = 0
		_, err = calcAgain.Call(t.Context(), af.NewClient(app, af.WaitForReady(), af.Timeout(time.Second)), calcArgs{5})
		wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeUnknown, "busy")
		tries = 1
		_, err = calcAgain.Call(t.Context(), af.NewClient(app), calcArgs{5})
		wantError(t, err, af.ErrUnavailable, af.OutcomeNotSent, "busy")
	})
}

// redeliver calls next with a redelivered request.
func redeliver(next backend.Calls, ctx context.Context, req *backend.Request) (*backend.Reply, error) {
	redelivered := *req
	redelivered.Redelivered = true
	return next.Call(ctx, &redelivered)
}

func TestRedeliveredRequestIsRejectedUnlessIdempotent(t *testing.T) {
	app := serve(t, faulty(redeliver), double)
	_, err := call(t.Context(), app, 1)
	wantError(t, err, af.ErrUnavailable, af.OutcomeUnknown, "interrupted")
	if got, err := calcAgain.Call(t.Context(), af.NewClient(app), calcArgs{1}); got.Result != 2 || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

// An instance that does not handle a redelivered request can't tell whether another one has: neither if it is shut down
// during its start, nor if it is of a version without the method.
func TestOutcomeOfARefusedRedeliveredRequestIsUnknown(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		client := openStarted(t, altered{world, func(p *backend.Ports) {
			p.Calls = faultyCalls{p.Calls, redeliver}
		}})
		app := open(t, altered{world, func(p *backend.Ports) { p.Docs = slowDocs{p.Docs} }})
		registerCalc(app, &calc{double})
		af.HandleJob(app, "nightly", "@every 1h", func(context.Context, struct{}) error { return nil })
		result := starting(app)
		called := make(chan error, 1)
		go func() {
			_, err := call(t.Context(), client, 1)
			called <- err
		}()
		synctest.Wait()
		must(0, app.Shutdown(t.Context()))(t)
		wantError(t, <-called, af.ErrUnavailable, af.OutcomeUnknown, "has not started")
		if err := <-result; err == nil {
			t.Error("started")
		}
		serve(t, world, double)
		_, err := client.Call(t.Context(), "calc", "New", nil)
		wantError(t, err, af.ErrUnimplemented, af.OutcomeUnknown, "New")
	})
}

func TestSizeLimitsOfCalls(t *testing.T) {
	big := json.RawMessage(`{"y":"` + strings.Repeat("y", backend.MaxMessage) + `"}`)
	app := serve(t, memory.New(), double)
	_, err := app.Call(t.Context(), "calc", "Do", big)
	wantError(t, err, af.ErrResourceExhausted, af.OutcomeNotSent, "at most 4194304")

	app = serve(t, memory.New(), double, af.ServerMiddleware(func(af.Handler) af.Handler {
		return func(context.Context, *af.Request) (json.RawMessage, error) { return big, nil }
	}))
	_, err = call(t.Context(), app, 1)
	wantError(t, err, af.ErrResourceExhausted, af.OutcomeAnswered, "at most 4194304")

	grown := faulty(func(next backend.Calls, ctx context.Context, req *backend.Request) (*backend.Reply, error) {
		more := *req
		more.Body = big
		return next.Call(ctx, &more)
	})
	_, err = call(t.Context(), serve(t, grown, double), 1)
	wantError(t, err, af.ErrResourceExhausted, af.OutcomeAnswered, "at most 4194304")

	_, err = call(af.WithMetadata(t.Context(), "k", strings.Repeat("v", backend.MaxMetadata)), app, 1)
	wantError(t, err, af.ErrResourceExhausted, af.OutcomeNotSent, "metadata")
	_, err = call(af.WithMetadata(t.Context(), "", "v"), app, 1)
	wantError(t, err, af.ErrInvalidArgument, af.OutcomeNotSent, "metadata")
}

func TestArgumentsAreEncodedAsAddressableValues(t *testing.T) {
	app := serve(t, memory.New(), double)
	var args, want = struct{ X pointerMarshaler }{}, `{"X":"by pointer"}`
	var got string
	spy := af.CallerFunc(func(ctx context.Context, c af.Call) (json.RawMessage, error) {
		got = string(c.Args)
		return app.Invoke(ctx, af.Call{Service: "calc", Method: "Do", Args: json.RawMessage("{}")})
	})
	m := af.Method[struct{ X pointerMarshaler }, calcReply]{Service: "calc", Name: "Do"}
	if _, err := m.Call(t.Context(), af.NewClient(spy), args); err != nil || got != want {
		t.Errorf("sent %s, %v; want %s", got, err, want)
	}
}

type pointerMarshaler struct{ _ int }

func (*pointerMarshaler) MarshalJSON() ([]byte, error) { return []byte(`"by pointer"`), nil }

func TestHTMLIsNotEscaped(t *testing.T) {
	var got string
	spy := af.CallerFunc(func(_ context.Context, c af.Call) (json.RawMessage, error) {
		got = string(c.Args)
		return json.RawMessage("{}"), nil
	})
	m := af.Method[struct{ S string }, struct{}]{Service: "s", Name: "m"}
	_, err := m.Call(t.Context(), af.NewClient(spy), struct{ S string }{"<a&b>"})
	if err != nil || got != `{"S":"<a&b>"}` {
		t.Errorf("sent %s, %v", got, err)
	}
}
