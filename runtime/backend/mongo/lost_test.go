package mongo_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/mongoproxy"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/mongo"
)

func newTask(id string) backend.NewTask {
	return backend.NewTask{Task: backend.Task{ID: id, Queue: "q", Status: backend.StatusWaiting,
		Payload: json.RawMessage(`1`)}}
}

func newChild(id, source string) backend.NewTask {
	n := newTask(id)
	n.Gated, n.Task.Source, n.Task.Batch = true, source, "b"
	return n
}

var must = testkit.Must

// loseReply drops the reply to the next command with a name.
func loseReply(p *mongoproxy.Proxy, command string) *mongoproxy.Trap {
	return p.Trap(mongoproxy.After, mongoproxy.Named(command), nil)
}

// twice calls do and drops its first reply, then calls it again. The result must be that of one call.
func twice(t *testing.T, p *mongoproxy.Proxy, command string, do func() error) {
	t.Helper()
	lost := loseReply(p, command)
	err := do()
	select {
	case <-lost.Sprung():
	default:
		t.Fatalf("no %s was sent", command)
	}
	if backend.CodeOf(err) != backend.ErrUnavailable {
		t.Fatalf("without a reply: %v", err)
	}
	if e, ok := err.(*backend.Error); !ok || command != "find" && e.Outcome != backend.OutcomeUnknown {
		t.Errorf("outcome of %v is %v", err, e.Outcome)
	}
	must(t, do())
}

// Every write can be repeated after its reply was lost.
func TestRetryAfterLostReplyIsIdempotent(t *testing.T) {
	proxy := mongoproxy.New(t, devstack.Mongo(t), mongoproxy.Config{})
	s := join(t, proxy.URI()).Store()
	ctx := t.Context()
	get := func(id string) backend.Task {
		t.Helper()
		task, err := s.Get(ctx, id)
		must(t, err)
		return task
	}

	twice(t, proxy, "insert", func() error {
		stored, err := s.Insert(ctx, []backend.NewTask{newTask("a"), newTask("b")})
		if err == nil && (len(stored) != 2 || stored[0].ID != "a" || stored[1].ID != "b") {
			t.Errorf("stored %v", stored)
		}
		return err
	})
	must(t, s.Beat(ctx, "o", 1))
	var claimed []backend.Task
	claim := backend.Claim{Queue: "q", Owner: "o", Nonce: "n", Max: 2, IDs: []string{"a", "b"}, FanIn: true}
	twice(t, proxy, "update", func() (err error) {
		claimed, _, err = s.Claim(ctx, claim)
		return err
	})
	if len(claimed) != 2 || claimed[0].Fence != 1 || claimed[1].Fence != 1 {
		t.Fatalf("claimed %+v", claimed)
	}
	twice(t, proxy, "find", func() (err error) {
		claimed, _, err = s.Claim(ctx, claim)
		return err
	})
	if len(claimed) != 2 || claimed[0].Attempt != 1 {
		t.Fatalf("claimed again %+v", claimed)
	}

	_, err := s.Insert(ctx, []backend.NewTask{newChild("a/0", "a")})
	must(t, err)
	twice(t, proxy, "update", func() error { return s.Spawn(ctx, backend.Spawn{Source: "a", Batch: "b", Now: true}) })
	twice(t, proxy, "update", func() error {
		came, err := s.Settle(ctx, []backend.Settle{
			{ID: "a", Fence: 1, Nonce: "x", To: backend.StatusSuccess},
			{ID: "b", Fence: 1, Nonce: "x", To: backend.StatusRetrying},
		})
		if want := []backend.Settled{backend.SettledWithSubtasks, backend.SettledApplied}; err == nil &&
			!slices.Equal(came, want) {
			t.Errorf("settled %v, want %v", came, want)
		}
		return err
	})
	if b := get("b"); b.Status != backend.StatusRetrying || b.Attempt != 1 {
		t.Errorf("%+v", b)
	}

	claim = backend.Claim{Queue: "q", Owner: "o", Nonce: "kid", Max: 1, IDs: []string{"a/0"}}
	_, _, err = s.Claim(ctx, claim)
	must(t, err)
	twice(t, proxy, "update", func() error {
		_, err := s.ExpireOwner(ctx, "o", 1, 3)
		return err
	})
	if kid := get("a/0"); kid.Status != backend.StatusWaiting || kid.Suspect == nil || kid.Suspect.Losses != 1 ||
		kid.Attempt != 0 {
		t.Errorf("%+v", kid)
	}
	twice(t, proxy, "update", func() error {
		_, err := s.Stop(ctx, backend.Stop{ID: "a/0", Reason: "enough"})
		return err
	})
	twice(t, proxy, "update", func() error {
		finished, _, err := s.Finish(ctx, "a")
		if err == nil && !finished {
			t.Error("not finished")
		}
		return err
	})
	if c := get("a").Subtasks; c == nil || c.Total != 1 || c.Stopped != 1 {
		t.Errorf("counts %+v", c)
	}
	if done := get("a/done"); done.Status != backend.StatusWaiting {
		t.Errorf("%+v", done)
	}
}

// If a process dies between the writes of a commit, others complete it.
func TestInterruptedCommitIsCompleted(t *testing.T) {
	for name, complete := range map[string]func(ctx context.Context, s backend.Store) error{
		"spawning_again": func(ctx context.Context, s backend.Store) error {
			return s.Spawn(ctx, backend.Spawn{Source: "a", Batch: "b"})
		},
		"finishing": func(ctx context.Context, s backend.Store) error {
			finished, _, err := s.Finish(ctx, "a")
			if finished {
				return backend.NewError(backend.ErrInternal, "finished despite a live subtask")
			}
			return err
		},
		"opening":    func(ctx context.Context, s backend.Store) error { _, err := s.Open(ctx, "a"); return err },
		"discarding": func(ctx context.Context, s backend.Store) error { return s.Discard(ctx, "a", "b") },
	} {
		t.Run(name, func(t *testing.T) {
			proxy := mongoproxy.New(t, devstack.Mongo(t), mongoproxy.Config{})
			s := join(t, proxy.URI()).Store()
			ctx := t.Context()
			_, err := s.Insert(ctx, []backend.NewTask{newTask("a")})
			must(t, err)
			_, _, err = s.Claim(ctx, backend.Claim{Queue: "q", Owner: "o", Nonce: "n", Max: 1, IDs: []string{"a"}})
			must(t, err)
			_, err = s.Settle(ctx, []backend.Settle{{ID: "a", Fence: 1, Nonce: "n", To: backend.StatusSuccess}})
			must(t, err)
			_, err = s.Insert(ctx, []backend.NewTask{newChild("a/0", "a")})
			must(t, err)
			loseReply(proxy, "update")
			if err := s.Spawn(ctx, backend.Spawn{Source: "a", Batch: "b"}); err == nil {
				t.Fatal("nothing was lost")
			}
			must(t, complete(ctx, s))
			_, err = s.Open(ctx, "a")
			must(t, err)
			claimed, _, err := s.Claim(ctx, backend.Claim{Queue: "q", Owner: "o", Nonce: "m", Max: 5})
			must(t, err)
			if len(claimed) != 1 || claimed[0].ID != "a/0" {
				t.Errorf("claimed %v", claimed)
			}
			_, err = s.Settle(ctx, []backend.Settle{{ID: "a/0", Fence: 1, Nonce: "n", To: backend.StatusSuccess}})
			must(t, err)
			if finished, _, err := s.Finish(ctx, "a"); err != nil || !finished {
				t.Errorf("finished %v, %v", finished, err)
			}
		})
	}
}

// If a process dies before it has freed all tasks of an expired owner, the next process completes the expiry.
func TestInterruptedExpiryIsCompleted(t *testing.T) {
	proxy := mongoproxy.New(t, devstack.Mongo(t), mongoproxy.Config{})
	s := join(t, proxy.URI()).Store()
	ctx := t.Context()
	must(t, s.Beat(ctx, "o", 4))
	_, err := s.Insert(ctx, []backend.NewTask{newTask("a")})
	must(t, err)
	_, _, err = s.Claim(ctx, backend.Claim{Queue: "q", Owner: "o", Nonce: "n", Max: 1, IDs: []string{"a"}})
	must(t, err)
	loseReply(proxy, "update")
	if _, err := s.ExpireOwner(ctx, "o", 4, 3); err == nil {
		t.Fatal("nothing was lost")
	}
	if err := s.Beat(ctx, "o", 5); backend.CodeOf(err) != backend.ErrAborted {
		t.Errorf("heartbeat of an expired owner: %v", err)
	}
	owners, err := s.Owners(ctx)
	must(t, err)
	if owners["o"].Count != 4 {
		t.Errorf("owners %v", owners)
	}
	freed, err := s.ExpireOwner(ctx, "o", 4, 3)
	must(t, err)
	if len(freed) != 1 || freed[0].Status != backend.StatusWaiting || freed[0].Suspect == nil ||
		freed[0].Suspect.Losses != 1 {
		t.Errorf("freed %+v", freed)
	}
	if owners, err := s.Owners(ctx); err != nil || len(owners) != 0 {
		t.Errorf("owners %v, %v", owners, err)
	}
}

// Wherever an expiry was interrupted, the next process charges the same task, since that is decided before any task is
// freed.
func TestInterruptedExpiryChargesTheSameTask(t *testing.T) {
	proxy := mongoproxy.New(t, devstack.Mongo(t), mongoproxy.Config{})
	c := join(t, proxy.URI())
	s := c.Store()
	var clock conform.Skip
	skipping(c, &clock)
	ctx := t.Context()
	claim := func(owner string, ids ...string) {
		t.Helper()
		must(t, s.Beat(ctx, owner, 1))
		for _, id := range ids {
			taken, _, err := s.Claim(ctx, backend.Claim{Queue: "q", Owner: owner, Nonce: owner + id, Max: 1, IDs: []string{id},
				Suspects: 1})
			must(t, err)
			if len(taken) != 1 {
				t.Fatalf("%s got %d tasks for %s", owner, len(taken), id)
			}
		}
	}
	for n := range 4 { // the owner expires, the charge is decided, its tasks are freed, the owner is marked as freed
		suspect, other, first, second := fmt.Sprint("s", n), fmt.Sprint("o", n), fmt.Sprint("first", n), fmt.Sprint("second",
			n)
		_, err := s.Insert(ctx, []backend.NewTask{newTask(suspect), newTask(other)})
		must(t, err)
		claim(first, suspect)
		_, err = s.ExpireOwner(ctx, first, 1, 3)
		must(t, err)
		clock.Sleep(2 * time.Second)
		claim(second, suspect, other)
		proxy.Trap(mongoproxy.After, mongoproxy.AfterFirst(n, mongoproxy.Named("update")), nil)
		if _, err := s.ExpireOwner(ctx, second, 1, 3); err == nil {
			t.Fatalf("nothing was lost after %d updates", n)
		}
		_, err = s.ExpireOwner(ctx, second, 1, 3)
		must(t, err)
		for id, want := range map[string]backend.Suspect{
			suspect: {Losses: 2, Owner: second, Charged: true}, other: {Losses: 1, Owner: second},
		} {
			task, err := s.Get(ctx, id)
			must(t, err)
			if task.Suspect == nil || task.Suspect.Losses != want.Losses || task.Suspect.Charged != want.Charged ||
				task.Suspect.Owner != want.Owner ||
				(task.Crashes == 1) != want.Charged || task.Attempt != 0 {
				t.Errorf("interrupted after %d updates: task %s has %d crashes and %+v", n+1, id, task.Crashes, task.Suspect)
			}
		}
	}
}

// Purge frees a claim that was made after its owner expired, by a process that has ended.
func TestPurgeFreesLateClaims(t *testing.T) {
	c := join(t, devstack.Mongo(t))
	s := c.Store()
	ctx := t.Context()
	_, err := s.Insert(ctx, []backend.NewTask{newTask("a"), newTask("b")})
	must(t, err)
	_, _, err = s.Claim(ctx, backend.Claim{Queue: "q", Owner: "o", Nonce: "n", Max: 2, IDs: []string{"a", "b"}})
	must(t, err)
	_, err = c.Mongo().Collection("owners").UpdateOne(ctx, map[string]any{"_id": "o"},
		map[string]any{"$set": map[string]any{"convicted": true, "freed": true, "most": 3}})
	must(t, err)
	_, err = c.Mongo().Collection("tasks").UpdateOne(ctx, map[string]any{"_id": "a"},
		map[string]any{"$set": map[string]any{"started": time.Now().Add(-time.Hour).UnixNano()}})
	must(t, err)
	_, err = s.Purge(ctx, backend.Retention{}, 10)
	must(t, err)
	for id, want := range map[string]backend.Status{"a": backend.StatusWaiting, "b": backend.StatusRunning} {
		task, err := s.Get(ctx, id)
		must(t, err)
		if task.Status != want {
			t.Errorf("task %s is %s, want %s", id, task.Status, want)
		}
	}
}

// A process that is stopped for a while between the commands of a purge frees no task of an owner that has begun
// meanwhile.
func TestPurgeSparesNewOwners(t *testing.T) {
	uri := devstack.Mongo(t)
	other := join(t, uri)
	s := other.Store()
	var once sync.Once
	begin := func() {
		must(t, s.Beat(t.Context(), "new", 1))
		claimed, _, err := s.Claim(t.Context(), backend.Claim{Queue: "q", Owner: "new", Nonce: "n", Max: 1, IDs: []string{"a"},
			OwnerChecked: true})
		must(t, err)
		if len(claimed) != 1 {
			t.Fatal("not claimed")
		}
		_, err = other.Mongo().Collection("tasks").UpdateOne(t.Context(), bson.D{{Key: "_id", Value: "a"}},
			bson.D{{Key: "$inc", Value: bson.D{{Key: "started", Value: -int64(2 * time.Minute)}}}})
		must(t, err)
	}
	c := join(t, uri, func(c *mongo.Config) {
		c.Monitor = &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
			if name, _ := e.Command.Lookup(e.CommandName).StringValueOK(); e.CommandName == "aggregate" && name == "tasks" {
				once.Do(begin)
			}
		}}
	})
	_, err := s.Insert(t.Context(), []backend.NewTask{newTask("a")})
	must(t, err)
	_, err = c.Store().Purge(t.Context(), backend.Retention{}, 10)
	must(t, err)
	if task, err := s.Get(t.Context(), "a"); err != nil || task.Status != backend.StatusRunning {
		t.Errorf("%s, %v", task.Status, err)
	}
}

// Tasks claimed after their owner expired, and not released, are found by the next sweep. No handler has started, so
// nothing is charged.
func TestLateClaimsOfExpiredOwnerAreFreed(t *testing.T) {
	c := join(t, devstack.Mongo(t))
	s := c.Store()
	ctx := t.Context()
	must(t, s.Beat(ctx, "o", 4))
	_, err := s.Insert(ctx, []backend.NewTask{newTask("a"), newTask("b")})
	must(t, err)
	_, err = s.ExpireOwner(ctx, "o", 4, 3)
	must(t, err)
	_, err = c.Mongo().Collection("tasks").UpdateOne(ctx, bson.D{{Key: "_id", Value: "a"}}, bson.D{
		{Key: "$set", Value: bson.D{{Key: "status", Value: "running"}, {Key: "owner", Value: "o"}, {Key: "nonce", Value: "n"},
			{Key: "started", Value: int64(1)}}},
		{Key: "$inc", Value: bson.D{{Key: "fence", Value: int64(1)}, {Key: "attempt", Value: 1}}},
		{Key: "$unset", Value: bson.D{{Key: "place", Value: ""}}},
	})
	must(t, err)
	unfinished, err := s.Unfinished(ctx, 0, 10)
	must(t, err)
	if want := (backend.Unfinished{What: backend.UnfinishedClaims, Owner: "o", Count: 4}); len(unfinished) != 1 ||
		unfinished[0] != want {
		t.Fatalf("unfinished: %+v", unfinished)
	}
	freed, err := s.ExpireOwner(ctx, unfinished[0].Owner, unfinished[0].Count, 3)
	must(t, err)
	if len(freed) != 1 || freed[0].ID != "a" || freed[0].Status != backend.StatusWaiting || freed[0].Crashes != 0 ||
		freed[0].Attempt != 0 {
		t.Errorf("freed %+v", freed)
	}
	if unfinished, err := s.Unfinished(ctx, 0, 10); err != nil || len(unfinished) != 0 {
		t.Errorf("unfinished %+v, %v", unfinished, err)
	}
}
