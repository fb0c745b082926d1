package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// pair returns an instance and a connected caller, in a bubble.
func pair(t *testing.T) (server, client *Mesh) {
	server, client = unstarted(t, Options{ID: "a"}), unstarted(t, Options{ID: "b", Resolve: always("a")})
	connectPair(t, client, server)
	return server, client
}

func TestCancelReachesHandlerWithCause(t *testing.T) {
	for name, where := range map[string]func(t *testing.T) (server, client *Mesh){
		"far":  pair,
		"near": func(t *testing.T) (server, client *Mesh) { m := unstarted(t, Options{ID: "a"}); return m, m },
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				a, b := where(t)
				started, cause := make(chan struct{}), make(chan error, 1)
				serve(a, 1, func(ctx context.Context, _ *backend.Request, reply func(*backend.Reply)) {
					close(started)
					<-ctx.Done()
					cause <- context.Cause(ctx)
					reply(&backend.Reply{})
				})
				ctx, cancel := context.WithCancelCause(t.Context())
				done := startCall(ctx, b, "1")
				<-started
				cancel(errors.New("test"))
				wantError(t, (<-done).err, backend.ErrCanceled, backend.OutcomeUnknown)
				if got := (<-cause).Error(); got != "canceled: the caller stopped waiting: test" {
					t.Errorf("cause %q", got)
				}
			})
		})
	}
}

func TestRequestTimeoutIsHandlerDeadline(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		a, b := pair(t)
		serve(a, 1, func(ctx context.Context, _ *backend.Request, reply func(*backend.Reply)) {
			d, _ := ctx.Deadline()
			body, _ := json.Marshal(time.Until(d))
			reply(&backend.Reply{Body: body})
		})
		req := request()
		req.Timeout = 1234567 * time.Microsecond
		r, err := b.Call(t.Context(), req)
		if err != nil || string(r.Body) != "1234567000" {
			t.Errorf("%v, %v", r, err)
		}
		req.Timeout = 0
		_, err = b.Call(t.Context(), req)
		wantError(t, err, backend.ErrDeadlineExceeded, backend.OutcomeNotSent)
	})
}

func TestDrainWaitsForRepliesToBeWritten(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m := unstarted(t, Options{ID: "m"})
		in := serve(m, 1, echo)
		s := connectFake(t, m, "s")
		s.sendRequest("1")
		synctest.Wait() // the handler has returned; the peer reads nothing yet
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := in.Drain(ctx)
		wantError(t, err, backend.ErrDeadlineExceeded, backend.OutcomeUnknown)
		if err != nil && !strings.Contains(err.Error(), "1 replies") {
			t.Error(err)
		}
		drained := make(chan error, 1)
		go func() { drained <- in.Drain(t.Context()) }()
		s.want(kindReply, "1")
		if err := <-drained; err != nil {
			t.Error(err)
		}
		s.sendRequest("2")
		if h := s.want(kindRefuse, "2"); h.error().Code != backend.ErrUnavailable {
			t.Errorf("%v", h.error())
		}
	})
}

func TestInvalidRequestFailsAtOnce(t *testing.T) {
	m := start(t, Options{ID: "m"})
	serve(m, 1, echo)
	for name, c := range map[string]struct {
		code  backend.Code
		spoil func(*backend.Request)
	}{
		"body_too_large": {backend.ErrResourceExhausted, func(r *backend.Request) {
			r.Body = make(json.RawMessage,
				backend.MaxMessage+1)
		}},
		"reserved_header": {backend.ErrInvalidArgument,
			func(r *backend.Request) { r.Headers = map[string]string{"af-code": "x"} }},
		"slash":     {backend.ErrInvalidArgument, func(r *backend.Request) { r.Service = "a/b" }},
		"no_method": {backend.ErrInvalidArgument, func(r *backend.Request) { r.Method = "" }},
		"long_name": {backend.ErrInvalidArgument, func(r *backend.Request) {
			r.Method = strings.Repeat("x",
				envelope.MaxShort)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			req := request()
			c.spoil(req)
			_, err := m.Call(t.Context(), req)
			wantError(t, err, c.code, backend.OutcomeNotSent)
		})
	}
}

func TestLargestBody(t *testing.T) {
	p := twoMeshes(t, false)
	if _, err := p.Calls.Serve(t.Context(), backend.Endpoint{Service: "s", Concurrency: 4}, echo); err != nil {
		t.Fatal(err)
	}
	req := request()
	req.Body = make(json.RawMessage, backend.MaxMessage)
	r, err := p.Calls.Call(t.Context(), req)
	if err != nil || len(r.Body) != len(req.Body) {
		t.Errorf("%v", err)
	}
}

func TestTooLargeReplyIsError(t *testing.T) {
	for name, p := range map[string]*backend.Ports{"far": twoMeshes(t, false), "near": oneMesh(t)} {
		t.Run(name, func(t *testing.T) {
			_, err := p.Calls.Serve(t.Context(), backend.Endpoint{Service: "s", Concurrency: 1},
				func(_ context.Context, _ *backend.Request, reply func(*backend.Reply)) {
					reply(&backend.Reply{Body: make(json.RawMessage, backend.MaxMessage+1)})
				})
			if err != nil {
				t.Fatal(err)
			}
			r, err := p.Calls.Call(t.Context(), request())
			if err != nil {
				t.Fatal(err)
			}
			wantError(t, r.Err, backend.ErrResourceExhausted, backend.OutcomeAnswered)
		})
	}
}

func TestMissingReplyIsError(t *testing.T) {
	p := twoMeshes(t, false)
	if _, err := p.Calls.Serve(t.Context(), backend.Endpoint{Service: "s", Concurrency: 1},
		func(context.Context, *backend.Request, func(*backend.Reply)) {}); err != nil {
		t.Fatal(err)
	}
	r, err := p.Calls.Call(t.Context(), request())
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, r.Err, backend.ErrInternal, backend.OutcomeAnswered)
}

// Caller and handler share no maps, and the cause of an error is not passed on, even in one process.
func TestLocalCallsShareNothing(t *testing.T) {
	p := oneMesh(t)
	_, err := p.Calls.Serve(t.Context(), backend.Endpoint{Service: "s", Concurrency: 1},
		func(_ context.Context, req *backend.Request, reply func(*backend.Reply)) {
			req.Metadata["a"], req.Headers["b"] = "changed", "changed"
			reply(&backend.Reply{Err: backend.Errorf(backend.ErrInternal, "%w", errors.ErrUnsupported)})
		})
	if err != nil {
		t.Fatal(err)
	}
	req := request()
	req.Metadata, req.Headers = map[string]string{"a": "1"}, map[string]string{"b": "2"}
	want := *req
	want.Metadata, want.Headers = map[string]string{"a": "1"}, map[string]string{"b": "2"}
	r, err := p.Calls.Call(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&want, req); d != "" {
		t.Error(d)
	}
	if errors.Is(r.Err, errors.ErrUnsupported) || r.Err.Code != backend.ErrInternal {
		t.Errorf("%v", r.Err)
	}
}

func TestCallsGoToLeastLoadedInstance(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		a, b := unstarted(t, Options{ID: "a"}), unstarted(t, Options{ID: "b"})
		c := unstarted(t, Options{ID: "c", Resolve: always("a", "b", "c")})
		connectPair(t, c, a)
		connectPair(t, c, b)
		release := make(chan struct{})
		var started [3]chan string
		for i, m := range []*Mesh{a, b, c} {
			_, started[i], release = holdUntil(m, 100, release)
		}
		var done []chan result
		for range 30 {
			done = append(done, startCall(t.Context(), c, "x"))
			synctest.Wait()
		}
		for i := range started {
			if n := len(started[i]); n != 10 {
				t.Errorf("instance %d has %d of 30 calls", i, n)
			}
		}
		close(release)
		for _, d := range done {
			<-d
		}
	})
}

func TestUnreachableInstanceIsDialedOnce(t *testing.T) {
	var dialed, fresh atomic.Int32
	m := start(t, Options{
		ID: "m",
		Resolve: func(_ context.Context, _ string, f bool) ([]string, error) {
			if f {
				fresh.Add(1)
			}
			return []string{"x"}, nil
		},
		Dial: func(context.Context, string) error { dialed.Add(1); return errors.New("no") },
	})
	_, err := m.Call(t.Context(), request())
	wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
	if !errors.Is(err, backend.ErrNoInstance) || dialed.Load() != 1 || fresh.Load() != 1 {
		t.Errorf("%v, dialed %d times, resolved afresh %d times", err, dialed.Load(), fresh.Load())
	}
}

// While dialing one instance hangs, another one that becomes free takes the call.
func TestHangingDialBlocksNoCall(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		a := unstarted(t, Options{ID: "a"})
		m := unstarted(t, Options{ID: "m", Resolve: always("a", "x"), Dial: func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		connectPair(t, m, a)
		_, started, release := hold(a, 1)
		first := startCall(t.Context(), m, "first")
		<-started
		ctx, cancel := context.WithCancel(t.Context())
		second := startCall(ctx, m, "second")
		synctest.Wait()
		close(release)
		<-first
		if r := <-second; r.err != nil {
			t.Error(r.err)
		}
		cancel()
	})
}

func TestResolveErrorIsReturned(t *testing.T) {
	for want, err := range map[backend.Code]error{
		backend.ErrUnavailable:        errors.New("disk I/O error"),
		backend.ErrDataLoss:           backend.NewError(backend.ErrDataLoss, "the file is gone"),
		backend.ErrFailedPrecondition: backend.ErrFailedPrecondition,
	} {
		m := start(t, Options{ID: "m", Resolve: func(context.Context, string, bool) ([]string, error) { return nil, err }})
		_, got := m.Call(t.Context(), request())
		wantError(t, got, want, backend.OutcomeNotSent)
	}
}

func TestCloseFailsCallsInFlight(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		a, b := pair(t)
		_, started, release := hold(a, 1)
		runs := startCall(t.Context(), b, "runs")
		<-started
		waits := startCall(t.Context(), b, "waits")
		near := startCall(t.Context(), a, "near")
		synctest.Wait()
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
		wantError(t, (<-runs).err, backend.ErrUnavailable, backend.OutcomeUnknown)
		wantError(t, (<-waits).err, backend.ErrUnavailable, backend.OutcomeNotSent)
		if err := a.Close(t.Context()); err != nil {
			t.Error(err)
		}
		wantError(t, (<-near).err, backend.ErrUnavailable, backend.OutcomeNotSent)
		for _, m := range []*Mesh{a, b} {
			_, err := m.Call(t.Context(), request())
			wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
			if err := m.Connect(t.Context(), Address{ID: "x", Token: newToken()}); !errors.Is(err, backend.ErrUnavailable) {
				t.Error(err)
			}
			if err := serve(m, 1, echo).Drain(t.Context()); err != nil {
				t.Error(err)
			}
			if err := m.Close(t.Context()); err != nil {
				t.Errorf("again: %v", err)
			}
		}
		close(release)
	})
}
