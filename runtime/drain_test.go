package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// closed reports whether a channel is closed.
func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// The channel of Stopping is closed when Shutdown begins, also if the App was not started.
func TestStopping(t *testing.T) {
	for _, started := range []bool{true, false} {
		app := open(t, memory.New())
		if started {
			start(t, app)
		}
		if closed(app.Stopping()) {
			t.Errorf("started %t: closed before Shutdown", started)
		}
		if err := app.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if !closed(app.Stopping()) {
			t.Errorf("started %t: open after Shutdown", started)
		}
	}
}

// Draining works in handlers of all kinds. Its channel is closed when the drain begins, long before their contexts end.
func TestDrainingInHandlers(t *testing.T) {
	if af.Draining(t.Context()) != nil {
		t.Error("Draining outside of a handler is not nil")
	}
	bubble.Test(t, func(t *testing.T) {
		learned := make(chan string, 4)
		wait := func(ctx context.Context, what string) error {
			if closed(af.Draining(ctx)) {
				learned <- what + " too early"
			}
			select {
			case <-af.Draining(ctx):
				learned <- what
			case <-ctx.Done():
				learned <- what + " too late"
			}
			return ctx.Err()
		}
		app := open(t, memory.New())
		registerCalc(app, &calc{func(ctx context.Context, x int) (int, error) { return x, wait(ctx, "call") }})
		af.RegisterWorker(app, jobWorker, &job{func(ctx context.Context, n int) (int, error) { return n, wait(ctx, "task") }})
		af.HandleJob(app, "nightly", "@every 1h", func(ctx context.Context, _ struct{}) error { return wait(ctx, "job") })
		start(t, app)
		must(af.NewQueue[int, int](app, jobWorker).Submit(t.Context(), 1))(t)
		must(app.RunJob(t.Context(), "nightly"))(t)
		go call(t.Context(), app, 1, af.Timeout(time.Hour))
		if err := app.Send(t.Context(), "raw", 1); err != nil {
			t.Fatal(err)
		}
		go app.Receive(t.Context(), "raw", func(ctx context.Context, _ json.RawMessage) error { return wait(ctx, "message") })
		synctest.Wait()
		if err := app.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		got := map[string]bool{}
		for len(learned) > 0 {
			got[<-learned] = true
		}
		if len(got) != 4 || !got["call"] || !got["task"] || !got["job"] || !got["message"] {
			t.Errorf("closed in: %v", got)
		}
	})
}

// A stuckListener's Close blocks until until is closed.
type stuckListener struct {
	backend.Listener
	until <-chan struct{}
}

func (h stuckListener) Close() error {
	<-h.until
	return h.Listener.Close()
}

type stuckTransport struct {
	backend.Transport
	until <-chan struct{}
}

func (h stuckTransport) Listen(ctx context.Context, queue string, window int) (backend.Listener, error) {
	l, err := h.Transport.Listen(ctx, queue, window)
	return stuckListener{l, h.until}, err
}

// Shutdown returns 3 s after its context has ended, even if everything hangs.
func TestShutdownReturnsEvenIfEverythingHangs(t *testing.T) {
	const given = 5 * time.Second
	type world struct {
		backend *fault.Backend
		until   chan struct{}
		hang    map[string]bool
	}
	for _, what := range []string{"tasks", "calls", "messages", "store", "listener", "backend", "log",
		"tasks calls messages store", "tasks calls messages store listener backend log"} {
		t.Run(strings.ReplaceAll(what, " ", "_"), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := world{fault.New(fault.Around(memory.New()), 1, fault.Plan{}), make(chan struct{}), map[string]bool{}}
				for _, name := range strings.Fields(what) {
					w.hang[name] = true
				}
				defer func() {
					w.backend.Thaw()
					close(w.until)
					synctest.Wait()
				}()
				b := altered{w.backend, func(p *backend.Ports) {
					if w.hang["listener"] {
						p.Transport = stuckTransport{p.Transport, w.until}
					}
					if inner := p.Close; w.hang["backend"] {
						p.Close = func(ctx context.Context) error {
							<-w.until
							return inner(ctx)
						}
					}
				}}
				deaf := func(name string) func(context.Context, int) (int, error) {
					return func(ctx context.Context, n int) (int, error) {
						if w.hang[name] {
							<-w.until
						} else {
							<-af.Draining(ctx)
						}
						return n, nil
					}
				}
				app := open(t, b, af.LogTo(func() (slog.Handler, func() error, error) {
					return slog.DiscardHandler, func() error {
						if w.hang["log"] {
							<-w.until
						}
						return nil
					}, nil
				}))
				registerCalc(app, &calc{deaf("calls")})
				for i := range 3 { // several pools drain concurrently
					spec := jobWorker
					spec.Name += fmt.Sprint(i)
					af.RegisterWorker(app, spec, &job{deaf("tasks")})
				}
				start(t, app)
				for i := range 3 {
					spec := jobWorker
					spec.Name += fmt.Sprint(i)
					must(af.NewQueue[int, int](app, spec).SubmitMany(t.Context(), []int{1, 2}))(t)
				}
				go call(t.Context(), app, 1, af.Timeout(time.Hour))
				if err := app.Send(t.Context(), "raw", 1); err != nil {
					t.Fatal(err)
				}
				go app.Receive(t.Context(), "raw", func(ctx context.Context, _ json.RawMessage) error {
					_, err := deaf("messages")(ctx, 1)
					return err
				})
				synctest.Wait()
				if w.hang["store"] {
					w.backend.Freeze()
				}
				ctx, cancel := context.WithTimeout(t.Context(), given)
				defer cancel()
				begun := time.Now()
				err := app.Shutdown(ctx)
				if took := time.Since(begun); err == nil || took > given+3*time.Second {
					t.Errorf("%v after %v", err, took)
				}
			})
		})
	}
}

// A drain logs every five seconds what it waits for.
func TestDrainReportsWhatItWaitsFor(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var lines log
		app := open(t, memory.New(), lines.option())
		sleep := func(_ context.Context, n int) (int, error) {
			time.Sleep(time.Duration(n) * time.Second)
			return n, nil
		}
		registerCalc(app, &calc{sleep})
		af.RegisterWorker(app, jobWorker, &job{sleep})
		start(t, app)
		must(af.NewQueue[int, int](app, jobWorker).Submit(t.Context(), 8, af.TaskID("slow")))(t)
		must(af.NewQueue[int, int](app, jobWorker).Submit(t.Context(), 3, af.TaskID("quick")))(t)
		go call(t.Context(), app, 12, af.Timeout(time.Hour))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := app.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		type line struct {
			Msg, Tasks, Calls string
			Waited, Remaining time.Duration
		}
		var got []line
		for _, text := range strings.Split(strings.TrimSpace(lines.String()), "\n") {
			var l line
			if err := json.Unmarshal([]byte(text), &l); err != nil {
				t.Fatal(err)
			}
			if l.Msg == "draining" {
				got = append(got, l)
			}
		}
		want := []line{
			{"draining", "job: 1 (slow)", "calc: 1", 5 * time.Second, 15 * time.Second},
			{"draining", "", "calc: 1", 10 * time.Second, 10 * time.Second},
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// Three deploys in a row whose drain times out do not charge a long task.
func TestDeploysChargeNothing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		var id string
		for range 4 {
			app, q := work(t, world, jobWorker, func(ctx context.Context, _ int) (int, error) {
				select {
				case <-time.After(time.Hour):
					return 1, nil
				case <-ctx.Done():
					return 0, errors.New("cut short")
				}
			})
			if id == "" {
				id = must(q.Submit(t.Context(), 1))(t)
			}
			time.Sleep(time.Second)
			if task := must(q.Get(t.Context(), id))(t); task.Status != backend.StatusRunning || task.Attempt != 1 ||
				task.Crashes != 0 {
				t.Fatalf("%+v", task)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := app.Shutdown(ctx); err == nil {
				t.Error("no error after an incomplete drain")
			}
			cancel()
		}
	})
}
