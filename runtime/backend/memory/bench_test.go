package memory_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

var payload = json.RawMessage(`{"url":"https://example.com/picture.png","width":640,"height":480}`)

// batch is how many tasks a benchmark inserts, claims and settles at once.
const batch = 100

// kept is how many ended tasks a queue retains.
const clampTime = 1000

// crowd opens a store with n tasks: a third waits in another queue, a third is due much later, a third has ended.
func crowd(b *testing.B, n int) backend.Store {
	b.Helper()
	ports, err := memory.New().Open(b.Context(), backend.Env{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	s := ports.Store
	for i := 0; i < n; i += batch {
		tasks := newTasks("crowd", i)
		ended := fmt.Sprint("ended", i/clampTime)
		for j := range tasks {
			switch j % 3 {
			case 1:
				tasks[j].Delay = 1e15
			case 2:
				tasks[j].Task.Queue = ended
			}
		}
		insert(b, s, tasks)
		settle(b, s, claim(b, s, ended, strconv.Itoa(i)), strconv.Itoa(i))
	}
	return s
}

func newTasks(prefix string, from int) []backend.NewTask {
	tasks := make([]backend.NewTask, batch)
	for i := range tasks {
		tasks[i].Task = backend.Task{
			ID: prefix + strconv.Itoa(from+i), Queue: prefix, Status: backend.StatusPending, Weight: 1, Payload: payload,
		}
	}
	return tasks
}

func insert(b *testing.B, s backend.Store, tasks []backend.NewTask) {
	if _, err := s.Insert(context.Background(), tasks); err != nil {
		b.Fatal(err)
	}
}

func claim(b *testing.B, s backend.Store, queue, nonce string) []backend.Task {
	tasks, _, err := s.Claim(context.Background(), backend.Claim{Queue: queue, Owner: "o", Nonce: nonce, Max: batch})
	if err != nil {
		b.Fatal(err)
	}
	return tasks
}

func settle(b *testing.B, s backend.Store, tasks []backend.Task, nonce string) {
	settles := make([]backend.Settle, len(tasks))
	for i, t := range tasks {
		settles[i] = backend.Settle{ID: t.ID, Fence: t.Fence, Nonce: nonce, To: backend.StatusSuccess, Result: payload}
	}
	if _, err := s.Settle(context.Background(), settles); err != nil {
		b.Fatal(err)
	}
}

func atSizes(b *testing.B, run func(b *testing.B, s backend.Store)) {
	for _, n := range []int{1e3, 1e6} {
		b.Run(fmt.Sprintf("stored=%d", n), func(b *testing.B) {
			run(b, crowd(b, n))
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
		})
	}
}

func BenchmarkInsert(b *testing.B) {
	atSizes(b, func(b *testing.B, s backend.Store) {
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			if n%batch == 0 {
				b.StopTimer()
				tasks := newTasks("bench", n)
				b.StartTimer()
				insert(b, s, tasks)
			}
			n++
		}
	})
}

// BenchmarkClaimSettle claims from a backlog that grows with b.N.
func BenchmarkClaimSettle(b *testing.B) {
	atSizes(b, func(b *testing.B, s backend.Store) {
		for i := 0; i < b.N; i += batch {
			insert(b, s, newTasks("bench", i))
		}
		b.ReportAllocs()
		b.ResetTimer()
		for i := 0; i < b.N; i += batch {
			settle(b, s, claim(b, s, "bench", strconv.Itoa(i)), strconv.Itoa(i))
		}
	})
}

// A cycle is insert, claim, settle, and a purge that keeps the store's size constant.
func BenchmarkCycle(b *testing.B) {
	atSizes(b, func(b *testing.B, s backend.Store) {
		b.ReportAllocs()
		b.ResetTimer()
		for i := 0; i < b.N; i += batch {
			insert(b, s, newTasks("bench", i))
			settle(b, s, claim(b, s, "bench", strconv.Itoa(i)), strconv.Itoa(i))
			if _, err := s.Purge(context.Background(), backend.Retention{Max: clampTime}, 2*batch); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkListCode reads the first page of the tasks that failed with a code, in each order.
func BenchmarkListCode(b *testing.B) {
	for _, sort := range []backend.TaskSort{backend.SortNewest, backend.SortOldest, backend.SortEnded} {
		b.Run(fmt.Sprintf("sort=%s", sort), func(b *testing.B) {
			atSizes(b, func(b *testing.B, s backend.Store) {
				for i := 0; i < 5000; i += batch {
					insert(b, s, newTasks("failed", i))
					settles := make([]backend.Settle, 0, batch)
					for _, t := range claim(b, s, "failed", strconv.Itoa(i)) {
						settles = append(settles, backend.Settle{ID: t.ID, Fence: t.Fence, Nonce: "n", To: backend.StatusFailed,
							Error: &backend.TaskError{Code: backend.ErrInternal}})
					}
					if _, err := s.Settle(context.Background(), settles); err != nil {
						b.Fatal(err)
					}
				}
				q := backend.TaskQuery{Statuses: []backend.Status{backend.StatusFailed}, Code: backend.ErrInternal, Sort: sort}
				b.ReportAllocs()
				b.ResetTimer()
				for b.Loop() {
					if p, err := s.List(context.Background(), q); err != nil || p.Total != 5000 {
						b.Fatal(p.Total, err)
					}
				}
			})
		})
	}
}
