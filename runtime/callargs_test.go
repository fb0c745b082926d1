package runtime_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

type wideArgs struct {
	X      int    `json:"x"`
	Longer string `json:"longer,omitempty"`
	Not    int    `json:"-"`
	Plain  int
}

var wideDo = af.Method[wideArgs, calcReply]{Service: "calc", Name: "Do", Signature: "(x, longer, plain) (int)",
	Fingerprint: "f9"}

// A misspelt argument is rejected by the caller, based on the announcements of the instances. Nothing is sent.
func TestMisspeltArgumentIsRejected(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		var begun atomic.Int32
		count := func(_ context.Context, x int) (int, error) { begun.Add(1); return x, nil }
		serve(t, world, count)
		client := openStarted(t, world)
		do := func(args string) error {
			_, err := client.Call(t.Context(), "calc", "Do", json.RawMessage(args))
			return err
		}
		for _, args := range []string{`{"y":1}`, `{"":1}`, `{"xx":1,"z":2}`} {
			wantError(t, do(args), af.ErrInvalidArgument, af.OutcomeNotSent, "it takes x")
		}
		wantError(t, do(`{"y":1}`), af.ErrInvalidArgument, af.OutcomeNotSent, `calc.Do has no argument "y"`)
		if n := begun.Load(); n > 0 {
			t.Errorf("%d calls were sent", n)
		}
		for _, args := range []string{`{"x":1}`, `{"X":1}`, `{}`, `{"x":1,"more":2}`} {
			if err := do(args); err != nil {
				t.Errorf("%s: %v", args, err)
			}
		}

		// While two versions are running, arguments of either are accepted.
		wide := open(t, world)
		handle := func(ctx context.Context, c *calc, a wideArgs) (r calcReply, err error) {
			r.Result, err = c.do(ctx, a.X)
			return r, err
		}
		af.RegisterService(wide, calcService, &calc{count}, af.Bind(&wideDo, handle))
		start(t, wide)
		time.Sleep(11 * time.Second)
		for _, args := range []string{`{"longer":"x","plain":2,"x":1}`, `{"x":1,"Plain":2}`} {
			if err := do(args); err != nil {
				t.Errorf("%s: %v", args, err)
			}
		}
		wantError(t, do(`{"x":1,"lounger":"x"}`), af.ErrInvalidArgument, af.OutcomeNotSent, "it takes Plain, longer, x")
	})
}

// blindCoordinator is a Coordinator without a registry.
type blindCoordinator struct{ backend.Coordinator }

func (blindCoordinator) Present(context.Context, string) (map[string]json.RawMessage, error) {
	return nil, errDown
}

// If the registry is unavailable, or an instance announces no arguments, all arguments are accepted.
func TestUncheckedArgumentsAreAccepted(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		serve(t, world, double)
		blind := openStarted(t, altered{world, func(p *backend.Ports) { p.Coordinator = blindCoordinator{p.Coordinator} }})
		older := open(t, world)
		older.AddService(af.ServiceSpec{Service: af.Service{Name: "old", Type: "Old", Concurrency: 1},
			Methods: []af.MethodSpec{{
				Info:    af.MethodInfo{Name: "Do"},
				Handler: func(context.Context, *af.Request) (json.RawMessage, error) { return json.RawMessage(`{}`), nil },
			}}})
		start(t, older)
		if _, err := blind.Call(t.Context(), "calc", "Do", map[string]int{"y": 1}); err != nil {
			t.Error(err)
		}
		if _, err := openStarted(t, world).Call(t.Context(), "old", "Do", map[string]int{"y": 1}); err != nil {
			t.Error(err)
		}
	})
}
