package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// receiving runs Receive in a goroutine, and returns a channel for its result.
func receiving(ctx context.Context, app *af.App, queue string,
	fn func(context.Context, json.RawMessage) error, opts ...af.ReceiveOption) <-chan error {
	done := make(chan error, 1)
	go func() { done <- app.Receive(ctx, queue, fn, opts...) }()
	return done
}

func TestMessageIsDeliveredOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		sender, receiver := openStarted(t, world), openStarted(t, world)
		if err := sender.Send(t.Context(), "orders", map[string]int{"n": 1}); err != nil { // before the first Receive
			t.Fatal(err)
		}
		var got []string
		done := receiving(t.Context(), receiver, "orders", func(ctx context.Context, body json.RawMessage) error {
			got = append(got, string(body))
			if in := af.InstanceFrom(ctx); in != receiver.Instance() {
				t.Errorf("instance %+v", in)
			}
			return nil
		})
		if err := sender.Send(t.Context(), "orders", json.RawMessage(`"<two>"`)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		shutdown(t, receiver)
		if err := <-done; err != nil {
			t.Errorf("Receive: %v", err)
		}
		if s := strings.Join(got, " "); s != `{"n":1} "<two>"` {
			t.Errorf("got %s", s)
		}
		shutdown(t, sender)
	})
}

func shutdown(t *testing.T, app *af.App) {
	t.Helper()
	if err := app.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

// A rejected message is redelivered with growing delays, and in the end moved to the dead-letter queue. Other messages
// are delivered meanwhile.
func TestRejectedMessageIsRedelivered(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var lines log
		app := open(t, memory.New(), lines.option())
		start(t, app)
		begun, seen := time.Now(), map[string]int{}
		var fine time.Duration
		var mu sync.Mutex // guards seen and fine
		done := receiving(t.Context(), app, "q", func(ctx context.Context, body json.RawMessage) error {
			mu.Lock()
			defer mu.Unlock()
			seen[string(body)]++
			if m := af.MessageFrom(ctx); m.Queue != "q" || m.Attempt != seen[string(body)] || m.Dead != nil {
				t.Errorf("message %+v, delivery %d", m, seen[string(body)])
			}
			switch {
			case string(body) == `"panics"` && seen[`"panics"`] == 1:
				panic("at the first")
			case string(body) == `"poison"`:
				return errors.New("never")
			case string(body) == `"permanent"`:
				return af.Permanent(errors.New("not this one"))
			}
			fine = time.Since(begun)
			return nil
		})
		for _, s := range []string{"poison", "panics", "permanent", "fine"} {
			if err := app.Send(t.Context(), "q", s); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		mu.Lock()
		if n := seen[`"poison"`]; n < 8 || n > 12 {
			t.Errorf("the rejected message was delivered %d times in a minute", n)
		}
		if fine > time.Second {
			t.Errorf("others had to wait for %v", fine)
		}
		mu.Unlock()
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		mu.Lock()
		if seen[`"panics"`] != 2 || seen[`"permanent"`] != 1 || seen[`"fine"`] != 1 || seen[`"poison"`] != 20 {
			t.Errorf("seen %v", seen)
		}
		mu.Unlock()
		dead := map[string]*af.DeadLetter{}
		receiving(t.Context(), app, "q.dead", func(ctx context.Context, body json.RawMessage) error {
			dead[string(body)] = af.MessageFrom(ctx).Dead
			return nil
		})
		synctest.Wait()
		shutdown(t, app)
		if err := <-done; err != nil {
			t.Errorf("Receive: %v", err)
		}
		wantDead(t, dead[`"poison"`], af.DeadAttempts, 20, af.ErrUnknown, "never")
		wantDead(t, dead[`"permanent"`], af.DeadPermanent, 1, af.ErrUnknown, "not this one")
		if d := dead[`"poison"`]; d == nil || d.First.Sub(begun) > time.Second || d.Last.Sub(begun) < 8*time.Minute {
			t.Errorf("begun at %v, %+v", begun, d)
		}
		if len(dead) != 2 {
			t.Errorf("dead letters %v", dead)
		}
		for _, text := range []string{"panic in a receiver", "will be redelivered", "rejected permanently",
			"moved to the dead-letter queue", `"dead":"q.dead"`, `"raw":"q"`, `"attempt":20`, app.Instance().ID} {
			if !strings.Contains(lines.String(), text) {
				t.Errorf("the log lacks %q", text)
			}
		}
	})
}

func wantDead(t *testing.T, d *af.DeadLetter, why af.DeadReason, attempts int, code af.Code, message string) {
	t.Helper()
	if d == nil || d.Queue != "q" || d.Reason != why || d.Attempts != attempts || d.Code != code || d.Message != message {
		t.Errorf("dead letter %+v, want %s, %d attempts, %s %q", d, why, attempts, code, message)
	}
}

func TestSendAndReceiveErrors(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app := open(t, memory.New())
		fine := func(context.Context, json.RawMessage) error { return nil }
		wantError(t, app.Send(t.Context(), "q", 1), af.ErrFailedPrecondition, af.OutcomeNotSent, "not been started")
		wantError(t, app.Receive(t.Context(), "q", fine), af.ErrFailedPrecondition, af.OutcomeNotSent, "not been started")
		start(t, app)
		wantError(t, app.Send(t.Context(), "", 1), af.ErrInvalidArgument, af.OutcomeNotSent, "the name is empty")
		wantError(t, app.Send(t.Context(), "q", func() {}), af.ErrInvalidArgument, af.OutcomeNotSent, "encoding a message")
		wantError(t, app.Send(t.Context(), "q", strings.Repeat("x", 4<<20)), af.ErrResourceExhausted, af.OutcomeNotSent,
			"at most 4194304")
		wantError(t, app.Receive(t.Context(), "q", nil), af.ErrInvalidArgument, af.OutcomeNotSent, "fn is nil")
		wantError(t, app.Receive(t.Context(), "q", fine, af.MaxAttempts(-1)), af.ErrInvalidArgument, af.OutcomeNotSent,
			"MaxAttempts -1 is negative")
		wantError(t, app.Receive(t.Context(), "q.dead", fine, af.MaxAttempts(1)), af.ErrInvalidArgument, af.OutcomeNotSent,
			"no effect")
		wantError(t, app.Requeue(t.Context(), nil), af.ErrFailedPrecondition, af.OutcomeNotSent, "handler of a dead letter")
		wantError(t, app.Send(af.WithMetadata(t.Context(), "k", strings.Repeat("v", 8<<10)), "q", 1),
			af.ErrResourceExhausted, af.OutcomeNotSent, "at most 8192")
		ctx, cancel := context.WithCancel(t.Context())
		done := receiving(ctx, app, "q", fine)
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || af.CodeOf(err) != af.ErrCanceled {
			t.Errorf("its context ended: %v", err)
		}
		shutdown(t, app)
		wantError(t, app.Receive(t.Context(), "q", fine), af.ErrFailedPrecondition, af.OutcomeNotSent, "shut down")
		wantError(t, app.Send(t.Context(), "q", 1), af.ErrFailedPrecondition, af.OutcomeNotSent, "shut down")
	})
}

// Shutdown lets the current message finish, which is then not redelivered, and takes no others.
func TestShutdownWaitsForCurrentMessage(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		app, other := openStarted(t, world), openStarted(t, world)
		var got, late []string
		var mu sync.Mutex
		done := receiving(t.Context(), app, "q", func(ctx context.Context, body json.RawMessage) error {
			time.Sleep(5 * time.Second)
			mu.Lock()
			defer mu.Unlock()
			got = append(got, string(body))
			return ctx.Err()
		})
		for n := range 2 {
			if err := other.Send(t.Context(), "q", n); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begun := time.Now()
		if err := app.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if d := time.Since(begun); d != 4*time.Second {
			t.Errorf("took %v", d)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		receiving(t.Context(), other, "q", func(_ context.Context, body json.RawMessage) error {
			late = append(late, string(body))
			return nil
		})
		time.Sleep(time.Minute)
		shutdown(t, other)
		if strings.Join(got, " ") != "0" || strings.Join(late, " ") != "1" {
			t.Errorf("%q were handled before, %q after", got, late)
		}
	})
}

// If a handler doesn't finish in time, its context ends with a cause and its message is redelivered.
func TestShutdownCancelsCurrentMessage(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		app, other := openStarted(t, world), openStarted(t, world)
		var cause error
		done := receiving(t.Context(), app, "q", func(ctx context.Context, _ json.RawMessage) error {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return cause
		})
		if err := other.Send(t.Context(), "q", "long"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := app.Shutdown(ctx); !errors.Is(err, af.ErrDeadlineExceeded) ||
			!strings.Contains(err.Error(), "1 raw messages") {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-done; err != nil || !errors.Is(cause, af.ErrUnavailable) {
			t.Errorf("Receive: %v, its handler's context: %v", err, cause)
		}
		again := make(chan string, 1)
		go func() {
			_ = af.ReceiveAs(t.Context(), other, "q", func(_ context.Context, s string) error {
				again <- s
				return nil
			})
		}()
		if s := <-again; s != "long" {
			t.Errorf("got %q", s)
		}
		shutdown(t, other)
	})
}

func TestMessageOfAnotherTypeIsRejected(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var lines log
		app := open(t, memory.New(), lines.option())
		start(t, app)
		var sum int
		go func() {
			_ = af.ReceiveAs(t.Context(), app, "q", func(_ context.Context, n int) error {
				sum += n
				return nil
			})
		}()
		for _, v := range []any{1, "two", 3} {
			if err := app.Send(t.Context(), "q", v); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		shutdown(t, app)
		if sum != 4 || !strings.Contains(lines.String(), "decoding a message") {
			t.Errorf("sum %d, log %s", sum, lines.String())
		}
	})
}

// A message that is sent waits in its queue until it is received, here or in another process.
func ExampleReceiveAs() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	app, err := af.Open(ctx, memory.New(), quiet())
	if err == nil {
		err = app.Start(ctx)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	type Order struct{ Item string }
	fmt.Println(app.Send(ctx, "orders", Order{"lamp"}))
	err = af.ReceiveAs(ctx, app, "orders", func(_ context.Context, o Order) error {
		fmt.Println("ordered:", o.Item)
		cancel() // stop after the first message
		return nil
	})
	fmt.Println(errors.Is(err, context.Canceled), app.Shutdown(context.Background()))
	// Output:
	// <nil>
	// ordered: lamp
	// true <nil>
}
