package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

const messageTrace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// The metadata and the trace of the sender's context are those of the handler's, for each delivery and for dead
// letters. A handler doesn't pass its metadata on.
func TestMessageCarriesMetadataAndTrace(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var lines log
		app := open(t, memory.New(), lines.option())
		start(t, app)
		seen := map[string]int{}
		var mu sync.Mutex // guards seen
		count := func(queue string) int {
			mu.Lock()
			defer mu.Unlock()
			seen[queue]++
			return seen[queue]
		}
		see := func(ctx context.Context) int {
			m := af.MessageFrom(ctx)
			if md := af.MetadataFrom(ctx); !maps.Equal(md, af.Metadata{"tenant": "ann"}) || af.TraceFrom(ctx) != messageTrace {
				t.Errorf("%+v has metadata %v and trace %q", m, md, af.TraceFrom(ctx))
			}
			return count(m.Queue)
		}
		receiving(t.Context(), app, "q", func(ctx context.Context, body json.RawMessage) error {
			n := see(ctx)
			if n == 1 {
				af.LoggerFrom(ctx).Info("handling")
				if err := app.Send(ctx, "next", 1); err != nil {
					t.Error(err)
				}
			}
			if n < 4 {
				return errors.New("not yet")
			}
			return nil
		}, af.MaxAttempts(2))
		receiving(t.Context(), app, "q.dead", func(ctx context.Context, body json.RawMessage) error {
			see(ctx)
			return app.Requeue(ctx, body)
		})
		receiving(t.Context(), app, "next", func(ctx context.Context, body json.RawMessage) error {
			count("next")
			if md := af.MetadataFrom(ctx); len(md) > 0 || af.TraceFrom(ctx) != messageTrace {
				t.Errorf("metadata %v, trace %q", md, af.TraceFrom(ctx))
			}
			return nil
		})
		ctx := af.WithTrace(af.WithMetadata(t.Context(), "tenant", "ann"), messageTrace)
		if err := app.Send(ctx, "q", 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		shutdown(t, app)
		if seen["q"] != 4 || seen["q.dead"] != 1 || seen["next"] != 1 {
			t.Errorf("seen %v", seen)
		}
		if r := lines.record(t, "handling"); r["trace"] != messageTrace[3:35] || r["attempt"] != 1.0 {
			t.Errorf("logged %v", r)
		}
	})
}

// A message whose last delivery had no result is moved without another one. It may be what kills its receivers.
func TestMessageWithoutAttemptsIsNotDelivered(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		app := openStarted(t, world)
		ports, err := world.Open(t.Context(), backend.Env{})
		if err != nil {
			t.Fatal(err)
		}
		if err := app.Send(t.Context(), "q", 1); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		deliveries := 0
		_ = ports.Transport.Receive(ctx, "q", func(context.Context, *backend.Message) backend.Handled {
			if deliveries++; deliveries == 3 {
				cancel()
			}
			return backend.Handled{}
		})
		receiving(t.Context(), app, "q", func(context.Context, json.RawMessage) error {
			t.Error("it was delivered")
			return nil
		}, af.MaxAttempts(3))
		var dead *af.DeadLetter
		receiving(t.Context(), app, "q.dead", func(ctx context.Context, _ json.RawMessage) error {
			dead = af.MessageFrom(ctx).Dead
			return nil
		})
		time.Sleep(time.Minute)
		shutdown(t, app)
		wantDead(t, dead, af.DeadCrash, 4, af.ErrAborted, "the last delivery ended without a result")
	})
}

// A full dead-letter queue refuses messages. They stay in their queue, are tried every minute, and delay no others.
func TestFullDeadLetterQueueLosesNothing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var lines log
		app := open(t, memory.New(), lines.option())
		start(t, app)
		for range backend.MaxDead {
			if err := app.Send(t.Context(), "q.dead", 1); err != nil {
				t.Fatal(err)
			}
		}
		wantError(t, app.Send(t.Context(), "q.dead", 1), af.ErrResourceExhausted, af.OutcomeNotSent, "q.dead")
		seen := map[string]int{}
		var mu sync.Mutex // guards seen
		receiving(t.Context(), app, "q", func(_ context.Context, body json.RawMessage) error {
			mu.Lock()
			defer mu.Unlock()
			if seen[string(body)]++; string(body) == "1" {
				return af.Permanent(errors.New("no"))
			}
			return nil
		})
		for n := range 3 {
			if err := app.Send(t.Context(), "q", n); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		mu.Lock()
		if n := seen["1"]; n < 8 || n > 14 || seen["0"] != 1 || seen["2"] != 1 {
			t.Errorf("seen %v", seen)
		}
		mu.Unlock()
		if !strings.Contains(lines.String(), "cannot move raw message to the dead-letter queue") {
			t.Error("it is not logged")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := receiving(ctx, app, "q.dead", func(context.Context, json.RawMessage) error { return nil })
		time.Sleep(5 * time.Minute)
		cancel()
		<-done
		synctest.Wait()
		mu.Lock()
		n := seen["1"]
		mu.Unlock()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		mu.Lock()
		if seen["1"] != n {
			t.Error("the message was not moved once the queue had space")
		}
		mu.Unlock()
		shutdown(t, app)
	})
}

// The errors of dead letters are redacted as those of tasks.
func TestDeadLettersAreRedacted(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app := open(t, memory.New(), af.RedactErrors())
		start(t, app)
		receiving(t.Context(), app, "q", func(context.Context, json.RawMessage) error {
			return af.Permanent(errors.New("secret"))
		})
		if err := app.Send(t.Context(), "q", 1); err != nil {
			t.Fatal(err)
		}
		var dead *af.DeadLetter
		receiving(t.Context(), app, "q.dead", func(ctx context.Context, _ json.RawMessage) error {
			dead = af.MessageFrom(ctx).Dead
			return nil
		})
		synctest.Wait()
		shutdown(t, app)
		wantDead(t, dead, af.DeadPermanent, 1, af.ErrUnknown, "the handler failed")
	})
}

// Dead letters stay in their queue until a handler accepts them, whatever it returns.
func TestDeadLettersAreNotMovedFurther(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app := openStarted(t, memory.New())
		if err := app.Send(t.Context(), "q.dead", 1); err != nil {
			t.Fatal(err)
		}
		n := 0
		receiving(t.Context(), app, "q.dead", func(context.Context, json.RawMessage) error {
			if n++; n%2 == 0 {
				return errors.New("no")
			}
			return af.Permanent(errors.New("no"))
		})
		receiving(t.Context(), app, "q.dead.dead", func(context.Context, json.RawMessage) error {
			t.Error("it was moved")
			return nil
		})
		time.Sleep(time.Hour)
		shutdown(t, app)
		if n < 50 {
			t.Errorf("delivered %d times in an hour", n)
		}
	})
}

// A message whose handler fails three times is moved to the dead-letter queue, repaired, and sent back.
func ExampleApp_Requeue() {
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
	receive := func() error {
		return af.ReceiveAs(ctx, app, "orders", func(_ context.Context, o Order) error {
			if o.Item == "" {
				return errors.New("an order without an item")
			}
			fmt.Println("ordered:", o.Item)
			cancel()
			return nil
		}, af.MaxAttempts(3))
	}
	repair := func() error {
		return app.Receive(ctx, "orders.dead", func(ctx context.Context, body json.RawMessage) error {
			dead := af.MessageFrom(ctx).Dead
			fmt.Printf("dead after %d %s: %s\n", dead.Attempts, dead.Reason, dead.Message)
			return app.Requeue(ctx, json.RawMessage(`{"Item":"lamp"}`))
		})
	}
	if err := app.Send(ctx, "orders", Order{}); err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan error)
	go func() { done <- repair() }()
	_ = receive()
	<-done
	_ = app.Shutdown(context.Background())
	// Output:
	// dead after 3 attempts: an order without an item
	// ordered: lamp
}
