package servers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/afgen/afgen/internal/devstack"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/servers"
	"github.com/afgen/afgen/runtime/config"
)

// isolated is a worker whose tasks run in child processes, where they call, submit and generate an ID over their
// parent's connections.
type isolated struct{ app *af.App }

type whereabouts struct {
	PID       int
	Echo      string
	Subtask   string
	Snowflake string
}

var isolatedWorker = af.Worker{Name: "isolated", Type: "Isolated", Max: 1, Isolation: "process"}

func (w *isolated) Run(ctx context.Context, depth int) (whereabouts, error) {
	at := whereabouts{PID: os.Getpid()}
	if depth == 0 {
		return at, nil
	}
	reply, err := w.app.Call(ctx, "echo", "Echo", map[string]string{"text": "hello"})
	if err != nil {
		return at, err
	}
	at.Echo = string(reply)
	if at.Snowflake, err = w.app.Snowflake(ctx); err != nil {
		return at, err
	}
	ids, err := af.NewQueue[int, whereabouts](w.app, isolatedWorker).Subtasks(ctx, af.TaskFrom(ctx).ID, []int{depth - 1})
	if err == nil {
		at.Subtask = ids[0]
	}
	return at, err
}

// isolatedMain is the main function of the test's process and of its children.
func isolatedMain(ctx context.Context, b af.Backend, opts ...af.AppOption) (*af.App, error) {
	app, err := af.Open(ctx, b, opts...)
	if err != nil {
		return nil, err
	}
	app.AddService(af.ServiceSpec{Service: af.Service{Name: "echo", Type: "Echo", Concurrency: 1},
		Methods: []af.MethodSpec{{
			Info:    af.MethodInfo{Name: "Echo"},
			Handler: func(_ context.Context, r *af.Request) (json.RawMessage, error) { return r.Body, nil },
		}}})
	af.RegisterWorker(app, isolatedWorker, &isolated{app})
	return app, app.Start(ctx)
}

func TestIsolatedTasksOverTheServers(t *testing.T) {
	cfg := parse(t, fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n", devstack.Mongo(t),
		devstack.Redis(t), devstack.AMQP(t)))
	app, err := isolatedMain(t.Context(), servers.From(cfg))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := app.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	q := af.NewQueue[int, whereabouts](app, isolatedWorker)
	id, err := q.Submit(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	at, err := q.Wait(t.Context(), id)
	if err != nil || at.PID == os.Getpid() || at.Echo != `{"text":"hello"}` || len(at.Snowflake) != 19 {
		t.Fatalf("%+v, %v", at, err)
	}
	if sub, err := q.Wait(t.Context(), at.Subtask); err != nil || sub.PID == at.PID || sub.PID == os.Getpid() {
		t.Errorf("subtask: %+v, %v", sub, err)
	}
}

// isolatedChild opens the App as its parent would; it contacts no server.
func isolatedChild() int {
	_, err := isolatedMain(context.Background(), servers.From(config.Config{}))
	fmt.Fprintln(os.Stderr, "child main:", err)
	return 1
}
