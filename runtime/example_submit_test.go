package runtime_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

type Picture struct {
	Name  string
	Width int
}

type Thumbnail struct{ Name string }

// Resize is a worker: its Run handles the tasks of the queue resize. In a program it has the directive "af:worker
// name=resize retries=3", and afgen generates the code at the end of this example.
type Resize struct{}

func (*Resize) Run(_ context.Context, p Picture) (Thumbnail, error) {
	return Thumbnail{Name: fmt.Sprintf("%s.%d", p.Name, p.Width)}, nil
}

// Submit a task and wait for its result.
func ExampleVoidQueue_Submit() {
	ctx := context.Background()
	app, err := af.Open(ctx, memory.New(), af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer app.Shutdown(ctx)
	RegisterResize(app, &Resize{})
	if err := app.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}

	queue := NewResizeQueue(app)
	id, err := queue.Submit(ctx, Picture{Name: "cat.png", Width: 100}, af.Weight(10), af.Timeout(time.Minute))
	if err != nil {
		fmt.Println(err)
		return
	}
	thumbnail, err := queue.Wait(ctx, id)
	fmt.Println(thumbnail.Name, err)
	// Output: cat.png.100 <nil>
}

// Submit a task at most once for each order, and see whether this call did it.
func ExampleCreated() {
	ctx := context.Background()
	app, err := af.Open(ctx, memory.New(), quiet())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer app.Shutdown(ctx)
	if err := app.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}

	queue := NewResizeQueue(app)
	for range 2 {
		var created bool
		id, err := queue.Submit(ctx, Picture{Name: "cat.png"}, af.TaskID("cover-of-order-7"), af.Created(&created))
		fmt.Println(id, created, err)
	}
	// Output:
	// cover-of-order-7 true <nil>
	// cover-of-order-7 false <nil>
}

// Delay a task by a duration, so that the clock of this machine does not matter.
func ExampleDelay() {
	ctx := context.Background()
	app, err := af.Open(ctx, memory.New(), af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer app.Shutdown(ctx)
	if err := app.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}

	queue := NewResizeQueue(app)
	id, err := queue.Submit(ctx, Picture{Name: "cat.png", Width: 100}, af.Delay(10*time.Minute))
	if err != nil {
		fmt.Println(err)
		return
	}
	task, err := queue.Get(ctx, id)
	fmt.Println(task.Status, task.RunAt.Sub(task.Created).Round(time.Second), err)
	// Output: waiting 10m0s <nil>
}

// The rest of this file is generated code.

type ResizeQueue struct{ af.Queue[Picture, Thumbnail] }

func NewResizeQueue(t af.TaskClient) *ResizeQueue {
	return &ResizeQueue{af.NewQueue[Picture, Thumbnail](t, afResize)}
}

func RegisterResize(r af.Registrar, w *Resize) { af.RegisterWorker(r, afResize, w) }

var afResize = af.Worker{Name: "resize", Type: "Resize", Max: 10, Retries: 3, Backoff: time.Second, Weight: 1}
