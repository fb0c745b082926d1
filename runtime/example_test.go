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

// The service calc of these examples is declared in calc_test.go, as in generated code.

func quiet() af.AppOption { return af.Logger(slog.New(slog.DiscardHandler)) }

// One App serves a method and calls it. In a program these are usually two processes, each with an App on the same
// backend.
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

// A handler returns a code with details. The caller checks the code with errors.Is and reads the details by their type.
func ExampleDetail() {
	type Quota struct{ Limit, Used int }
	err := error(af.NewError(af.ErrResourceExhausted, "too many pictures", Quota{Limit: 10, Used: 10}))

	if quota, ok := af.Detail[Quota](err); ok && errors.Is(err, af.ErrResourceExhausted) {
		fmt.Println(err, quota.Limit)
	}
	// Output: resource_exhausted: too many pictures 10
}

// Run a function every day. All instances together run it once.
func ExampleHandleJob() {
	ctx := context.Background()
	app, err := af.Open(ctx, memory.New(), quiet())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer app.Shutdown(ctx)
	removeOld := func(ctx context.Context, age time.Duration) error {
		fmt.Println("removing files older than", age)
		return nil
	}
	af.HandleJob(app, "cleanup", "@daily", removeOld, af.Arguments(48*time.Hour), af.Missed(af.MissedSkip))
	if err := app.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}

	// To try a job, run it now.
	id, err := app.RunJob(ctx, "cleanup")
	if err != nil {
		fmt.Println(err)
		return
	}
	task, err := app.WaitTask(ctx, id)
	fmt.Println(task.Status, err)
	// Output:
	// removing files older than 48h0m0s
	// success <nil>
}

// A function without arguments is a job, too.
func ExampleHandleJobFunc() {
	ctx := context.Background()
	app, err := af.Open(ctx, memory.New(), quiet())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer app.Shutdown(ctx)
	af.HandleJobFunc(app, "vacuum", "30 3 * * *", func(ctx context.Context) error {
		fmt.Println("attempt", af.TaskFrom(ctx).Attempt)
		return nil
	}, af.Zone("Europe/Berlin"))
	if err := app.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}

	id, err := app.RunJob(ctx, "vacuum")
	if err != nil {
		fmt.Println(err)
		return
	}
	task, err := app.WaitTask(ctx, id)
	fmt.Println(task.Status, err)
	// Output:
	// attempt 1
	// success <nil>
}

// A job's function submits tasks and makes calls through the queues and clients that it closes over.
func ExampleHandleJob_submit() {
	ctx := context.Background()
	app, err := af.Open(ctx, memory.New(), quiet())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer app.Shutdown(ctx)
	queue := NewResizeQueue(app) // see the example of VoidQueue.Submit
	RegisterResize(app, &Resize{})
	af.HandleJob(app, "thumbnails", "@hourly", func(ctx context.Context, dir string) error {
		// The task's id makes it safe to repeat: if this function runs again, it submits the same task.
		_, err := queue.Submit(ctx, Picture{Name: dir + "/new.png", Width: 100}, af.TaskID("resize/"+af.TaskFrom(ctx).ID))
		return err
	}, af.Arguments("pictures"), af.Zone("Europe/Berlin"))
	if err := app.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}

	id, err := app.RunJob(ctx, "thumbnails")
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := app.WaitTask(ctx, id); err != nil {
		fmt.Println(err)
		return
	}
	thumbnail, err := queue.Wait(ctx, "resize/"+id)
	fmt.Println(thumbnail.Name, err)
	// Output: pictures/new.png.100 <nil>
}

// Client middleware wraps the App's Caller. It sees each call once, with its final result.
func ExampleClientMiddleware() {
	ctx := context.Background()
	logCalls := func(next af.Caller) af.Caller {
		return af.CallerFunc(func(ctx context.Context, call af.Call) (json.RawMessage, error) {
			reply, err := next.Invoke(ctx, call)
			fmt.Printf("called %s.%s: code %q\n", call.Service, call.Method, af.CodeOf(err))
			return reply, err
		})
	}
	app, err := af.Open(ctx, memory.New(), quiet(), af.ClientMiddleware(logCalls))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer app.Shutdown(ctx)
	if err := app.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}

	_, err = app.Call(ctx, "billing", "Charge", nil)
	fmt.Println(err)
	// Output:
	// called billing.Charge: code "unavailable"
	// unavailable: no instance of service "billing" is running
}

// Server middleware wraps the handler of every method. This one rejects callers without a token.
func ExampleServerMiddleware() {
	ctx := context.Background()
	authenticate := func(next af.Handler) af.Handler {
		return func(ctx context.Context, req *af.Request) (json.RawMessage, error) {
			if req.Metadata["token"] != "secret" {
				return nil, af.Errorf(af.ErrUnauthenticated, "%s.%s needs a token", req.Service, req.Method)
			}
			return next(ctx, req)
		}
	}
	app, err := af.Open(ctx, memory.New(), quiet(), af.ServerMiddleware(authenticate))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer app.Shutdown(ctx)
	registerCalc(app, &calc{do: func(_ context.Context, x int) (int, error) { return 2 * x, nil }})
	if err := app.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}

	args := map[string]int{"x": 21}
	_, err = app.Call(ctx, "calc", "Do", args)
	fmt.Println(err)
	reply, err := app.Call(af.WithMetadata(ctx, "token", "secret"), "calc", "Do", args)
	fmt.Println(string(reply), err)
	// Output:
	// unauthenticated: calc.Do needs a token
	// {"result":42} <nil>
}
