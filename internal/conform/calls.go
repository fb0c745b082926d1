package conform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	goruntime "runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
)

// Calls tests a carrier of calls.
func Calls(t *testing.T, open Open, o Options) {
	run(t, open, o, []behaviour{
		{"carries_request_and_reply", callCarries},
		{"error_is_an_answer", callAnswersError},
		{"no_instance_is_unavailable", callNoInstance}, // the call fails at once
		{"concurrency_limit", callConcurrency},         // calls beyond the limit wait
		{"waiting_call_not_sent", callWaitCancelled},   // a caller that gives up learns that its call was not sent
		{"cancelled_with_cause", callCanceled},         // the handler's context ends when the caller gives up
		{"deadline_reaches_handler", callDeadline},
		{"goexit_frees_slot", callGoexit}, // a handler may end its goroutine
		{"instances_share_calls", callShared},
		{"busy_instance_gets_bounded_queue", callAround}, // no more calls wait for an instance than it runs at once
		{"drain", callDrain},                             // an instance that drains finishes its calls and accepts no more
		{"close_cancels_with_cause", callClose},          // closing ends the contexts of running handlers
		{"many_calls_get_own_answers", callMany},
	})
}

func (w *world) serve(concurrency int, h backend.Handler) backend.Serving {
	w.Helper()
	s, err := w.Ports.Calls.Serve(w.ctx(), backend.Endpoint{
		Service: "s", Instance: backend.Instance{ID: w.next("instance")}, Concurrency: concurrency,
	}, h)
	w.must(err)
	w.Cleanup(func() { s.Close(errors.New("the test is over")) })
	return s
}

func (w *world) request() *backend.Request {
	return &backend.Request{Service: "s", Method: "M", ID: w.next("call"), Timeout: 1000 * w.o.Tick,
		Body: json.RawMessage(`{}`)}
}

func (w *world) call(ctx context.Context, req *backend.Request) (*backend.Reply, error) {
	return w.Ports.Calls.Call(ctx, req)
}

// wantOutcome checks the error of a call.
func (w *world) wantOutcome(err error, code backend.Code, o backend.Outcome) {
	w.Helper()
	w.wantCode(err, code)
	if e, ok := errors.AsType[*backend.Error](err); ok && e.Outcome != o {
		w.Errorf("%v: outcome %v, want %v", err, e.Outcome, o)
	}
}

func answer(_ context.Context, req *backend.Request, reply func(*backend.Reply)) {
	reply(&backend.Reply{Body: req.Body, Server: "me"})
}

// holding returns a Serving whose calls block until released, and a channel that receives when one begins.
func (w *world) holding(concurrency int) (s backend.Serving, began chan string, release chan struct{}) {
	began, release = make(chan string, 1000), make(chan struct{})
	return w.serve(concurrency, func(_ context.Context, req *backend.Request, reply func(*backend.Reply)) {
		began <- req.ID
		<-release
		reply(&backend.Reply{Body: req.Body})
	}), began, release
}

func callCarries(w *world) {
	var got *backend.Request
	w.serve(1, func(_ context.Context, req *backend.Request, reply func(*backend.Reply)) {
		got = req
		reply(&backend.Reply{Body: json.RawMessage(`{"r":[1,2]}`), Server: "me"})
	})
	req := w.request()
	req.Caller, req.Fingerprint, req.Body = "you", "print", json.RawMessage(`{"a":"ü"}`)
	req.Metadata, req.Headers = map[string]string{"user": "x"}, map[string]string{"traceparent": "y"}
	reply, err := w.call(w.ctx(), req)
	w.must(err)
	w.same("reply", reply, &backend.Reply{Body: json.RawMessage(`{"r":[1,2]}`), Server: "me"})
	if got.Timeout <= 0 || got.Timeout > req.Timeout {
		w.Errorf("time left %v of %v", got.Timeout, req.Timeout)
	}
	seen := *got
	seen.Timeout = req.Timeout
	w.same("request", &seen, req)
}

func callAnswersError(w *world) {
	w.serve(1, func(_ context.Context, _ *backend.Request, reply func(*backend.Reply)) {
		reply(&backend.Reply{Err: backend.NewError(backend.ErrNotFound, "no such thing",
			"detail").With(backend.OutcomeAnswered)})
	})
	reply, err := w.call(w.ctx(), w.request())
	w.must(err)
	d, _ := backend.Detail[string](reply.Err)
	if reply.Err == nil || reply.Err.Code != backend.ErrNotFound || reply.Err.Message != "no such thing" || d != "detail" {
		w.Errorf("%v, detail %q", reply.Err, d)
	}
}

func callNoInstance(w *world) {
	_, err := w.call(w.ctx(), w.request())
	w.wantOutcome(err, backend.ErrUnavailable, backend.OutcomeNotSent)
	if !errors.Is(err, backend.ErrNoInstance) {
		w.Errorf("%v doesn't say that there is no instance", err)
	}
	s := w.serve(1, answer)
	_, err = w.call(w.ctx(), w.request())
	w.must(err)
	w.must(s.Drain(w.ctx()))
	w.eventually("no instance again", func() bool {
		_, err := w.call(w.ctx(), w.request())
		return errors.Is(err, backend.ErrNoInstance)
	})
}

func callConcurrency(w *world) {
	const slots, calls = 3, 20
	var running, most atomic.Int32
	w.serve(slots, func(_ context.Context, _ *backend.Request, reply func(*backend.Reply)) {
		n := running.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		w.o.Sleep(w.o.Tick)
		running.Add(-1)
		reply(&backend.Reply{})
	})
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			if _, err := w.call(w.ctx(), w.request()); err != nil {
				w.Error(err)
			}
		})
	}
	wg.Wait()
	w.same("most at once", most.Load(), int32(slots))
}

// calling starts a call on a goroutine and returns a channel for its error.
func (w *world) calling() <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := w.call(w.ctx(), w.request())
		done <- err
	}()
	return done
}

func callWaitCancelled(w *world) {
	_, began, release := w.holding(1)
	first := w.calling()
	<-began
	ctx, cancel := context.WithTimeout(w.ctx(), 3*w.o.Tick)
	defer cancel()
	_, err := w.call(ctx, w.request())
	// A caller that can't know whether its queued request was handled reports an unknown outcome.
	if e, ok := errors.AsType[*backend.Error](err); !ok || e.Code != backend.ErrDeadlineExceeded ||
		e.Outcome == backend.OutcomeAnswered {
		w.Errorf("%v", err)
	}
	close(release)
	w.must(<-first)
	_, err = w.call(w.ctx(), w.request()) // the slot is free
	w.must(err)
}

func callCanceled(w *world) {
	began, cause := make(chan struct{}), make(chan error, 1)
	w.serve(1, func(ctx context.Context, _ *backend.Request, reply func(*backend.Reply)) {
		close(began)
		<-ctx.Done()
		cause <- context.Cause(ctx)
		reply(&backend.Reply{})
	})
	ctx, cancel := context.WithCancel(w.ctx())
	ended := make(chan error, 1)
	go func() {
		_, err := w.call(ctx, w.request())
		ended <- err
	}()
	<-began
	cancel()
	w.wantOutcome(<-ended, backend.ErrCanceled, backend.OutcomeUnknown)
	if c := <-cause; c == nil || backend.CodeOf(c) != backend.ErrCanceled {
		w.Errorf("cause %v", c)
	}
}

func callDeadline(w *world) {
	cause := make(chan error, 1)
	w.serve(1, func(ctx context.Context, _ *backend.Request, reply func(*backend.Reply)) {
		<-ctx.Done()
		cause <- context.Cause(ctx)
		reply(&backend.Reply{Body: json.RawMessage(`1`)})
	})
	req := w.request()
	req.Timeout = 3 * w.o.Tick
	reply, err := w.call(w.ctx(), req)
	w.must(err)
	w.same("a late answer is one", string(reply.Body), `1`)
	if c := <-cause; backend.CodeOf(c) != backend.ErrDeadlineExceeded {
		w.Errorf("cause %v", c)
	}
}

func callGoexit(w *world) {
	w.serve(1, func(_ context.Context, _ *backend.Request, reply func(*backend.Reply)) {
		defer reply(&backend.Reply{Err: backend.NewError(backend.ErrInternal, "it is gone")})
		goruntime.Goexit()
	})
	for range 3 {
		reply, err := w.call(w.ctx(), w.request())
		w.must(err)
		w.wantCode(reply.Err, backend.ErrInternal)
	}
}

func callShared(w *world) {
	var mu sync.Mutex
	served := map[string]int{}
	for i := range 3 {
		w.serve(2, func(_ context.Context, _ *backend.Request, reply func(*backend.Reply)) {
			mu.Lock()
			served[fmt.Sprint(i)]++
			mu.Unlock()
			w.o.Sleep(w.o.Tick / 4)
			reply(&backend.Reply{})
		})
	}
	many(w, func(int) error {
		_, err := w.call(w.ctx(), w.request())
		if err != nil {
			w.Error(err)
		}
		return err
	})
	if len(served) != 3 {
		w.Errorf("served %v", served)
	}
}

// callAround has an instance whose only slot is taken, and a free one. Of many concurrent calls, one may wait for the
// first instance, if sent before its load was known. The others must not.
func callAround(w *world) {
	const calls = 10
	_, began, release := w.holding(1)
	first := w.calling()
	<-began
	w.serve(1, answer)
	var answered atomic.Int32
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			if _, err := w.call(w.ctx(), w.request()); err != nil {
				w.Error(err)
			}
			answered.Add(1)
		})
	}
	w.eventually("the others are answered", func() bool { return answered.Load() >= calls-1 })
	if len(began) > 0 {
		w.Errorf("the busy instance has begun %d more", len(began))
	}
	close(release)
	w.must(<-first)
	wg.Wait()
}

func callDrain(w *world) {
	s, began, release := w.holding(1)
	first := w.calling()
	<-began
	ctx, cancel := context.WithTimeout(w.ctx(), 3*w.o.Tick)
	defer cancel()
	if err := s.Drain(ctx); err == nil {
		w.Error("drained while a call runs")
	}
	w.eventually("no new calls", func() bool {
		_, err := w.call(w.ctx(), w.request())
		return errors.Is(err, backend.ErrUnavailable)
	})
	close(release)
	w.must(s.Drain(w.ctx()))
	w.must(<-first)
	w.must(s.Drain(w.ctx()))
}

func callClose(w *world) {
	began, cause, why := make(chan struct{}), make(chan error, 1), errors.New("enough")
	s := w.serve(1, func(ctx context.Context, _ *backend.Request, reply func(*backend.Reply)) {
		close(began)
		<-ctx.Done()
		cause <- context.Cause(ctx)
		reply(&backend.Reply{})
	})
	ended := make(chan error, 1)
	go func() {
		_, err := w.call(w.ctx(), w.request())
		ended <- err
	}()
	<-began
	s.Close(why)
	if c := <-cause; !errors.Is(c, why) {
		w.Errorf("cause %v", c)
	}
	<-ended // with a reply or an error: both are correct
	s.Close(why)
}

func callMany(w *world) {
	w.serve(8, answer)
	got := many(w, func(i int) string {
		req := w.request()
		req.Body = json.RawMessage(fmt.Sprint(i))
		reply, err := w.call(w.ctx(), req)
		if err != nil {
			w.Error(err)
			return ""
		}
		return string(reply.Body)
	})
	for i, body := range got {
		w.same("answer", body, fmt.Sprint(i))
	}
}
