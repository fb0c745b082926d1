package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// The examples use the examples' idea of a generated service: what generated code would declare is in calc_test.go.

func quiet() af.AppOption { return af.Logger(slog.New(slog.DiscardHandler)) }

// One App serves and calls. In a program of its own each would open the same backend.
func Example() {
	ctx := context.Background()
	app, err := af.Open(ctx, memory.New(), quiet())
	if err != nil {
		fmt.Println(err)
		return
	}
	registerCalc(app, &calc{do: func(_ context.Context, x int) (int, error) { return 2 * x, nil }})
	if err := app.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}
	reply, err := app.Call(ctx, "calc", "Do", map[string]int{"x": 21})
	fmt.Println(string(reply), err)
	fmt.Println(app.Shutdown(ctx))
	// Output:
	// {"result":42} <nil>
	// <nil>
}

// A handler returns a code with details; the caller tells by errors.Is what happened and reads the details by type.
func ExampleDetail() {
	type Quota struct{ Limit, Used int }
	err := error(af.NewError(af.ErrResourceExhausted, "too many pictures", Quota{Limit: 10, Used: 10}))

	if quota, ok := af.Detail[Quota](err); ok && errors.Is(err, af.ErrResourceExhausted) {
		fmt.Println(err, quota.Limit)
	}
	// Output: resource_exhausted: too many pictures 10
}

// A middleware is a plain function. This one times calls; tracing would add Headers the same way.
func ExampleClientMiddleware() {
	ctx := context.Background()
	timing := func(next af.Caller) af.Caller {
		return af.CallerFunc(func(ctx context.Context, call af.Call) (json.RawMessage, error) {
			begun := time.Now()
			reply, err := next.Invoke(ctx, call)
			fmt.Printf("%s.%s took time: %v, code %q\n", call.Service, call.Method, time.Since(begun) > 0, af.CodeOf(err))
			return reply, err
		})
	}
	app, err := af.Open(ctx, memory.New(), quiet(), af.ClientMiddleware(timing))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer app.Shutdown(ctx)
	if err := app.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}
	_, err = app.Call(ctx, "nobody", "Do", nil)
	fmt.Println(err)
	// Output:
	// nobody.Do took time: true, code "unavailable"
	// unavailable: no instance of service "nobody" is running
}
