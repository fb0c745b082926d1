package mongo_test

import (
	"context"
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/mongo"
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

// A source remembers the last discards of a bounded number of batches. Those of others fail one commit at most.
func TestDiscardMarksAreBounded(t *testing.T) {
	c := join(t, devstack.Mongo(t))
	s, ctx := c.Store(), t.Context()
	const most = backend.MaxBatches / 10
	var marks []bson.M
	for i := range most {
		marks = append(marks, bson.M{"batch": fmt.Sprint(i), "number": i + 1})
	}
	_, err := s.Insert(ctx, []backend.NewTask{newTask("a"), newChild("a/b/0", "a")})
	must(t, err)
	_, err = c.Mongo().Collection("tasks").
		UpdateOne(ctx, bson.M{"_id": "a"}, bson.M{"$set": bson.M{"marks": marks, "discards": most}})
	must(t, err)
	discardOther := func(name string) {
		t.Helper()
		other := newChild("a/"+name+"/0", "a")
		other.Task.Batch = name
		_, err = s.Insert(ctx, []backend.NewTask{other})
		must(t, err)
		must(t, s.Discard(ctx, "a", name))
	}
	discardOther("7") // known
	if x := marksOf(t, c); len(x.Marks) != most || x.Unmarked != 0 || x.Marks[most-1].Batch != "7" {
		t.Errorf("%d marks, %d unmarked, last %v", len(x.Marks), x.Unmarked, x.Marks[len(x.Marks)-1])
	}
	discardOther("new")
	if x := marksOf(t, c); len(x.Marks) != most || x.Unmarked != 1 {
		t.Errorf("%d marks, %d unmarked", len(x.Marks), x.Unmarked)
	}
	insertAgain(t, s)
}

// A program of an older version writes no marks when it discards a batch. Then commits of the source's other batches
// fail once at most.
func TestDiscardWithoutMark(t *testing.T) {
	c := join(t, devstack.Mongo(t))
	s, ctx := c.Store(), t.Context()
	_, err := s.Insert(ctx, []backend.NewTask{newTask("a"), newChild("a/b/0", "a")})
	must(t, err)
	_, err = c.Mongo().Collection("tasks").UpdateOne(ctx, bson.M{"_id": "a"}, bson.M{"$inc": bson.M{"discards": 1}})
	must(t, err)
	insertAgain(t, s)
}

// insertAgain commits the batch b of the task a, which succeeds after it was inserted again.
func insertAgain(t *testing.T, s backend.Store) {
	t.Helper()
	commit := func() error {
		return s.Spawn(t.Context(), backend.Spawn{Source: "a", Batch: "b", Count: 1})
	}
	if err := commit(); backend.CodeOf(err) != backend.ErrAborted {
		t.Errorf("commit: %v, want aborted", err)
	}
	_, err := s.Insert(t.Context(), []backend.NewTask{newChild("a/b/0", "a")})
	must(t, err)
	must(t, commit())
}

type marks struct {
	Marks []struct {
		Batch  string
		Number int64
	}
	Unmarked int64
}

func marksOf(t *testing.T, c *mongo.Client) (x marks) {
	t.Helper()
	must(t, c.Mongo().Collection("tasks").FindOne(t.Context(), bson.M{"_id": "a"}).Decode(&x))
	return x
}
