package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// opened returns a started App without workers, and a function that ends it.
func opened(ctx context.Context) (*af.App, func()) {
	app, err := af.Open(ctx, memory.New(), af.Logger(slog.New(slog.DiscardHandler)))
	if err == nil {
		err = app.Start(ctx)
	}
	if err != nil {
		panic(err)
	}
	return app, func() { _ = app.Shutdown(ctx) }
}

// A task is submitted to a queue that no instance serves, and explained.
func Example() {
	ctx := context.Background()
	app, end := opened(ctx)
	defer end()
	api := admin.New(app)
	task, err := api.Submit(ctx, admin.Submission{
		Queue: "resize", Payload: json.RawMessage(`{"width":80}`), ID: "photo-1",
	}, admin.Action{By: "ann"})
	if err != nil {
		fmt.Println(err)
		return
	}
	why, err := api.Why(ctx, task.ID)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(why.Status, why.Rules[0].Rule)
	fmt.Println(why.Rules[0].Text)
	// Output:
	// pending no_worker
	// No instance runs a worker of queue resize, and none is known to have run one.
}

// A user with the right to read sees tasks without payloads, and changes nothing.
func ExampleGuard() {
	ctx := context.Background()
	app, end := opened(ctx)
	defer end()
	all := admin.New(app)
	_, err := all.Submit(ctx, admin.Submission{
		Queue: "resize", Payload: json.RawMessage(`{"width":80}`), ID: "photo-1",
	}, admin.Action{})
	if err != nil {
		fmt.Println(err)
		return
	}
	api := admin.Guard(all, admin.User{Name: "bo", Rights: []admin.Right{admin.Read}})
	task, err := api.Task(ctx, "photo-1")
	fmt.Println(task.Queue, task.Redacted, len(task.Payload), err)
	err = api.Stop(ctx, "photo-1", admin.Action{Reason: "obsolete"})
	fmt.Println(errors.Is(err, af.ErrPermissionDenied))
	// Output:
	// resize true 0 <nil>
	// true
}

// A bulk change is tried first, then made page by page, and is in the audit log.
func ExampleAction() {
	ctx := context.Background()
	app, end := opened(ctx)
	defer end()
	api := admin.New(app)
	for _, id := range []string{"a", "b", "c"} {
		if _, err := api.Submit(ctx, admin.Submission{Queue: "resize", Payload: json.RawMessage("1"), ID: id},
			admin.Action{}); err != nil {
			fmt.Println(err)
			return
		}
	}
	query := af.TaskQuery{Queue: "resize", Limit: 2}
	would, err := api.StopTasks(ctx, query, admin.Action{By: "ann", DryRun: true})
	fmt.Println("would stop", would.Changed, err)
	for {
		done, err := api.StopTasks(ctx, query, admin.Action{By: "ann", Reason: "wrong size"})
		fmt.Println("stopped", done.Changed, err)
		if query.Cursor = done.Cursor; query.Cursor == "" || err != nil {
			break
		}
	}
	log, err := api.Audit(ctx, af.AuditQuery{Limit: 1})
	fmt.Println(log.Entries[0].By, log.Entries[0].Action, log.Entries[0].Reason, err)
	// Output:
	// would stop 2 <nil>
	// stopped 2 <nil>
	// stopped 1 <nil>
	// ann tasks.stop wrong size <nil>
}
