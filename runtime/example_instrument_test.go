package runtime_test

import (
	"context"
	"fmt"
	"sync/atomic"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/instrument"
)

// spans is an instrument that reports attempts and ends of tasks. It has no methods for what it does not observe.
type spans struct {
	af.NoInstrument
	report func(string)
	failed atomic.Int64
}

// Attempt reports how an attempt has ended.
func (s *spans) Attempt(ctx context.Context, start instrument.Start) (context.Context, func(instrument.End)) {
	return ctx, func(end instrument.End) {
		s.report(fmt.Sprintf("process %s: attempt %d: %s %s", start.Queue, start.Attempt, end.Attempt, end.Code))
	}
}

// Observe counts the tasks that fail.
func (s *spans) Observe(e instrument.Event) {
	if e.Kind == instrument.TaskEnded && e.Status == af.StatusFailed {
		s.failed.Add(1)
	}
}

// Report what the attempts of tasks do.
func ExampleInstrument() {
	ctx := context.Background()
	lines := make(chan string, 10)
	app, err := af.Open(ctx, memory.New(), quiet(), af.Instrument(&spans{report: func(line string) { lines <- line }}))
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
	if _, err := NewResizeQueue(app).Submit(ctx, Picture{Name: "cat.png", Width: 100}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(<-lines)
	// Output: process resize: attempt 1: success
}
