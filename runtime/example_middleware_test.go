package runtime_test

import (
	"context"
	"encoding/json"
	"fmt"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// tenantKey is the key of the tenant in the contexts of this program. An HTTP handler or server middleware sets it.
type tenantKey struct{}

// requireTenant is submit middleware. It refuses tasks without a tenant, and stores the tenant as metadata of the task.
func requireTenant(next af.Submitter) af.Submitter {
	return af.SubmitterFunc(func(ctx context.Context, s af.Submission) ([]string, error) {
		tenant, ok := ctx.Value(tenantKey{}).(string)
		if !ok {
			return nil, af.Errorf(af.ErrUnauthenticated, "a task of queue %q needs a tenant", s.Worker.Name).
				With(af.OutcomeNotSent)
		}
		return next.SubmitTasks(af.WithMetadata(ctx, "tenant", tenant), s)
	})
}

// asTenant is worker middleware. It fails the tasks of tenants that are blocked by now, without retries. The others run
// with their tenant in the context, so the tasks that they submit have the same one.
func asTenant(next af.TaskHandler) af.TaskHandler {
	return func(ctx context.Context, t *af.Running) (json.RawMessage, error) {
		tenant := af.MetadataFrom(ctx)["tenant"]
		if tenant == "mallory" {
			return nil, af.Permanent(af.Errorf(af.ErrPermissionDenied, "tenant %s is blocked", tenant))
		}
		return next(context.WithValue(ctx, tenantKey{}, tenant), t)
	}
}

// Run each task as the tenant that submitted it. Submit middleware refuses tasks without a tenant, and worker
// middleware those of blocked ones.
func ExampleWorkerMiddleware() {
	ctx := context.Background()
	app, err := af.Open(ctx, memory.New(), quiet(), af.SubmitMiddleware(requireTenant), af.WorkerMiddleware(asTenant))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer app.Shutdown(ctx)
	RegisterResize(app, &Resize{}) // see the example of VoidQueue.Submit
	if err := app.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}
	queue := NewResizeQueue(app)
	picture := Picture{Name: "cat.png", Width: 100}

	_, err = queue.Submit(ctx, picture)
	fmt.Println(err)

	for _, tenant := range []string{"alice", "mallory"} {
		id, err := queue.Submit(context.WithValue(ctx, tenantKey{}, tenant), picture)
		if err != nil {
			fmt.Println(err)
			return
		}
		thumbnail, err := queue.Wait(ctx, id)
		fmt.Printf("%s: %q %v\n", tenant, thumbnail.Name, err)
	}
	// Output:
	// unauthenticated: a task of queue "resize" needs a tenant
	// alice: "cat.png.100" <nil>
	// mallory: "" permission_denied: tenant mallory is blocked
}
