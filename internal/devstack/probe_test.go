package devstack_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
)

// The requirements of a task store. A server that speaks MongoDB's protocol is usable if it passes:
//
//	AF_TEST_MONGO=mongodb://… go test -v -run MongoIsFit ./internal/devstack
func TestMongoIsFitForAStore(t *testing.T) {
	uri := devstack.Mongo(t)
	client, err := mongo.Connect(options.Client().ApplyURI(uri).SetWriteConcern(&writeconcern.WriteConcern{W: "majority"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Disconnect(context.Background()); err != nil {
			t.Error(err)
		}
	})
	db := client.Database(strings.Split(strings.TrimPrefix(uri, "mongodb://"), "/")[1])
	for name, probe := range map[string]func(*testing.T, *mongo.Collection){
		"one_claim_wins":           probeClaimRace,
		"claims_by_nonce":          probeNonce,
		"one_compare_and_set_wins": probeCompareAndSet,
		"increments":               probeInc,
		"indexes":                  probeIndexes,
		"bulk_writes":              probeBulk,
		"dotted_fields":            probeDotted,
		"server_time":              probeClock,
		"values_and_sorts":         probeValues,
		"explain_names_index":      probeExplain,
		"claims_with_2000_pending": probeSpeed,
	} {
		t.Run(name, func(t *testing.T) {
			probe(t, db.Collection(strings.Map(func(r rune) rune {
				if r >= 'a' && r <= 'z' {
					return r
				}
				return -1
			}, name)))
		})
	}
}

func many(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() { <-start; f(i) })
	}
	close(start)
	wg.Wait()
}

var must = testkit.Must

func probeClaimRace(t *testing.T, c *mongo.Collection) {
	for round := range 20 {
		_, err := c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: round}, {Key: "status", Value: "pending"}})
		must(t, err)
		var winners atomic.Int32
		many(16, func(i int) {
			err := c.FindOneAndUpdate(t.Context(), bson.D{{Key: "_id", Value: round}, {Key: "status", Value: "pending"}},
				bson.D{{Key: "$set", Value: bson.D{{Key: "status", Value: "running"}, {Key: "owner", Value: i}}}}).Err()
			switch {
			case err == nil:
				winners.Add(1)
			case !errors.Is(err, mongo.ErrNoDocuments):
				t.Error(err)
			}
		})
		if n := winners.Load(); n != 1 {
			t.Errorf("round %d had %d winners", round, n)
		}
	}
}

func probeNonce(t *testing.T, c *mongo.Collection) {
	var ids []string
	var docs []any
	for i := range 200 {
		ids = append(ids, fmt.Sprint("t", i))
		docs = append(docs, bson.D{{Key: "_id", Value: ids[i]}, {Key: "status", Value: 0}, {Key: "fence", Value: int64(0)}})
	}
	_, err := c.InsertMany(t.Context(), docs)
	must(t, err)
	got := make([][]string, 8)
	many(8, func(i int) {
		for n := 0; n < len(ids); n += 10 {
			nonce := fmt.Sprint(i, "-", n)
			_, err := c.UpdateMany(t.Context(),
				bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids[n : n+10]}}},
					{Key: "status", Value: bson.D{{Key: "$in", Value: []int{0, 1}}}}},
				bson.D{{Key: "$set", Value: bson.D{{Key: "status", Value: 2}, {Key: "nonce", Value: nonce}}},
					{Key: "$inc", Value: bson.D{{Key: "fence", Value: int64(1)}}}})
			if err != nil {
				t.Error(err)
				return
			}
			cur, err := c.Find(t.Context(), bson.D{{Key: "nonce", Value: nonce}})
			if err != nil {
				t.Error(err)
				return
			}
			var found []struct {
				ID    string `bson:"_id"`
				Fence int64
			}
			if err := cur.All(t.Context(), &found); err != nil {
				t.Error(err)
			}
			for _, f := range found {
				got[i] = append(got[i], f.ID)
				if f.Fence != 1 {
					t.Errorf("%s has fence %d", f.ID, f.Fence)
				}
			}
		}
	})
	all := slices.Concat(got...)
	slices.Sort(all)
	if n := len(all); n != len(ids) || len(slices.Compact(all)) != n {
		t.Errorf("%d claims of %d tasks", n, len(ids))
	}
}

func probeCompareAndSet(t *testing.T, c *mongo.Collection) {
	_, err := c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "n"}, {Key: "rev", Value: int64(0)}})
	must(t, err)
	for rev := range int64(20) {
		var winners atomic.Int32
		many(16, func(int) {
			r, err := c.UpdateOne(t.Context(), bson.D{{Key: "_id", Value: "n"}, {Key: "rev", Value: rev}},
				bson.D{{Key: "$set", Value: bson.D{{Key: "rev", Value: rev + 1}}}})
			if err != nil {
				t.Error(err)
				return
			}
			winners.Add(int32(r.MatchedCount))
		})
		if n := winners.Load(); n != 1 {
			t.Errorf("revision %d had %d writers", rev, n)
		}
	}
}

func probeInc(t *testing.T, c *mongo.Collection) {
	many(16, func(int) {
		for range 20 {
			_, err := c.UpdateOne(t.Context(), bson.D{{Key: "_id", Value: "n"}},
				bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: int64(1)}}}}, options.UpdateOne().SetUpsert(true))
			if err != nil && !mongo.IsDuplicateKeyError(err) {
				t.Error(err)
			} else if err != nil {
				_, err = c.UpdateOne(t.Context(), bson.D{{Key: "_id", Value: "n"}},
					bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: int64(1)}}}})
				if err != nil {
					t.Error(err)
				}
			}
		}
	})
	var doc struct{ N int64 }
	must(t, c.FindOne(t.Context(), bson.D{{Key: "_id", Value: "n"}}).Decode(&doc))
	if doc.N != 320 {
		t.Errorf("%d of 320", doc.N)
	}
}

func probeIndexes(t *testing.T, c *mongo.Collection) {
	models := []mongo.IndexModel{
		{Keys: bson.D{{Key: "key", Value: 1}}, Options: options.Index().SetUnique(true).SetSparse(true).SetName("key")},
		{Keys: bson.D{{Key: "queue", Value: 1}, {Key: "weight", Value: -1}, {Key: "seq", Value: 1}},
			Options: options.Index().SetName("line")},
	}
	for range 2 {
		_, err := c.Indexes().CreateMany(t.Context(), models)
		must(t, err)
	}
	for i := range 3 {
		_, err := c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: i}})
		must(t, err)
	}
	var won atomic.Int32
	many(16, func(i int) {
		_, err := c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: fmt.Sprint("u", i)}, {Key: "key", Value: "k"}})
		if err == nil {
			won.Add(1)
		} else if !mongo.IsDuplicateKeyError(err) {
			t.Error(err)
		}
	})
	if won.Load() != 1 {
		t.Errorf("%d hold one key", won.Load())
	}
	_, err := c.UpdateOne(t.Context(), bson.D{{Key: "key", Value: "k"}},
		bson.D{{Key: "$unset", Value: bson.D{{Key: "key", Value: ""}}}})
	must(t, err)
	_, err = c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "after"}, {Key: "key", Value: "k"}})
	must(t, err)
	// An unordered insert inserts all valid documents and names each of the others.
	_, err = c.InsertMany(t.Context(),
		[]any{bson.D{{Key: "_id", Value: "x"}}, bson.D{{Key: "_id", Value: "x"}},
			bson.D{{Key: "_id", Value: "y"}, {Key: "key", Value: "k"}}, bson.D{{Key: "_id", Value: "z"}}},
		options.InsertMany().SetOrdered(false))
	var bulk mongo.BulkWriteException
	if !errors.As(err, &bulk) || len(bulk.WriteErrors) != 2 || bulk.WriteErrors[0].Index != 1 ||
		bulk.WriteErrors[1].Index != 2 {
		t.Errorf("inserting twice: %v", err)
	}
	if n, err := c.CountDocuments(t.Context(), bson.D{{Key: "_id",
		Value: bson.D{{Key: "$in", Value: []string{"x", "y", "z"}}}}}); n != 2 || err != nil {
		t.Errorf("%d inserted, %v", n, err)
	}
}

func probeBulk(t *testing.T, c *mongo.Collection) {
	var docs []any
	for i := range 10 {
		docs = append(docs, bson.D{{Key: "_id", Value: i}, {Key: "fence", Value: int64(i % 2)}})
	}
	_, err := c.InsertMany(t.Context(), docs)
	must(t, err)
	var models []mongo.WriteModel
	for i := range 10 {
		models = append(models,
			mongo.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: i}, {Key: "fence", Value: int64(1)},
				{Key: "stop", Value: bson.D{{Key: "$ne", Value: true}}}}).
				SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "status", Value: "done"}}},
					{Key: "$unset", Value: bson.D{{Key: "owner", Value: ""}}}}))
	}
	r, err := c.BulkWrite(t.Context(), models, options.BulkWrite().SetOrdered(false))
	must(t, err)
	if r.MatchedCount != 5 {
		t.Errorf("%d matched", r.MatchedCount)
	}
}

func probeDotted(t *testing.T, c *mongo.Collection) {
	_, err := c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: 1},
		{Key: "set", Value: bson.D{{Key: "rev", Value: int64(1)}}}})
	must(t, err)
	r, err := c.UpdateOne(t.Context(),
		bson.D{{Key: "_id", Value: 1}, {Key: "set.rev", Value: int64(1)},
			{Key: "set.done", Value: bson.D{{Key: "$exists", Value: false}}}},
		bson.D{{Key: "$inc", Value: bson.D{{Key: "set.rev", Value: int64(1)}}},
			{Key: "$set", Value: bson.D{{Key: "set.done", Value: true}}}, {Key: "$addToSet",
				Value: bson.D{{Key: "set.batches", Value: "b"}}}})
	must(t, err)
	var doc struct {
		Set struct {
			Rev     int64
			Done    bool
			Batches []string
		}
	}
	must(t, c.FindOne(t.Context(), bson.D{{Key: "_id", Value: 1}}).Decode(&doc))
	if r.MatchedCount != 1 || doc.Set.Rev != 2 || !doc.Set.Done || !slices.Equal(doc.Set.Batches, []string{"b"}) {
		t.Errorf("%+v %+v", r, doc)
	}
	_, err = c.UpdateOne(t.Context(), bson.D{{Key: "_id", Value: 1},
		{Key: "set.batches", Value: bson.D{{Key: "$ne", Value: "c"}}}},
		bson.D{{Key: "$push", Value: bson.D{{Key: "set.batches", Value: "c"}}},
			{Key: "$max", Value: bson.D{{Key: "set.rev", Value: int64(9)}}}})
	must(t, err)
	r, err = c.UpdateOne(t.Context(),
		bson.D{{Key: "_id", Value: 1}, {Key: "set.batches", Value: "c"},
			{Key: "set.rev", Value: int64(9)}}, bson.D{{Key: "$pull", Value: bson.D{{Key: "set.batches", Value: "c"}}}})
	must(t, err)
	if r.ModifiedCount != 1 {
		t.Errorf("%+v", r)
	}
}

func probeClock(t *testing.T, c *mongo.Collection) {
	var hello struct{ LocalTime time.Time }
	must(t, c.Database().RunCommand(t.Context(), bson.D{{Key: "hello", Value: 1}}).Decode(&hello))
	if d := time.Since(hello.LocalTime).Abs(); d > time.Minute {
		t.Errorf("the server's time is off by %v", d)
	}
	_, err := c.UpdateOne(t.Context(), bson.D{{Key: "_id", Value: 1}},
		bson.D{{Key: "$currentDate", Value: bson.D{{Key: "at", Value: true}}}}, options.UpdateOne().SetUpsert(true))
	must(t, err)
	var doc struct{ At time.Time }
	must(t, c.FindOne(t.Context(), bson.D{{Key: "_id", Value: 1}}).Decode(&doc))
	if d := time.Since(doc.At).Abs(); d > time.Minute {
		t.Errorf("the server wrote a time that is off by %v", d)
	}
}

func probeValues(t *testing.T, c *mongo.Collection) {
	large := time.Now().UnixNano()
	for i, id := range []string{"b", "a", "ü", "%", "_"} {
		_, err := c.InsertOne(t.Context(),
			bson.D{{Key: "_id", Value: id}, {Key: "at", Value: large + int64(i%2)}, {Key: "body", Value: []byte(`{"a":1}`)}})
		must(t, err)
	}
	cur, err := c.Find(t.Context(), bson.D{{Key: "at", Value: bson.D{{Key: "$gte", Value: large}}}},
		options.Find().SetSort(bson.D{{Key: "at", Value: -1},
			{Key: "_id", Value: 1}}).SetLimit(4).SetSkip(1).SetProjection(bson.D{{Key: "body", Value: 1}}))
	must(t, err)
	var got []struct {
		ID   string `bson:"_id"`
		Body []byte
	}
	must(t, cur.All(t.Context(), &got))
	var ids []string
	for _, g := range got {
		ids = append(ids, g.ID)
		if string(g.Body) != `{"a":1}` {
			t.Errorf("body %q", g.Body)
		}
	}
	if !slices.Equal(ids, []string{"a", "_", "b", "ü"}) && !slices.Equal(ids, []string{"%", "_", "b", "ü"}) {
		t.Errorf("sorted %q", ids)
	}
	cur, err = c.Aggregate(t.Context(), mongo.Pipeline{
		{{Key: "$match", Value: bson.D{{Key: "at", Value: bson.D{{Key: "$gt", Value: 0}}}}}},
		{{Key: "$group", Value: bson.D{{Key: "_id", Value: "$at"}, {Key: "n", Value: bson.D{{Key: "$sum", Value: 1}}}}}},
	})
	must(t, err)
	var groups []struct {
		ID int64 `bson:"_id"`
		N  int
	}
	must(t, cur.All(t.Context(), &groups))
	if len(groups) != 2 || groups[0].N+groups[1].N != 5 {
		t.Errorf("groups %+v", groups)
	}
	r, err := c.DeleteMany(t.Context(), bson.D{{Key: "$or",
		Value: bson.A{bson.D{{Key: "_id", Value: "a"}}, bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: "b"}}}}}}})
	must(t, err)
	if r.DeletedCount != 3 {
		t.Errorf("%d deleted", r.DeletedCount)
	}
}

func probeExplain(t *testing.T, c *mongo.Collection) {
	_, err := c.Indexes().CreateOne(t.Context(),
		mongo.IndexModel{Keys: bson.D{{Key: "queue", Value: 1}, {Key: "place", Value: 1}, {Key: "weight", Value: -1}}})
	must(t, err)
	for i := range 20 {
		_, err = c.InsertOne(t.Context(),
			bson.D{{Key: "queue", Value: "q"}, {Key: "place", Value: 1}, {Key: "weight", Value: i}})
		must(t, err)
	}
	raw, err := c.Database().RunCommand(t.Context(),
		bson.D{{Key: "explain",
			Value: bson.D{{Key: "find", Value: c.Name()},
				{Key: "filter", Value: bson.D{{Key: "queue", Value: "q"}, {Key: "place", Value: 1}}},
				{Key: "sort", Value: bson.D{{Key: "weight", Value: -1}}},
				{Key: "limit", Value: 1}}}, {Key: "verbosity", Value: "queryPlanner"}}).Raw()
	must(t, err)
	if s := raw.String(); !strings.Contains(s, "IXSCAN") || strings.Contains(s, "COLLSCAN") {
		t.Error(s)
	} else {
		t.Log(s)
	}
}

func probeSpeed(t *testing.T, c *mongo.Collection) {
	_, err := c.Indexes().CreateMany(t.Context(), []mongo.IndexModel{
		{Keys: bson.D{{Key: "queue", Value: 1}, {Key: "status", Value: 1}, {Key: "weight", Value: -1},
			{Key: "seq", Value: 1}}},
		{Keys: bson.D{{Key: "owner", Value: 1}, {Key: "nonce", Value: 1}}, Options: options.Index().SetSparse(true)},
	})
	must(t, err)
	const tasks = 2000
	var docs []any
	for i := range tasks {
		docs = append(docs,
			bson.D{{Key: "_id", Value: fmt.Sprint(i)}, {Key: "queue", Value: "q"}, {Key: "status", Value: 0},
				{Key: "weight", Value: i % 3}, {Key: "seq", Value: i}, {Key: "body", Value: make([]byte, 200)}})
	}
	begin := time.Now()
	_, err = c.InsertMany(t.Context(), docs, options.InsertMany().SetOrdered(false))
	must(t, err)
	t.Logf("inserting %d in bulk: %.0f/s", tasks, tasks/time.Since(begin).Seconds())

	begin = time.Now()
	const single = 200
	for i := range single {
		must(t, c.FindOneAndUpdate(t.Context(), bson.D{{Key: "_id", Value: fmt.Sprint(i)}, {Key: "status", Value: 0}},
			bson.D{{Key: "$set", Value: bson.D{{Key: "status", Value: 2}}}}).Err())
	}
	t.Logf("claiming one by one, by id: %.0f/s", single/time.Since(begin).Seconds())

	begin = time.Now()
	claimed := 0
	for k := 0; claimed < tasks-single; k++ {
		cur, err := c.Find(t.Context(), bson.D{{Key: "queue", Value: "q"}, {Key: "status", Value: 0}},
			options.Find().SetSort(bson.D{{Key: "weight", Value: -1},
				{Key: "seq", Value: 1}}).SetLimit(50).SetProjection(bson.D{{Key: "_id", Value: 1}}))
		must(t, err)
		var found []struct {
			ID string `bson:"_id"`
		}
		must(t, cur.All(t.Context(), &found))
		var ids []string
		for _, f := range found {
			ids = append(ids, f.ID)
		}
		nonce := fmt.Sprint("n", k)
		r, err := c.UpdateMany(t.Context(),
			bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, {Key: "status", Value: 0}},
			bson.D{{Key: "$set",
				Value: bson.D{{Key: "status", Value: 2}, {Key: "owner", Value: "o"}, {Key: "nonce", Value: nonce}}}})
		must(t, err)
		cur, err = c.Find(t.Context(), bson.D{{Key: "owner", Value: "o"}, {Key: "nonce", Value: nonce}})
		must(t, err)
		var docs []bson.Raw
		must(t, cur.All(t.Context(), &docs))
		if int64(len(docs)) != r.ModifiedCount || len(docs) == 0 {
			t.Fatalf("%d found of %d", len(docs), r.ModifiedCount)
		}
		claimed += len(docs)
	}
	t.Logf("claiming in batches of 50, the best first: %.0f/s", float64(claimed)/time.Since(begin).Seconds())
}
