package mongo_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/mongo"
)

// An interruption calls do right before a client sends one of its commands on tasks.
type interruption struct {
	left atomic.Int64 // commands until then
	do   func()
}

func (i *interruption) watch(c *mongo.Config) {
	c.Monitor = &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		name, _ := e.Command.Lookup(e.CommandName).StringValueOK()
		if name == "tasks" && i.left.Add(-1) == 0 {
			i.do()
		}
	}}
}

// growTree stores a task named a with two subtasks, one of which has a subtask too, and an uncommitted subtask. If ended
// is set, everything that can has ended. Otherwise the task and one of its subtasks are live.
func growTree(t *testing.T, s backend.Store, ended bool) {
	t.Helper()
	ctx := t.Context()
	must(t, s.Beat(ctx, "o", 1))
	run := func(id string) {
		t.Helper()
		claimed, _, err := s.Claim(ctx, backend.Claim{Queue: "q", Owner: "o", Nonce: id, Max: 1, IDs: []string{id}, FanIn: true})
		must(t, err)
		if len(claimed) != 1 {
			t.Fatalf("%s was not claimed", id)
		}
	}
	succeed := func(id string) {
		t.Helper()
		_, err := s.Settle(ctx, []backend.Settle{{ID: id, Fence: 1, Nonce: id, To: backend.StatusSuccess}})
		must(t, err)
	}
	spawn := func(source string, ids ...string) {
		t.Helper()
		for _, id := range ids {
			_, err := s.Insert(ctx, []backend.NewTask{newChild(id, source)})
			must(t, err)
		}
		must(t, s.Spawn(ctx, backend.Spawn{Source: source, Batch: "b", Now: true, Count: len(ids)}))
	}
	_, err := s.Insert(ctx, []backend.NewTask{newTask("a")})
	must(t, err)
	run("a")
	spawn("a", "a/b/0", "a/b/1")
	run("a/b/0")
	spawn("a/b/0", "a/b/0/b/0")
	run("a/b/0/b/0")
	succeed("a/b/0/b/0")
	succeed("a/b/0")
	_, _, err = s.Finish(ctx, "a/b/0")
	must(t, err)
	loose := newChild("a/x/0", "a")
	loose.Task.Batch = "x"
	_, err = s.Insert(ctx, []backend.NewTask{loose})
	must(t, err)
	if !ended {
		return
	}
	run("a/b/1")
	succeed("a/b/1")
	succeed("a")
	if done, _, err := s.Finish(ctx, "a"); err != nil || !done {
		t.Fatalf("finished %v, %v", done, err)
	}
	run("a/done")
	succeed("a/done")
	run("a/b/0/done")
	succeed("a/b/0/done")
}

// documentsOf returns all tasks as stored.
func documentsOf(t *testing.T, tasks *driver.Collection) (docs []string) {
	t.Helper()
	cursor, err := tasks.Find(t.Context(), bson.D{})
	must(t, err)
	var all []bson.Raw
	must(t, cursor.All(t.Context(), &all))
	for _, doc := range all {
		docs = append(docs, doc.String())
	}
	return docs
}

// Whenever another process deletes a tree and its IDs are used again, a process that deletes the tree as well touches none
// of the new tasks.
func TestDeletingSparesTasksWithTheSameIDs(t *testing.T) {
	for name, remove := range map[string]func(ctx context.Context, s backend.Store) error{
		"delete": func(ctx context.Context, s backend.Store) error { return s.Delete(ctx, "a") },
		"purge": func(ctx context.Context, s backend.Store) error {
			_, err := s.Purge(ctx, backend.Retention{Age: time.Nanosecond}, 100)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			uri := devstack.Mongo(t)
			var i interruption
			other, c := join(t, uri), join(t, uri, i.watch)
			tasks := other.Mongo().Collection("tasks")
			for n := int64(1); ; n += int64(testkit.Fewer(2, 9)) {
				_, err := tasks.DeleteMany(t.Context(), bson.D{})
				must(t, err)
				growTree(t, other.Store(), true)
				var want []string
				i.do = func() {
					must(t, other.Store().Delete(t.Context(), "a"))
					growTree(t, other.Store(), false)
					want = documentsOf(t, tasks)
				}
				i.left.Store(n)
				_ = remove(t.Context(), c.Store()) // the new task can't be deleted
				if want == nil {
					t.Logf("%d commands", n-1)
					return
				}
				if got := documentsOf(t, tasks); !slices.Equal(got, want) {
					t.Errorf("replaced before command %d: stored are\n%v\nwant\n%v", n, got, want)
				}
			}
		})
	}
}

// MarkRetried returns its own mark, although another process removes it at once.
func TestMarkRetriedReturnsItsMark(t *testing.T) {
	uri := devstack.Mongo(t)
	var i interruption
	other, c := join(t, uri).Store(), join(t, uri, i.watch).Store()
	ctx := t.Context()
	_, err := other.Insert(ctx, []backend.NewTask{newTask("a")})
	must(t, err)
	_, err = other.Stop(ctx, backend.Stop{ID: "a"})
	must(t, err)
	i.do = func() {
		_, err := other.MarkRetried(ctx, "a", "b", "")
		must(t, err)
	}
	i.left.Store(2)
	if by, err := c.MarkRetried(ctx, "a", "", "b"); err != nil || by != "b" {
		t.Errorf("%q, %v", by, err)
	}
}
