package mongo_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/mongo"
)

// fill fills the document of a task up to the last byte with progress, as older programs could.
func fill(t *testing.T, c *mongo.Client, id string) {
	t.Helper()
	tasks := c.Mongo().Collection("tasks")
	set := func(n int) {
		_, err := tasks.UpdateOne(t.Context(), bson.M{"_id": id},
			bson.M{"$set": bson.M{"progress": bytes.Repeat([]byte("1"), n)}})
		must(t, err)
	}
	set(1)
	raw, err := tasks.FindOne(t.Context(), bson.M{"_id": id}).Raw()
	must(t, err)
	set(16<<20 - len(raw) + 1)
}

// A task whose document is full doesn't block the tasks that are written with it, and ends normally.
func TestFullDocumentBlocksNoOther(t *testing.T) {
	// Documents of this size don't fit into the cache of the shared server, and would slow down other tests.
	server := devstack.Prepare(t, devstack.MongoDB)
	server.CacheGB = 1
	must(t, server.Start())
	uri := devstack.WithDatabase(server.URI, "full")
	both := []string{"a", "b"}
	claim := func(t *testing.T, s backend.Store, queue string, ids []string) {
		t.Helper()
		tasks, _, err := s.Claim(t.Context(), backend.Claim{Queue: queue, Owner: "o", Nonce: "n", Max: 2, IDs: ids})
		must(t, err)
		if len(tasks) != 2 {
			t.Fatalf("claimed %d tasks", len(tasks))
		}
	}
	for name, do := range map[string]func(t *testing.T, c *mongo.Client, s backend.Store){
		"settle": func(t *testing.T, c *mongo.Client, s backend.Store) {
			claim(t, s, "q", both)
			fill(t, c, "a")
			var settles []backend.Settle
			for _, id := range both {
				settles = append(settles, backend.Settle{
					ID: id, Fence: 1, Nonce: "n", To: backend.StatusSuccess, Result: bytes.Repeat([]byte("1"), 4<<20),
					Log: []string{"line"},
				})
			}
			came, err := s.Settle(t.Context(), settles)
			must(t, err)
			if !slices.Equal(came, []backend.Settled{backend.SettledApplied, backend.SettledApplied}) {
				t.Errorf("settled %v", came)
			}
		},
		"expire_owner": func(t *testing.T, c *mongo.Client, s backend.Store) {
			claim(t, s, "q", both)
			fill(t, c, "a")
			for _, id := range both { // makes the documents of failed tasks larger
				_, err := c.Mongo().Collection("tasks").UpdateOne(t.Context(), bson.M{"_id": id},
					bson.M{"$set": bson.M{"owner": "o", "nonce": ""}})
				must(t, err)
			}
			fill(t, c, "a")
			freed, err := s.ExpireOwner(t.Context(), "o", 1, 1)
			must(t, err)
			if len(freed) != 2 {
				t.Errorf("freed %d tasks", len(freed))
			}
		},
		"stop": func(t *testing.T, c *mongo.Client, s backend.Store) {
			claim(t, s, "q", both)
			fill(t, c, "a")
			for _, id := range both {
				stopped, err := s.Stop(t.Context(), backend.Stop{ID: id, Reason: "enough"})
				must(t, err)
				if len(stopped) != 1 {
					t.Errorf("stopped %d tasks", len(stopped))
				}
			}
		},
		"claim": func(t *testing.T, c *mongo.Client, s backend.Store) {
			fill(t, c, "a")
			claim(t, s, "q", both)
		},
		"claim_best": func(t *testing.T, c *mongo.Client, s backend.Store) {
			fill(t, c, "a")
			claim(t, s, "q", nil)
		},
		"hint": func(t *testing.T, c *mongo.Client, s backend.Store) {
			fill(t, c, "a")
			ids, _, _, err := s.Promote(t.Context(), "q", 10)
			must(t, err)
			if len(ids) != 2 {
				t.Errorf("hinted %v", ids)
			}
		},
		"deadline": func(t *testing.T, c *mongo.Client, s backend.Store) {
			late := newTask("late")
			late.Task.Deadline = time.Now().Add(-time.Second)
			late.Task.Queue = "late"
			_, err := s.Insert(t.Context(), []backend.NewTask{late})
			must(t, err)
			fill(t, c, "late")
			_, failed, _, err := s.Promote(t.Context(), "late", 0)
			must(t, err)
			if len(failed) != 1 {
				t.Errorf("failed %d tasks", len(failed))
			}
		},
		"finish": func(t *testing.T, c *mongo.Client, s backend.Store) {
			claim(t, s, "q", both)
			fill(t, c, "a")
			must(t, s.Spawn(t.Context(), backend.Spawn{Source: "a", Batch: "b"}))
			came, err := s.Settle(t.Context(), []backend.Settle{{ID: "a", Fence: 1, Nonce: "n", To: backend.StatusSuccess}})
			must(t, err)
			if came[0] != backend.SettledWithSubtasks {
				t.Errorf("settled %v", came)
			}
			fill(t, c, "a")
			finished, _, err := s.Finish(t.Context(), "a")
			must(t, err)
			if !finished {
				t.Error("not finished")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := join(t, uri)
			wipe(t, uri)
			s := c.Store()
			must(t, s.Beat(t.Context(), "o", 1))
			tasks := []backend.NewTask{newTask("a"), newTask("b")}
			_, err := s.Insert(t.Context(), tasks)
			must(t, err)
			do(t, c, s)
		})
	}
}
