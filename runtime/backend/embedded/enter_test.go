package embedded_test

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

const manySubtasks = 1_200 // several transactions

// A cutOff is a source whose process died after it had committed a large batch, before all its subtasks were added to
// the set.
type cutOff struct {
	*testing.T
	backend.Store
	ports *backend.Ports
	clock conform.Skip
	spawn backend.Spawn
	run   backend.Task // the source
}

func cutOffWhileEntering(t *testing.T) *cutOff {
	c := &cutOff{T: t}
	c.ports = openNew(t, embedded.Clock(c.clock.Now))
	c.Store = c.ports.Store
	c.insert(backend.NewTask{Task: backend.Task{ID: "s", Queue: "q", Status: backend.StatusPending}})
	c.spawn = backend.Spawn{Source: "s", Batch: "b", Count: manySubtasks}
	var tasks []backend.NewTask
	for i := range manySubtasks {
		tasks = append(tasks, backend.NewTask{Gated: true, Task: backend.Task{
			ID: backend.SubtaskID("s", "b", i), Queue: "sub", Status: backend.StatusPending, Source: "s", Batch: "b",
		}})
	}
	c.insert(tasks...)
	claimed, _, err := c.Claim(t.Context(), backend.Claim{Queue: "q", Owner: "o", Nonce: "n", Max: 1})
	if err != nil || len(claimed) != 1 {
		t.Fatal(claimed, err)
	}
	c.run = claimed[0]
	if err := embedded.SpawnBegun(t.Context(), c.ports, c.spawn); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cutOff) insert(tasks ...backend.NewTask) {
	c.Helper()
	if _, err := c.Insert(c.Context(), tasks); err != nil {
		c.Fatal(err)
	}
}

func (c *cutOff) succeed() {
	c.Helper()
	done, err := c.Settle(c.Context(), []backend.Settle{{ID: "s", Fence: c.run.Fence, Nonce: "n",
		To: backend.StatusSuccess}})
	if err != nil || len(done) != 1 || done[0] != backend.SettledWithSubtasks {
		c.Fatal(done, err)
	}
}

// sweep does the sweeper's work after a while and returns what it found.
func (c *cutOff) sweep() (found []string) {
	c.Helper()
	c.clock.Sleep(time.Hour)
	unfinished, err := c.Unfinished(c.Context(), time.Second, 10)
	if err != nil {
		c.Fatal(err)
	}
	for _, l := range unfinished {
		found = append(found, string(l.What))
		switch l.What {
		case backend.UnfinishedBatch:
			err = c.Discard(c.Context(), l.Source, l.Batch)
		case backend.UnfinishedGate:
			_, err = c.Open(c.Context(), l.Source)
		case backend.UnfinishedSet:
			_, _, err = c.Finish(c.Context(), l.Source)
		}
		if err != nil {
			c.Fatal(err)
		}
	}
	return found
}

// claimable claims all subtasks that may run and returns their number.
func (c *cutOff) claimable() int {
	c.Helper()
	claimed, _, err := c.Claim(c.Context(), backend.Claim{Queue: "sub", Owner: "o", Nonce: rand.Text(), Max: manySubtasks +
		1})
	if err != nil {
		c.Fatal(err)
	}
	return len(claimed)
}

func (c *cutOff) wantUnfinished() {
	c.Helper()
	if finished, _, err := c.Finish(c.Context(), "s"); finished || err != nil {
		c.Fatalf("the set is finished: %v, %v", finished, err)
	}
}

// A committed batch whose tasks are not all in the set keeps the set from finishing, can't be discarded, and is
// completed.
func TestInterruptedSpawnIsCompleted(t *testing.T) {
	t.Run("repeated", func(t *testing.T) {
		c := cutOffWhileEntering(t)
		c.succeed()
		c.wantUnfinished()
		if err := c.Spawn(t.Context(), c.spawn); err != nil {
			t.Fatal(err)
		}
		if n := c.claimable(); n != manySubtasks {
			t.Errorf("%d subtasks may run, want %d", n, manySubtasks)
		}
	})
	t.Run("swept", func(t *testing.T) {
		c := cutOffWhileEntering(t)
		c.succeed()
		if n := c.claimable(); n != 0 {
			t.Errorf("%d subtasks may run before they are in the set", n)
		}
		if found := c.sweep(); len(found) != 1 || found[0] != string(backend.UnfinishedBatch) {
			t.Errorf("the sweeper finds %q", found)
		}
		c.wantUnfinished()
		c.sweep()
		if n := c.claimable(); n != manySubtasks {
			t.Errorf("%d subtasks may run, want %d", n, manySubtasks)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		c := cutOffWhileEntering(t)
		c.succeed()
		if _, err := c.Stop(t.Context(), backend.Stop{ID: "s", Below: true}); err != nil {
			t.Fatal(err)
		}
		c.wantUnfinished()
		c.sweep()
		c.sweep()
		got, err := c.Get(t.Context(), "s")
		if err != nil || got.Subtasks == nil || got.Subtasks.Stopped != manySubtasks || got.Subtasks.Total != manySubtasks {
			t.Errorf("the set: %+v, %v", got.Subtasks, err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		c := cutOffWhileEntering(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Spawn(ctx, c.spawn); err == nil {
			t.Error("a cancelled Spawn has no error")
		}
		if err := c.Spawn(t.Context(), c.spawn); err != nil {
			t.Error(err)
		}
	})
}

// A batch that was inserted but not committed is discarded completely, whatever its size.
func TestLargeBatchIsDiscarded(t *testing.T) {
	c := cutOffWhileEntering(t)
	var tasks []backend.NewTask
	for i := range manySubtasks {
		tasks = append(tasks, backend.NewTask{Gated: true, Task: backend.Task{
			ID: backend.SubtaskID("s", "x", i), Queue: "sub", Status: backend.StatusPending, Source: "s", Batch: "x",
		}})
	}
	c.insert(tasks...)
	if err := c.Discard(t.Context(), "s", "x"); err != nil {
		t.Fatal(err)
	}
	_, err := c.Get(t.Context(), backend.SubtaskID("s", "x", manySubtasks-1))
	if backend.CodeOf(err) != backend.ErrNotFound {
		t.Error(err)
	}
	err = c.Spawn(t.Context(), backend.Spawn{Source: "s", Batch: "x", Count: manySubtasks})
	if backend.CodeOf(err) != backend.ErrAborted {
		t.Error(err)
	}
}
