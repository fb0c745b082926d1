// Package bulk applies a change to each task of a page, a few at a time. A task whose change is refused fails alone.
// If the store is unavailable, the rest of the page is left for a repetition.
package bulk

import (
	"context"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// workers is how many tasks are changed at the same time.
const workers = 8

// A Result is what Each has done.
type Result struct {
	Changed int
	Failed  []int         // indexes, ascending, of tasks whose change was refused
	Errs    map[int]error // of these
}

// Each calls change with 0 to n-1, on several goroutines, and waits for all calls. change reports whether it has
// changed the task with this index. If an error is not about a single task, because the store is unavailable or ctx has
// ended, Each begins no further call and returns that error with the result of the calls until then.
func Each(ctx context.Context, n int, change func(ctx context.Context, i int) (bool, error)) (Result, error) {
	var (
		mu   sync.Mutex
		next int
		r    = Result{Errs: map[int]error{}}
		fail error
		all  sync.WaitGroup
	)
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		if fail == nil && ctx.Err() != nil && next < n {
			fail = backend.AsError(ctx.Err())
		}
		if fail != nil || next == n {
			return 0, false
		}
		next++
		return next - 1, true
	}
	note := func(i int, changed bool, err error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil && changed:
			r.Changed++
		case err == nil:
		case retry.Unavailable(err) || backend.CodeOf(err) == backend.ErrCanceled:
			if fail == nil {
				fail = err
			}
		default:
			r.Errs[i] = err
		}
	}
	for range min(workers, n) {
		all.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				changed, err := change(ctx, i)
				note(i, changed, err)
			}
		})
	}
	all.Wait()
	for i := range n {
		if r.Errs[i] != nil {
			r.Failed = append(r.Failed, i)
		}
	}
	return r, fail
}
