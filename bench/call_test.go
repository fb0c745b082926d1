package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/latency"
	af "github.com/afgen/afgen/runtime"
)

// echo is a service that returns its arguments.
type echo struct{}

// callsOf starts an App that serves echo and another one, and returns a function that makes one call from the latter.
func callsOf(tb testing.TB, d *deployment) func() error {
	tb.Helper()
	method := &af.Method[payload, payload]{Service: d.name, Name: "Echo", Timeout: 30 * time.Second}
	d.start(tb, func(app *af.App) {
		af.RegisterService(app, af.Service{Name: d.name, Type: "Echo", Concurrency: 1024}, &echo{},
			af.Bind(method, func(_ context.Context, _ *echo, args payload) (payload, error) { return args, nil }))
	})
	client := af.NewClient(d.start(tb, nil))
	args, ctx := payload{"0123456789"}, tb.Context()
	return func() error {
		reply, err := method.Call(ctx, client, args)
		if err == nil && reply != args {
			err = fmt.Errorf("the reply is %q", reply.Text)
		}
		return err
	}
}

func BenchmarkCall(b *testing.B) {
	onEach(b, func(b *testing.B, k kind) {
		for _, callers := range []int{1, 64, 256} {
			b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
				latency.Calls(b, callers, callsOf(b, k.deploy(b)))
			})
		}
	})
}
