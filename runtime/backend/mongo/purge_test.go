package mongo_test

import (
	"context"
	"fmt"
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

// reads records the queries on tasks while it is on.
type reads struct {
	mu       sync.Mutex
	on       bool
	commands []bson.Raw
}

func (r *reads) watch(c *mongo.Config) {
	c.Monitor = &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if name, ok := e.Command.Lookup(e.CommandName).StringValueOK(); r.on && ok && name == "tasks" {
			r.commands = append(r.commands, bson.Raw(append([]byte(nil), e.Command...)))
		}
	}}
}

// during returns the queries that fn sends.
func (r *reads) during(fn func()) []bson.Raw {
	set := func(on bool) []bson.Raw {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.on = on
		sent := r.commands
		r.commands = nil
		return sent
	}
	set(true)
	fn()
	return set(false)
}

// examined returns how many documents and index keys the server reads for queries.
func examined(t *testing.T, c *mongo.Client, queries []bson.Raw) (documents, keys int) {
	t.Helper()
	for _, q := range queries {
		if command := q.Index(0).Key(); command == "getMore" || command == "killCursors" {
			continue
		}
		elements, err := q.Elements()
		must(t, err)
		explained := bson.D{}
		for _, e := range elements {
			switch e.Key() {
			case "lsid", "$db", "$clusterTime", "$readPreference", "readConcern", "writeConcern":
			default:
				explained = append(explained, bson.E{Key: e.Key(), Value: e.Value()})
			}
		}
		var stats bson.Raw
		must(t, c.Mongo().RunCommand(t.Context(),
			bson.D{{Key: "explain", Value: explained}, {Key: "verbosity", Value: "executionStats"}}).Decode(&stats))
		d, k := sum(stats, "totalDocsExamined"), sum(stats, "totalKeysExamined")
		documents, keys = documents+d, keys+k
		t.Logf("%d documents, %d keys: %.300s", d, k, q)
	}
	return documents, keys
}

// sum adds the numbers under a key, at any depth.
func sum(doc bson.Raw, key string) (n int) {
	elements, _ := doc.Elements()
	for _, e := range elements {
		if v, ok := e.Value().AsInt64OK(); ok && e.Key() == key {
			n += int(v)
		}
		if inner, ok := e.Value().DocumentOK(); ok {
			n += sum(inner, key)
		} else if list, ok := e.Value().ArrayOK(); ok {
			n += sum(bson.Raw(list), key)
		}
	}
	return n
}

// A purge that has nothing to delete reads a few entries of each queue, however many tasks are kept. If there is a
// surplus, it reads the index to find it, and only the documents that it deletes.
func TestPurgeReadsLittle(t *testing.T) {
	const queues, kept = 3, 1000
	var skip conform.Skip
	var r reads
	uri := devstack.Mongo(t)
	c := skipping(join(t, uri, r.watch), &skip)
	wipe(t, uri)
	clock, err := c.Store().Now(t.Context())
	must(t, err)
	now := clock.Add(-time.Hour).UnixNano()
	for q := range queues {
		ends := make([]int64, kept)
		for i := range ends {
			ends[i] = now + int64(i)
		}
		insertEnded(t, c, fmt.Sprint("q", q), ends...)
	}
	purge := func(keep, want int) (documents, keys int) {
		t.Helper()
		return examined(t, c, r.during(func() {
			n, err := c.Store().Purge(t.Context(), backend.Retention{Age: 24 * time.Hour, Max: keep}, 2*queues*kept)
			if n != want || err != nil {
				t.Errorf("purged %d, %v, want %d", n, err, want)
			}
		}))
	}
	purge(kept, 0) // counts
	skip.Sleep(2 * time.Minute)
	if documents, keys := purge(kept, 0); documents > 2*queues || keys > 10*queues {
		t.Errorf("an idle purge of %d queues examined %d documents and %d keys", queues, documents, keys)
	}
	queries := r.during(func() {
		if n, err := c.Store().Purge(t.Context(), backend.Retention{Max: kept - 10}, 5); n != 5 || err != nil {
			t.Errorf("purged %d, %v", n, err)
		}
	})
	if documents, keys := examined(t, c, queries); documents > 20*queues || keys > 4*kept*queues {
		t.Errorf("a purge of 5 tasks examined %d documents and %d keys", documents, keys)
	}
}

// insertEnded stores tasks that ended at given times.
func insertEnded(t *testing.T, c *mongo.Client, queue string, ends ...int64) {
	t.Helper()
	docs := make([]any, len(ends))
	for i, at := range ends {
		docs[i] = bson.D{{Key: "_id", Value: fmt.Sprintf("%s.%d", queue, i)}, {Key: "top", Value: true},
			{Key: "queue", Value: queue}, {Key: "status", Value: "success"}, {Key: "created", Value: at},
			{Key: "ended", Value: at}}
	}
	_, err := c.Mongo().Collection("tasks").InsertMany(t.Context(), docs)
	must(t, err)
}

// Tasks that ended in the same nanosecond are counted one by one, and sources with an unfinished set are not counted.
func TestPurgeKeepsTheNewest(t *testing.T) {
	var skip conform.Skip
	uri := devstack.Mongo(t)
	for name, test := range map[string]struct {
		ends       []int64
		open       []int // indexes of sources with an unfinished set
		max, purge int
	}{
		"all_tied":      {ends: []int64{5, 5, 5, 5, 5, 5}, max: 2, purge: 4},
		"some_tied":     {ends: []int64{9, 5, 5, 5, 3, 2}, max: 2, purge: 4},
		"none_beyond":   {ends: []int64{5, 5}, max: 2, purge: 0},
		"open":          {ends: []int64{9, 8, 7, 6, 5}, open: []int{0, 2}, max: 2, purge: 1},
		"open_and_tied": {ends: []int64{9, 5, 5, 5, 5}, open: []int{0, 2}, max: 2, purge: 1},
		"all_open":      {ends: []int64{9, 8, 7}, open: []int{0, 1, 2}, max: 1, purge: 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := skipping(join(t, uri), &skip)
			wipe(t, uri)
			insertEnded(t, c, "q", test.ends...)
			for _, i := range test.open {
				_, err := c.Mongo().Collection("tasks").UpdateByID(t.Context(), fmt.Sprint("q.", i),
					bson.D{{Key: "$set", Value: bson.D{{Key: "open_set", Value: true}}}})
				must(t, err)
			}
			for _, want := range []int{test.purge, 0} {
				if n, err := c.Store().Purge(t.Context(), backend.Retention{Max: test.max}, 100); n != want || err != nil {
					t.Errorf("purged %d, %v, want %d", n, err, want)
				}
			}
		})
	}
}

// Two processes that delete what exceeds Max at the same time keep Max tasks together, even if all ended in the same
// nanosecond, as those of one settlement do.
func TestPurgesTogetherKeepMax(t *testing.T) {
	const kept = 3
	uri := devstack.Mongo(t)
	var i interruption
	other, c := join(t, uri), join(t, uri, i.watch)
	for n := int64(1); ; n++ {
		_, err := other.Mongo().Collection("tasks").DeleteMany(t.Context(), bson.D{})
		must(t, err)
		insertEnded(t, other, fmt.Sprint("q", n), 5, 5, 5, 5, 5, 5, 5, 5) // clients remember what they have read of a queue
		interrupted := false
		i.do = func() {
			_, err := other.Store().Purge(t.Context(), backend.Retention{Max: kept}, 100)
			must(t, err)
			interrupted = true
		}
		i.left.Store(n)
		_, err = c.Store().Purge(t.Context(), backend.Retention{Max: kept}, 100)
		must(t, err)
		if got := len(documentsOf(t, c.Mongo().Collection("tasks"))); got != kept {
			t.Errorf("another purge before command %d: %d tasks are left", n, got)
		}
		if !interrupted {
			return
		}
	}
}
