package fault_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// An act is one store operation of one process.
type act struct {
	who string
	do  func(backend.Store) error
}

// orders calls fn with every interleaving of the lists.
func orders(lists [][]act, fn func([]act)) {
	total := 0
	for _, l := range lists {
		total += len(l)
	}
	at := make([]int, len(lists))
	merged := make([]act, 0, total)
	var walk func()
	walk = func() {
		if len(merged) == total {
			fn(merged)
			return
		}
		for i, l := range lists {
			if at[i] == len(l) {
				continue
			}
			merged = append(merged, l[at[i]])
			at[i]++
			walk()
			at[i]--
			merged = merged[:len(merged)-1]
		}
	}
	walk()
}

var ctx = context.Background()

// spawnActs returns a spawner's acts, up to a crash after so many acts.
func spawnActs(batch string, acts int, refused map[string]bool) []act {
	kid := func(i int) backend.NewTask {
		return backend.NewTask{Gated: true, Task: backend.Task{
			ID: fmt.Sprintf("s/%s/%d", batch, i), Queue: "child", Status: backend.StatusWaiting, Source: "s", Batch: batch,
		}}
	}
	list := []act{
		{"insert " + batch, func(s backend.Store) error {
			_, err := s.Insert(ctx, []backend.NewTask{kid(0), kid(1)})
			return err
		}},
		{"commit " + batch, func(s backend.Store) error {
			err := s.Spawn(ctx, backend.Spawn{Source: "s", Batch: batch, Now: batch == "0"})
			refused[batch] = backend.CodeOf(err) == backend.ErrFailedPrecondition || backend.CodeOf(err) == backend.ErrAborted
			if refused[batch] {
				return nil
			}
			return err
		}},
		{"tidy " + batch, func(s backend.Store) error {
			if refused[batch] {
				return s.Discard(ctx, "s", batch)
			}
			_, err := s.Open(ctx, "s")
			return err
		}},
	}
	return list[:acts]
}

// sourceActs returns the acts that end the source's own run.
func sourceActs(acts int) []act {
	return []act{
		{"source settles", func(s backend.Store) error {
			_, err := s.Settle(ctx, []backend.Settle{{ID: "s", Fence: 1, Nonce: "n-s", To: backend.StatusSuccess}})
			return err
		}},
		{"open", func(s backend.Store) error { _, err := s.Open(ctx, "s"); return err }},
		{"source looks", func(s backend.Store) error { _, _, err := s.Finish(ctx, "s"); return err }},
	}[:acts]
}

// childActs runs one child if one may run; the others follow at the end.
func childActs() []act {
	return []act{{"a child runs and looks", func(s backend.Store) error { return runChildren(s, 1) }}}
}

// runChildren claims up to n children, settles them, and looks.
func runChildren(s backend.Store, n int) error {
	tasks, _, err := s.Claim(ctx,
		backend.Claim{Queue: "child", Owner: "o", Nonce: fmt.Sprint("n", len(claims(s))), Max: n})
	if err != nil {
		return err
	}
	for _, t := range tasks {
		set, err := s.Settle(ctx, []backend.Settle{{ID: t.ID, Fence: t.Fence, Nonce: "x", To: backend.StatusSuccess}})
		if err != nil || set[0] == backend.SettledLost {
			return fmt.Errorf("settling %s: %v, %w", t.ID, set, err)
		}
		if src, err := s.Get(ctx, "s"); err != nil || src.Subtasks != nil {
			return fmt.Errorf("child %s ran after the set was finished: %w", t.ID, err)
		}
	}
	_, _, err = s.Finish(ctx, "s")
	return err
}

// claims returns the children that have run, for unique nonces.
func claims(s backend.Store) []backend.Task {
	page, _ := s.List(ctx, backend.TaskQuery{Queue: "child", Statuses: []backend.Status{backend.StatusSuccess}})
	return page.Tasks
}

// sweepUp sweeps until nothing is unfinished and nothing can run.
func sweepUp(s backend.Store) error {
	for range 10 {
		unfinished, err := s.Unfinished(ctx, 0, 100)
		if err != nil {
			return err
		}
		for _, l := range unfinished {
			switch l.What {
			case backend.UnfinishedBatch:
				err = s.Discard(ctx, l.Source, l.Batch)
			case backend.UnfinishedGate:
				_, err = s.Open(ctx, l.Source)
			case backend.UnfinishedSet:
				_, _, err = s.Finish(ctx, l.Source)
			}
			if err != nil {
				return err
			}
		}
		if err := runChildren(s, 100); err != nil {
			return err
		}
	}
	return nil
}

// The memory store keeps a set of subtasks whole in every interleaving of two spawners, the source and its children,
// wherever each of them crashes.
func TestMemoryKeepsSetsWholeInEveryOrder(t *testing.T) {
	tried := 0
	most := testkit.Fewer(3, 2) // acts before a crash
	for a := range most + 1 {
		for b := 1; b <= most; b++ {
			for _, c := range []int{1, 2, 3} {
				refused := map[string]bool{}
				lists := [][]act{spawnActs("0", a, refused), spawnActs("1", b, refused), sourceActs(c), childActs()}
				orders(lists, func(acts []act) {
					tried++
					clear(refused)
					if err := inOrder(acts, refused); err != nil && !t.Failed() {
						var names []string
						for _, a := range acts {
							names = append(names, a.who)
						}
						t.Errorf("%v in the order: %s", err, strings.Join(names, ", "))
					}
				})
			}
		}
	}
	t.Logf("%d orders", tried)
}

// inOrder performs acts on a new store and returns the broken promise, if any.
func inOrder(acts []act, refused map[string]bool) error {
	ports, err := memory.New().Open(ctx, backend.Env{})
	if err != nil {
		return err
	}
	defer ports.Close(ctx)
	s := ports.Store
	if _, err := s.Insert(ctx,
		[]backend.NewTask{{Task: backend.Task{ID: "s", Queue: "source", Status: backend.StatusPending}}}); err != nil {
		return err
	}
	if _, _, err := s.Claim(ctx,
		backend.Claim{Queue: "source", Owner: "o", Nonce: "n-s", Max: 1, FanIn: true}); err != nil {
		return err
	}
	spawned := map[string]bool{}
	for _, a := range acts {
		before, _ := s.Get(ctx, "s")
		if err := a.do(s); err != nil {
			return fmt.Errorf("%s: %w", a.who, err)
		}
		if batch, ok := strings.CutPrefix(a.who, "commit "); ok && !refused[batch] {
			spawned[batch] = true
			if before.Subtasks != nil {
				return fmt.Errorf("batch %s was taken after the set was finished", batch)
			}
		}
	}
	if err := sweepUp(s); err != nil {
		return err
	}
	src, err := s.Get(ctx, "s")
	switch ran := len(claims(s)); {
	case err != nil:
		return err
	case ran != 2*len(spawned):
		return fmt.Errorf("%d children ran of %d batches", ran, len(spawned))
	case len(spawned) == 0 && src.Subtasks != nil, len(spawned) > 0 && (src.Subtasks == nil || src.Subtasks.Total != ran):
		return fmt.Errorf("%d batches, and the set is %+v", len(spawned), src.Subtasks)
	}
	return nil
}
