package memory_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	goruntime "runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func join(t *testing.T, mem *memory.Backend, id string) *backend.Ports {
	t.Helper()
	ports, err := mem.Open(t.Context(), backend.Env{Instance: backend.Instance{ID: id},
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return ports
}

func serve(t *testing.T, ports *backend.Ports, concurrency int, h backend.Handler) backend.Serving {
	t.Helper()
	s, err := ports.Calls.Serve(t.Context(), backend.Endpoint{Service: "s", Concurrency: concurrency}, h)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var request = &backend.Request{Service: "s", Method: "m", Timeout: time.Hour}

func TestWaitingCallsAreFIFO(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ports := join(t, memory.New(), "a")
		var order []string
		serve(t, ports, 1, func(_ context.Context, req *backend.Request, reply func(*backend.Reply)) {
			time.Sleep(time.Second)
			order = append(order, req.ID)
			reply(&backend.Reply{})
		})
		var want []string
		var wg sync.WaitGroup
		for i := range 10 {
			req := *request
			req.ID = fmt.Sprint(i)
			want = append(want, req.ID)
			wg.Go(func() {
				if _, err := ports.Calls.Call(t.Context(), &req); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		if !slices.Equal(order, want) {
			t.Errorf("order %v", order)
		}
	})
}

func TestLastInstanceToDrainFailsWaitingCalls(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ports := join(t, memory.New(), "a")
		s := serve(t, ports, 1, func(_ context.Context, _ *backend.Request, reply func(*backend.Reply)) {
			time.Sleep(time.Second)
			reply(&backend.Reply{})
		})
		errs := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := ports.Calls.Call(t.Context(), request)
				errs <- err
			}()
		}
		synctest.Wait()
		if err := s.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		first, second := <-errs, <-errs
		if first == nil {
			first, second = second, first
		}
		if e, ok := errors.AsType[*backend.Error](first); !ok || e.Outcome != backend.OutcomeNotSent ||
			!errors.Is(e, backend.ErrNoInstance) {
			t.Errorf("waiting call: %v", first)
		}
		if second != nil {
			t.Errorf("running call: %v", second)
		}
	})
}

func TestNewInstanceTakesWaitingCalls(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ports := join(t, memory.New(), "a")
		release := make(chan struct{})
		h := func(_ context.Context, _ *backend.Request, reply func(*backend.Reply)) {
			<-release
			reply(&backend.Reply{})
		}
		serve(t, ports, 1, h)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if _, err := ports.Calls.Call(t.Context(), request); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		taken := 0
		serve(t, ports, 1, func(ctx context.Context, req *backend.Request, reply func(*backend.Reply)) {
			taken++
			h(ctx, req, reply)
		})
		synctest.Wait()
		if taken != 1 {
			t.Errorf("the new instance runs %d calls, want 1", taken)
		}
		close(release)
		wg.Wait()
	})
}

func TestGoexitInHandlerReleasesSlot(t *testing.T) {
	ports := join(t, memory.New(), "a")
	serve(t, ports, 1, func(_ context.Context, _ *backend.Request, reply func(*backend.Reply)) {
		defer reply(&backend.Reply{})
		goruntime.Goexit()
	})
	for range 3 {
		if _, err := ports.Calls.Call(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCallsFailWhenCallerCloses(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		mem := memory.New()
		server, client := join(t, mem, "a"), join(t, mem, "b")
		release := make(chan struct{})
		serve(t, server, 1, func(_ context.Context, _ *backend.Request, reply func(*backend.Reply)) {
			<-release
			reply(&backend.Reply{})
		})
		errs := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := client.Calls.Call(t.Context(), request)
				errs <- err
			}()
		}
		synctest.Wait()
		if err := client.Close(t.Context()); err != nil {
			t.Error(err)
		}
		outcomes := map[backend.Outcome]int{}
		for range 2 {
			e, ok := errors.AsType[*backend.Error](<-errs)
			if !ok || e.Code != backend.ErrUnavailable {
				t.Fatalf("%v", e)
			}
			outcomes[e.Outcome]++
		}
		if outcomes[backend.OutcomeNotSent] != 1 || outcomes[backend.OutcomeUnknown] != 1 {
			t.Errorf("outcomes %v", outcomes)
		}
		close(release)
	})
}

// Callers start and time out at random while instances start and drain. In the end all slots are free and no call
// hangs.
func TestSlotsSurviveChurn(t *testing.T) {
	for seed := range uint64(200) {
		bubble.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			mem := memory.New()
			ports := join(t, mem, "a")
			h := func(ctx context.Context, req *backend.Request, reply func(*backend.Reply)) {
				defer reply(&backend.Reply{})
				select {
				case <-time.After(req.Timeout / 1000):
				case <-ctx.Done():
				}
			}
			const slots = 3
			first := serve(t, ports, slots, h)
			var wg sync.WaitGroup
			for range 100 {
				pause, timeout := time.Duration(r.IntN(50))*time.Millisecond, time.Duration(1+r.IntN(40))*time.Millisecond
				req := *request
				req.Timeout = time.Duration(1+r.IntN(20)) * time.Second
				wg.Go(func() {
					time.Sleep(pause)
					ctx, cancel := context.WithTimeout(t.Context(), timeout)
					defer cancel()
					_, _ = ports.Calls.Call(ctx, &req) // any result is fine
				})
			}
			for range 5 {
				come, leave := time.Duration(r.IntN(50))*time.Millisecond, time.Duration(r.IntN(20))*time.Millisecond
				wg.Go(func() {
					time.Sleep(come)
					s := serve(t, join(t, mem, "b"), 1, h)
					time.Sleep(leave)
					if err := s.Drain(t.Context()); err != nil {
						t.Errorf("seed %d: %v", seed, err)
					}
				})
			}
			wg.Wait()
			synctest.Wait()
			// All slots are free: that many calls run at once, and one more waits.
			release := make(chan struct{})
			if err := first.Drain(t.Context()); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			running := 0
			serve(t, ports, slots, func(_ context.Context, _ *backend.Request, reply func(*backend.Reply)) {
				running++
				<-release
				reply(&backend.Reply{})
			})
			for range slots + 1 {
				wg.Go(func() {
					if _, err := ports.Calls.Call(t.Context(), request); err != nil {
						t.Errorf("seed %d: %v", seed, err)
					}
				})
				synctest.Wait()
			}
			if running != slots {
				t.Errorf("seed %d: %d run, want %d", seed, running, slots)
			}
			close(release)
			wg.Wait()
		})
	}
}
