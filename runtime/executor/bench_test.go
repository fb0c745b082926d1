package executor_test

import (
	"testing"

	"github.com/afgen/afgen/runtime/executor"
)

func bench(b *testing.B, p *executor.Pool[action, report]) {
	if err := p.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	for b.Loop() {
		if _, err := p.Submit(b.Context(), action{}); err != nil {
			b.Fatal(err)
		}
		if err := p.Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
		p.Take()
	}
}

// BenchmarkJob runs one job after another: in a goroutine, in one child process, and in a new child process for each.
func BenchmarkJob(b *testing.B) {
	b.Run("goroutine", func(b *testing.B) { bench(b, executor.Goroutines(runAction)) })
	b.Run("child", func(b *testing.B) { bench(b, executor.Processes(actions, executor.Workers(1))) })
	b.Run("child_each", func(b *testing.B) {
		bench(b, executor.Processes(actions, executor.Workers(1), executor.Recycle(1)))
	})
}
