//go:build unix

package servers_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/afgen/afgen/internal/chaos"
	"github.com/afgen/afgen/internal/fault"
	"github.com/afgen/afgen/internal/mongoproxy"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/mongo"
)

// Audit implements chaos.World.
func (s *stack) Audit(begun time.Time) (*chaos.Audit, error) {
	stored, err := s.stored()
	if err != nil {
		return nil, err
	}
	changes, err := s.mongoProxy.Changes()
	if err != nil {
		return nil, err
	}
	var entries []fault.Entry
	var owners []string
	add := func(e fault.Entry, owner string) { entries, owners = append(entries, e), append(owners, owner) }
	for _, c := range changes {
		r, err := newDocChange(c)
		if err != nil {
			return nil, err
		}
		e := fault.Entry{At: r.at.Sub(begun), Now: r.at, Instance: r.instance}
		if c.Collection == "owners" {
			if r.expired != "" {
				e.Op, e.Owner, e.Expires = "ExpireOwner", r.expired, true
				add(e, "")
			}
			continue
		}
		for _, batch := range r.newBatches() {
			c := e
			c.Op, c.Commits = "Spawn", r.after.ID
			c.Spawn = backend.Spawn{Source: r.after.ID, Batch: batch, Now: chaos.RunsNow(stored[r.after.ID], batch)}
			add(c, "")
		}
		if r.unchanged() {
			continue
		}
		e.Op, e.Changes = r.operation(), []fault.Change{{Before: r.before.task(), After: r.after.task()}}
		owner := ""
		if r.before != nil {
			owner = r.before.Owner
		}
		if e.Op == "Claim" { // by the server's clock, as claimers estimate it
			e.Owner, e.FanIn, e.Now = r.after.Owner, r.after.FanIn, r.claimedAt()
		}
		add(e, owner)
	}
	a := &chaos.Audit{Log: fault.NewLog(entries), Owners: map[*fault.Entry]string{}, Stored: stored}
	for i := range a.Log.Entries {
		a.Owners[&a.Log.Entries[i]] = owners[i]
	}
	return a, nil
}

// stored returns all tasks in the store.
func (s *stack) stored() (map[string]backend.Task, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := mongo.New(mongo.Config{
		URI: "mongodb://" + s.mongoProxy.Server() + "/", Database: s.mongoProxy.Database().Name(),
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	defer client.Close(ctx)
	stored := map[string]backend.Task{}
	q := backend.TaskQuery{Limit: 1000, Sort: backend.SortOldest}
	for {
		page, err := client.Store().List(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, t := range page.Tasks {
			stored[t.ID] = t
		}
		if q.Cursor = page.Cursor; q.Cursor == "" {
			return stored, nil
		}
	}
}

// instanceOf returns the instance with a given MongoDB application name.
func instanceOf(application string) string { return strings.TrimPrefix(application, "afgen ") }

// A docChange is one change of a document.
type docChange struct {
	at            time.Time
	instance      string
	before, after *taskDoc
	expired       string // the owner that the change expires
}

// newDocChange decodes a change.
func newDocChange(change mongoproxy.Change) (docChange, error) {
	c := docChange{at: change.At, instance: instanceOf(change.Application)}
	var err error
	switch change.Collection {
	case "tasks":
		if c.before, err = decode[taskDoc](change.Before); err == nil {
			c.after, err = decode[taskDoc](change.After)
		}
	case "owners":
		var was, is *ownerDoc
		if was, err = decode[ownerDoc](change.Before); err != nil {
			break
		}
		if is, err = decode[ownerDoc](change.After); err == nil && is != nil && is.Convicted &&
			(was == nil || !was.Convicted) {
			c.expired = is.Name
		}
	}
	return c, err
}

// decode returns nil if document is nil.
func decode[T any](document bson.Raw) (*T, error) {
	if document == nil {
		return nil, nil
	}
	x := new(T)
	return x, bson.Unmarshal(document, x)
}

// A taskDoc has the fields of a task's document that the audit needs.
type taskDoc struct {
	ID        string   `bson:"_id"`
	Queue     string   `bson:"queue"`
	Status    string   `bson:"status"`
	Attempt   int      `bson:"attempt"`
	Crashes   int      `bson:"crashes"`
	Fence     int64    `bson:"fence"`
	Suspect   suspect  `bson:"suspect"`
	Batch     string   `bson:"batch"`
	OnFailure string   `bson:"on_failure"`
	DoneOf    string   `bson:"done_of"`
	UniqueKey string   `bson:"unique_key"`
	Due       int64    `bson:"due"`
	Deadline  int64    `bson:"deadline"`
	Started   int64    `bson:"started"`
	Ended     int64    `bson:"ended"`
	Result    []byte   `bson:"result"`
	Subtasks  *sums    `bson:"subtasks"`
	Kin       *kin     `bson:"kin"`
	Settled   string   `bson:"settled"`
	Owner     string   `bson:"owner"`
	FanIn     bool     `bson:"fan_in"`
	Batches   []string `bson:"batches"`
	Held      string   `bson:"held"`
}

type sums struct {
	Total     int   `bson:"total"`
	Succeeded int   `bson:"succeeded"`
	Failed    int   `bson:"failed"`
	Stopped   int   `bson:"stopped"`
	Finished  int64 `bson:"finished"`
}

// A suspect has the fields that each loss of a suspected task changes.
type suspect struct {
	Losses  int `bson:"losses"`
	Cleared int `bson:"cleared"`
}

type kin struct {
	Source string `bson:"source"`
}

type ownerDoc struct {
	Name      string `bson:"_id"`
	Convicted bool   `bson:"convicted"`
}

func (x *taskDoc) task() backend.Task {
	if x == nil {
		return backend.Task{}
	}
	t := backend.Task{
		ID: x.ID, Queue: x.Queue, Status: backend.Status(x.Status), Attempt: x.Attempt, Crashes: x.Crashes, Fence: x.Fence,
		UniqueKey: x.UniqueKey, Batch: x.Batch, OnFailure: backend.FailurePolicy(x.OnFailure), DoneOf: x.DoneOf,
		RunAt: instantOf(x.Due), Deadline: instantOf(x.Deadline), Started: instantOf(x.Started), Ended: instantOf(x.Ended),
	}
	if x.Kin != nil {
		t.Source = x.Kin.Source
	}
	if len(x.Result) > 0 {
		t.Result = json.RawMessage(x.Result)
	}
	if n := x.Subtasks; n != nil {
		t.Subtasks = &backend.SubtaskCounts{
			Total: n.Total, Succeeded: n.Succeeded, Failed: n.Failed, Stopped: n.Stopped, Finished: instantOf(n.Finished),
		}
	}
	return t
}

func instantOf(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// newBatches returns the batches that were added to a source's set.
func (c docChange) newBatches() []string {
	if c.after == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(c.after.Batches), func(b string) bool {
		return c.before != nil && slices.Contains(c.before.Batches, b)
	})
}

// unchanged reports whether no field that belongs to a transition has changed, as when only a hint was recorded.
func (c docChange) unchanged() bool {
	a, b := c.before, c.after
	return a != nil && b != nil && a.Status == b.Status && a.Fence == b.Fence && a.Attempt == b.Attempt &&
		a.Crashes == b.Crashes && a.Due == b.Due && a.Ended == b.Ended && (a.Subtasks == nil) == (b.Subtasks == nil) &&
		string(a.Result) == string(b.Result)
}

// operation returns the store operation that made a change, or "" if none could have.
func (c docChange) operation() string {
	const running, failed = string(backend.StatusRunning), string(backend.StatusFailed)
	const stopped, pending = string(backend.StatusStopped), string(backend.StatusPending)
	a, b := c.before, c.after
	switch {
	case b == nil && a.Held != "":
		return "Discard"
	case b == nil:
		return "" // no task is old enough for purging
	case b.DoneOf != "" && a == nil, a != nil && a.Subtasks == nil && b.Subtasks != nil:
		return "Finish"
	case a == nil:
		return "Insert"
	case b.Status == a.Status && b.Crashes < a.Crashes:
		return "Refund"
	case b.Status == running && (a.Status != running || a.Fence != b.Fence):
		return "Claim"
	case a.Status == running && b.Settled != "" && b.Settled != a.Settled:
		return "Settle"
	case a.Status == running && a.Suspect == b.Suspect && strings.HasPrefix(a.Owner, c.instance):
		return "Settle" // releases a claim that its owner doesn't know of
	case a.Status == running:
		return "ExpireOwner"
	case b.Status == failed, b.Status == pending:
		return "Promote"
	case b.Status == stopped:
		return "Stop"
	}
	return ""
}

// clockSlack is how much the estimates of the server's time may differ between processes on a busy machine.
const clockSlack = 250 * time.Millisecond

// claimedAt returns when a task was claimed. It tolerates a small difference between the clocks of the claimer and of
// the instance that set the due time.
func (c docChange) claimedAt() time.Time {
	at, due, deadline := instantOf(c.after.Started), instantOf(c.before.Due), instantOf(c.before.Deadline)
	if due.After(at) && due.Sub(at) < clockSlack {
		at = due
	}
	if !deadline.IsZero() && at.After(deadline) && at.Sub(deadline) < clockSlack {
		at = deadline
	}
	return at
}
