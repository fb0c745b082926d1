package runtime_test

import (
	"testing"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// BenchmarkIsolatedTask measures a task in a child process, from Submit to Wait. Almost all of it is the start of the
// process.
func BenchmarkIsolatedTask(b *testing.B) {
	app, err := af.Open(b.Context(), memory.New())
	if err != nil {
		b.Fatal(err)
	}
	defer app.Shutdown(b.Context())
	registerIsolated(app, nil)
	if err := app.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	q := af.NewQueue[action, report](app, isoWorker)
	for b.Loop() {
		id, err := q.Submit(b.Context(), action{Do: "say"})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := q.Wait(b.Context(), id); err != nil {
			b.Fatal(err)
		}
	}
}
