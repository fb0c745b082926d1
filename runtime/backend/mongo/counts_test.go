package mongo_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/mongo"
)

// A keysCounter keeps the counts that a client sends.
type keysCounter struct {
	mu   sync.Mutex
	sent []bson.D
}

func (k *keysCounter) watch(c *mongo.Config) {
	c.Monitor = &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		if e.CommandName != "count" {
			return
		}
		queries, _ := queriesOf(e.Command)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.sent = append(k.sent, queries...)
	}}
}

// keys returns how many keys of indexes the counts since the last call examine, and how many there were. They must not
// read documents or scan several ranges of an index, unless ranges is set.
func (k *keysCounter) keys(t *testing.T, c *mongo.Client, ranges bool) (keys, commands int) {
	t.Helper()
	k.mu.Lock()
	sent := k.sent
	k.sent = nil
	k.mu.Unlock()
	for _, q := range sent {
		var plan struct {
			Stats struct {
				Keys   int      `bson:"totalKeysExamined"`
				Docs   int      `bson:"totalDocsExamined"`
				Stages bson.Raw `bson:"executionStages"`
			} `bson:"executionStats"`
		}
		must(t, c.Mongo().RunCommand(t.Context(),
			bson.D{{Key: "explain", Value: q}, {Key: "verbosity", Value: "executionStats"}}).Decode(&plan))
		stage, _ := plan.Stats.Stages.Lookup("inputStage", "stage").StringValueOK()
		if plan.Stats.Docs > 0 || stage == "IXSCAN" && !ranges {
			t.Errorf("%v examines %d documents, stage %s", q, plan.Stats.Docs, stage)
		}
		keys += plan.Stats.Keys
	}
	return keys, len(sent)
}

// Counts examine a bounded number of keys of indexes, and those beyond the bound are not repeated for 10 s.
func TestCountsAreBounded(t *testing.T) {
	var k keysCounter
	uri := devstack.Mongo(t)
	skip := new(conform.Skip)
	c := skipping(join(t, uri, k.watch), skip)
	s := c.Store()
	const stored = 2*backend.MaxTotal + 2_000 // in two queues
	for from := 0; from < stored; from += 1000 {
		var tasks []backend.NewTask
		for i := from; i < from+1000; i++ {
			n := newTask(fmt.Sprint("t", i))
			n.Task.Queue = fmt.Sprint("q", i%2)
			tasks = append(tasks, n)
		}
		_, err := s.Insert(t.Context(), tasks)
		must(t, err)
	}
	check := func(what string, most, commands int, ranges bool, read func() (backend.Count, error)) {
		t.Helper()
		got, err := read()
		must(t, err)
		if want := (backend.Count{N: backend.MaxTotal, AtLeast: true}); got != want {
			t.Errorf("%s: %+v", what, got)
		}
		if keys, n := k.keys(t, c, ranges); keys > most || n > commands {
			t.Errorf("%s: %d counts examine %d keys, want at most %d and %d", what, n, keys, commands, most)
		}
	}
	queues := func() (backend.Count, error) {
		all, err := s.Queues(t.Context())
		if err != nil || len(all) != 2 {
			return backend.Count{}, fmt.Errorf("%d queues: %w", len(all), err)
		}
		return all[1].Counts[backend.StatusWaiting], nil
	}
	list := func(q backend.TaskQuery) func() (backend.Count, error) {
		return func() (backend.Count, error) {
			q.Limit = 1
			p, err := s.List(t.Context(), q)
			return backend.Count{N: p.Total, AtLeast: p.AtLeast}, err
		}
	}
	const one = backend.MaxTotal + 20 // keys, with those at the ends of ranges
	check("queues", 2*one, 2*len(liveOnes), false, queues)
	check("queues again", 50, 2*len(liveOnes)-2, false, queues)
	skip.Sleep(11 * time.Second)
	check("queues later", 2*one, 2*len(liveOnes), false, queues)

	since := time.Now().AddDate(-1, 0, 0)
	some := []backend.Status{backend.StatusRetrying, backend.StatusWaiting}
	check("all", 0, 1, false, list(backend.TaskQuery{}))
	check("queue", one, 1, false, list(backend.TaskQuery{Queue: "q1"}))
	check("queue again", 0, 0, false, list(backend.TaskQuery{Queue: "q1"}))
	check("since", one, 1, false, list(backend.TaskQuery{After: since}))
	check("statuses", one, 1, false, list(backend.TaskQuery{Statuses: some}))
	check("queue and statuses", one, 0, false, list(backend.TaskQuery{Queue: "q1", Statuses: some})) // as Queues
}

var liveOnes = slices.DeleteFunc(slices.Clone(backend.Statuses()), backend.Status.Final)

// Totals are exact whatever statuses they add up.
func TestTotalsOfStatuses(t *testing.T) {
	s := join(t, devstack.Mongo(t)).Store()
	var tasks []backend.NewTask
	for i := range 10 {
		tasks = append(tasks, newTask(fmt.Sprint("t", i)))
	}
	_, err := s.Insert(t.Context(), tasks)
	must(t, err)
	for i := range 3 {
		_, err := s.Stop(t.Context(), backend.Stop{ID: fmt.Sprint("t", i)})
		must(t, err)
	}
	waiting, stopped, success := backend.StatusWaiting, backend.StatusStopped, backend.StatusSuccess
	for _, tt := range []struct {
		statuses []backend.Status
		want     int
	}{
		{nil, 10}, {[]backend.Status{waiting}, 7}, {[]backend.Status{waiting, stopped}, 10},
		{[]backend.Status{stopped, success}, 3}, {[]backend.Status{waiting, success}, 7},
		{[]backend.Status{stopped, stopped}, 3}, {[]backend.Status{waiting, waiting, stopped}, 10},
	} {
		for _, q := range []backend.TaskQuery{{}, {Queue: "q"}, {After: time.Now().AddDate(-1, 0, 0)}} {
			q.Statuses, q.Limit = tt.statuses, 1
			p, err := s.List(t.Context(), q)
			must(t, err)
			if p.Total != tt.want || p.AtLeast {
				t.Errorf("%+v: %d tasks, at least: %v, want %d", q, p.Total, p.AtLeast, tt.want)
			}
		}
	}
}
