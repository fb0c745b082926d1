package mongo_test

import (
	"context"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
)

// growHeld stores a running task a with two uncommitted subtasks.
func growHeld(t *testing.T, s backend.Store) {
	t.Helper()
	ctx := t.Context()
	must(t, s.Beat(ctx, "o", 1))
	_, err := s.Insert(ctx, []backend.NewTask{newTask("a")})
	must(t, err)
	_, _, err = s.Claim(ctx, backend.Claim{Queue: "q", Owner: "o", Nonce: "a", Max: 1, IDs: []string{"a"}, FanIn: true})
	must(t, err)
	_, err = s.Insert(ctx, []backend.NewTask{newChild("a/b/0", "a"), newChild("a/b/1", "a")})
	must(t, err)
}

// growGated stores a running task a with two committed subtasks, which wait for its end.
func growGated(t *testing.T, s backend.Store) {
	t.Helper()
	growHeld(t, s)
	must(t, s.Spawn(t.Context(), backend.Spawn{Source: "a", Batch: "b", Count: 2}))
}

// growOpen is growGated, and task a has succeeded.
func growOpen(t *testing.T, s backend.Store) {
	t.Helper()
	growGated(t, s)
	_, err := s.Settle(t.Context(), []backend.Settle{{ID: "a", Fence: 1, Nonce: "a", To: backend.StatusSuccess}})
	must(t, err)
}

// A process changes a source or its subtasks. If others delete the tree after it has read the source, and use the IDs
// again, it changes nothing of the new tree: neither are its subtasks committed, released, stopped or deleted, nor does
// its source change.
func TestChangesSpareTasksWithTheSameIDs(t *testing.T) {
	spawn := backend.Spawn{Source: "a", Batch: "b", Count: 2, Fence: 1}
	spawnNow := spawn
	spawnNow.Now = true
	for _, tt := range []struct {
		name  string
		reads int64 // commands until it has read the source
		old   func(t *testing.T, s backend.Store)
		do    func(ctx context.Context, s backend.Store) error
	}{
		{"spawn", 1, growHeld, func(ctx context.Context, s backend.Store) error { return s.Spawn(ctx, spawn) }},
		{"spawn_now", 1, growHeld, func(ctx context.Context, s backend.Store) error { return s.Spawn(ctx, spawnNow) }},
		{"discard", 2, growHeld, func(ctx context.Context, s backend.Store) error { return s.Discard(ctx, "a", "b") }},
		{"discard_orphans", 2, func(t *testing.T, s backend.Store) {
			_, err := s.Insert(t.Context(), []backend.NewTask{newChild("a/b/0", "a"), newChild("a/b/1", "a")})
			must(t, err)
		}, func(ctx context.Context, s backend.Store) error { return s.Discard(ctx, "a", "b") }},
		{"open", 1, growOpen, func(ctx context.Context, s backend.Store) error {
			_, err := s.Open(ctx, "a")
			return err
		}},
		{"finish", 1, growOpen, func(ctx context.Context, s backend.Store) error {
			_, _, err := s.Finish(ctx, "a")
			return err
		}},
		{"stop", 1, growGated, func(ctx context.Context, s backend.Store) error {
			_, err := s.Stop(ctx, backend.Stop{ID: "a"})
			return err
		}},
		{"stop_below", 1, growOpen, func(ctx context.Context, s backend.Store) error {
			_, err := s.Stop(ctx, backend.Stop{ID: "a", Below: true})
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			uri := devstack.Mongo(t)
			var i interruption
			other, c := join(t, uri), join(t, uri, i.watch)
			tasks := other.Mongo().Collection("tasks")
			for name, grow := range map[string]func(*testing.T, backend.Store){
				"held": growHeld, "gated": growGated, "open": growOpen,
			} {
				for n := tt.reads + 1; ; n++ {
					_, err := tasks.DeleteMany(t.Context(), bson.D{})
					must(t, err)
					tt.old(t, other.Store())
					var want []string
					i.do = func() {
						_, err := tasks.DeleteMany(t.Context(), bson.D{})
						must(t, err)
						grow(t, other.Store())
						want = documentsOf(t, tasks)
					}
					i.left.Store(n)
					err = tt.do(t.Context(), c.Store())
					if want == nil {
						break
					}
					if got := documentsOf(t, tasks); !slices.Equal(got, want) {
						t.Errorf("%s before command %d, result %v: stored are\n%v\nwant\n%v", name, n, err, got, want)
					}
				}
			}
		})
	}
}
