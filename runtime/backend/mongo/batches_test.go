package mongo_test

import (
	"context"
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
)

// A source with the maximum number of batches accepts repeated batches, and no others. The batches are written
// directly, since creating them would take long.
func TestMaxBatchesOfSource(t *testing.T) {
	uri := devstack.Mongo(t)
	c := join(t, uri)
	s, ctx := c.Store(), t.Context()
	_, err := s.Insert(ctx, []backend.NewTask{newTask("a")})
	must(t, err)
	must(t, s.Spawn(ctx, backend.Spawn{Source: "a", Batch: "0"}))
	var names []string
	for i := range backend.MaxBatches {
		names = append(names, fmt.Sprint(i))
	}
	_, err = c.Mongo().Collection("tasks").UpdateOne(ctx, bson.M{"_id": "a"}, bson.M{"$set": bson.M{"batches": names}})
	must(t, err)
	if err := s.Spawn(ctx, backend.Spawn{Source: "a", Batch: "b"}); backend.CodeOf(err) != backend.ErrResourceExhausted {
		t.Errorf("one batch more: %v", err)
	}
	must(t, s.Spawn(ctx, backend.Spawn{Source: "a", Batch: "17"}))
}

// The number of discarded batches that a source remembers is bounded.
func TestDiscardedBatchesAreBounded(t *testing.T) {
	c := join(t, devstack.Mongo(t))
	s, ctx := c.Store(), t.Context()
	_, err := s.Insert(ctx, []backend.NewTask{newTask("a")})
	must(t, err)
	var names []string
	for i := range backend.MaxBatches / 10 {
		names = append(names, fmt.Sprint(i))
	}
	_, err = c.Mongo().Collection("tasks").
		UpdateOne(ctx, bson.M{"_id": "a"}, bson.M{"$set": bson.M{"discarded": names, "discards": len(names)}})
	must(t, err)
	_, err = s.Insert(ctx, []backend.NewTask{newChild("a/b/0", "a")})
	must(t, err)
	must(t, s.Discard(ctx, "a", "b"))
	var x struct {
		Discarded []string
	}
	must(t, c.Mongo().Collection("tasks").FindOne(context.Background(), bson.M{"_id": "a"}).Decode(&x))
	if n := len(x.Discarded); n != len(names) || x.Discarded[n-1] != "b" {
		t.Errorf("remembers %d batches", n)
	}
	if err := s.Spawn(ctx, backend.Spawn{Source: "a", Batch: "b"}); backend.CodeOf(err) != backend.ErrAborted {
		t.Errorf("spawning the discarded batch: %v", err)
	}
}
