package mongo_test

import (
	"context"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/mongo"
)

// growOver grows a tree in which everything has ended, and the set of task a is not finished.
func growOver(t *testing.T, s backend.Store) {
	t.Helper()
	ctx := t.Context()
	growTree(t, s, false)
	_, _, err := s.Claim(ctx, backend.Claim{Queue: "q", Owner: "o", Nonce: "a/b/1", Max: 1, IDs: []string{"a/b/1"}})
	must(t, err)
	_, err = s.Settle(ctx, []backend.Settle{{ID: "a/b/1", Fence: 1, Nonce: "a/b/1", To: backend.StatusSuccess},
		{ID: "a", Fence: 1, Nonce: "a", To: backend.StatusSuccess}})
	must(t, err)
}

// runDone runs the tasks for SubtasksDone that wait for it.
func runDone(t *testing.T, s backend.Store) {
	t.Helper()
	ctx := t.Context()
	for _, id := range []string{"a/done", "a/b/0/done"} {
		claimed, _, err := s.Claim(ctx, backend.Claim{Queue: "q", Owner: "o", Nonce: id, Max: 1, IDs: []string{id}})
		must(t, err)
		if len(claimed) != 1 {
			t.Errorf("%s was not claimed", id)
		}
		_, err = s.Settle(ctx, []backend.Settle{{ID: id, Fence: 1, Nonce: id, To: backend.StatusSuccess}})
		must(t, err)
	}
}

// sweep completes unfinished work, as the sweeper does.
func sweep(t *testing.T, s backend.Store) {
	t.Helper()
	ctx := t.Context()
	for range 5 {
		left, err := s.Unfinished(ctx, 0, 100)
		must(t, err)
		if len(left) == 0 {
			return
		}
		for _, u := range left {
			switch u.What {
			case backend.UnfinishedBatch:
				must(t, s.Discard(ctx, u.Source, u.Batch))
			case backend.UnfinishedGate:
				_, err := s.Open(ctx, u.Source)
				must(t, err)
			case backend.UnfinishedSet:
				_, _, err := s.Finish(ctx, u.Source)
				must(t, err)
			default:
				t.Errorf("unfinished: %+v", u)
			}
		}
	}
	t.Error("unfinished work is left")
}

// A process finishes a set. Before any of its commands, others finish it as well, run its SubtasksDone and delete the
// tree, and maybe use its IDs again. It may also end before any later command. Whatever happens, each tree gets one
// SubtasksDone with its own payload, and nothing is left of the deleted one.
func TestFinishingLate(t *testing.T) {
	for _, tt := range []struct {
		name        string
		again, dies bool
	}{{"deleted", false, false}, {"again", true, false}, {"deleted_dies", false, true}, {"again_dies", true, true}} {
		t.Run(tt.name, func(t *testing.T) {
			uri := devstack.Mongo(t)
			var late, end interruption
			other := join(t, uri)
			c := join(t, uri, func(c *mongo.Config) {
				late.watch(c)
				replace := c.Monitor.Started
				end.watch(c)
				die := c.Monitor.Started
				c.Monitor.Started = func(ctx context.Context, e *event.CommandStartedEvent) { replace(ctx, e); die(ctx, e) }
			})
			tasks, s := other.Mongo().Collection("tasks"), other.Store()
			step := int64(testkit.Fewer(1, 3))
			for n := int64(1); ; n += step {
				replaced := false
				for after := int64(1); ; after += step {
					_, err := tasks.DeleteMany(t.Context(), bson.D{})
					must(t, err)
					growOver(t, s)
					replaced = false
					late.do = func() {
						_, _, err := s.Finish(t.Context(), "a")
						must(t, err)
						runDone(t, s)
						must(t, s.Delete(t.Context(), "a"))
						if tt.again {
							growOver(t, s)
							_, err := tasks.UpdateOne(t.Context(), bson.D{{Key: "_id", Value: "a"}},
								bson.D{{Key: "$set", Value: bson.D{{Key: "payload", Value: []byte("2")}}}})
							must(t, err)
						}
						replaced = true
					}
					ctx, kill := context.WithCancel(t.Context())
					died := false
					end.do = func() { died = true; kill() }
					late.left.Store(n)
					if tt.dies {
						end.left.Store(n + after)
					}
					_, _, err = c.Store().Finish(ctx, "a")
					kill()
					if err != nil && !died {
						t.Fatal(err)
					}
					if !replaced {
						break
					}
					sweep(t, s)
					if tt.again {
						done, err := s.Get(t.Context(), "a/done")
						must(t, err)
						if string(done.Payload) != "2" {
							t.Errorf("SubtasksDone has the payload %s", done.Payload)
						}
						runDone(t, s)
						must(t, s.Delete(t.Context(), "a"))
					}
					page, err := s.List(t.Context(), backend.TaskQuery{})
					must(t, err)
					for _, task := range page.Tasks {
						t.Errorf("replaced before command %d, ended before command %d: %s is %s", n, n+after, task.ID, task.Status)
					}
					if !died {
						break
					}
				}
				if !replaced { // it has fewer commands
					return
				}
			}
		})
	}
}

// A process that ends while it finishes a set leaves a state from which the set is finished.
func TestFinishingIsCompleted(t *testing.T) {
	uri := devstack.Mongo(t)
	var end interruption
	other, c := join(t, uri), join(t, uri, end.watch)
	tasks, s := other.Mongo().Collection("tasks"), other.Store()
	for n := int64(1); ; n++ {
		_, err := tasks.DeleteMany(t.Context(), bson.D{})
		must(t, err)
		growOver(t, s)
		ctx, kill := context.WithCancel(t.Context())
		died := false
		end.do = func() { died = true; kill() }
		end.left.Store(n)
		_, _, err = c.Store().Finish(ctx, "a")
		kill()
		if !died {
			must(t, err)
			t.Logf("%d commands", n-1)
			return
		}
		sweep(t, s)
		runDone(t, s)
		must(t, s.Delete(t.Context(), "a"))
	}
}
