package main

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

// A bareMongo is what MongoDB's driver does for the same work: a document and an index for each task, a journaled write
// of a majority for each change, as afgen does. It has no hints, retries, limits or leases. Submits are insertOne and
// insertMany. A drain is find, updateMany, find and bulkWrite of 64, one after the other.
type bareMongo struct {
	client *mongo.Client
	tasks  *mongo.Collection
	ids    atomic.Int64
	end    context.CancelFunc // of the worker; nil without one
	worked sync.WaitGroup
	failed atomic.Pointer[error]
	idle   atomic.Bool // the worker found no task
}

// bareBatch is how many tasks the worker claims at once.
const bareBatch = 64

// A bareTask is a document.
type bareTask struct {
	ID      string    `bson:"_id"`
	Queue   string    `bson:"queue"`
	Status  string    `bson:"status"`
	Owner   string    `bson:"owner"`
	Fence   int64     `bson:"fence"`
	Payload string    `bson:"payload"`
	Created time.Time `bson:"created"`
	Ended   time.Time `bson:"ended"`
}

func openBareMongo(ctx context.Context, w *world) (queue, error) {
	journal := true
	o := options.Client().ApplyURI(w.Mongo).SetMaxPoolSize(100).
		SetWriteConcern(&writeconcern.WriteConcern{W: writeconcern.WCMajority, Journal: &journal})
	client, err := mongo.Connect(o)
	if err != nil {
		return nil, err
	}
	q := &bareMongo{client: client, tasks: client.Database(w.database()).Collection("tasks")}
	_, err = q.tasks.Indexes().CreateOne(ctx, mongo.IndexModel{
		Keys: bson.D{{Key: "queue", Value: 1}, {Key: "status", Value: 1}, {Key: "created", Value: 1}},
	})
	if err != nil {
		return nil, errors.Join(err, client.Disconnect(ctx))
	}
	return q, nil
}

func (q *bareMongo) newTask() *bareTask {
	return &bareTask{
		ID: strconv.FormatInt(q.ids.Add(1), 36), Queue: "noop", Status: "waiting", Payload: string(rawMessage),
		Created: time.Now(),
	}
}

func (q *bareMongo) submit(ctx context.Context) error {
	_, err := q.tasks.InsertOne(ctx, q.newTask())
	return err
}

func (q *bareMongo) submitMany(ctx context.Context, n int) error {
	tasks := make([]*bareTask, n)
	for i := range tasks {
		tasks[i] = q.newTask()
	}
	_, err := q.tasks.InsertMany(ctx, tasks, options.InsertMany().SetOrdered(false))
	return err
}

// roundTrip is a submit and the claim of that task.
func (q *bareMongo) roundTrip(ctx context.Context) error {
	t := q.newTask()
	if _, err := q.tasks.InsertOne(ctx, t); err != nil {
		return err
	}
	return q.tasks.FindOneAndUpdate(ctx, bson.D{{Key: "_id", Value: t.ID}, {Key: "status", Value: "waiting"}},
		claimUpdate("w")).Err()
}

func claimUpdate(owner string) bson.D {
	return bson.D{
		{Key: "$set", Value: bson.D{{Key: "status", Value: "running"}, {Key: "owner", Value: owner}}},
		{Key: "$inc", Value: bson.D{{Key: "fence", Value: 1}}},
	}
}

// worker runs one loop, whatever the number of slots: handlers that do nothing need no more.
func (q *bareMongo) worker(
	_ context.Context, _ int, started func(),
) (start func(context.Context) error, err error) {
	return func(ctx context.Context) error {
		ctx, q.end = context.WithCancel(ctx)
		q.worked.Go(func() {
			for n := 1; n > 0; {
				var err error
				if n, err = q.batch(ctx, started); err != nil {
					q.failed.Store(&err)
					return
				}
			}
			q.idle.Store(true)
		})
		return nil
	}, nil
}

// batch claims, runs and settles up to bareBatch tasks, and returns how many.
func (q *bareMongo) batch(ctx context.Context, started func()) (int, error) {
	var ready, mine []bareTask
	cursor, err := q.tasks.Find(ctx, bson.D{{Key: "queue", Value: "noop"}, {Key: "status", Value: "waiting"}},
		options.Find().SetSort(bson.D{{Key: "created", Value: 1}}).SetLimit(bareBatch).
			SetProjection(bson.D{{Key: "_id", Value: 1}}))
	if err == nil {
		err = cursor.All(ctx, &ready)
	}
	if err != nil || len(ready) == 0 {
		return 0, err
	}
	ids := make([]string, len(ready))
	for i, t := range ready {
		ids[i] = t.ID
	}
	in := bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}
	owner := ids[0]
	if _, err := q.tasks.UpdateMany(ctx, bson.D{in, {Key: "status", Value: "waiting"}}, claimUpdate(owner)); err != nil {
		return 0, err
	}
	if cursor, err = q.tasks.Find(ctx, bson.D{in, {Key: "owner", Value: owner}}); err == nil {
		err = cursor.All(ctx, &mine)
	}
	if err != nil {
		return 0, err
	}
	writes := make([]mongo.WriteModel, len(mine))
	for i, t := range mine {
		started()
		writes[i] = mongo.NewUpdateOneModel().
			SetFilter(bson.D{{Key: "_id", Value: t.ID}, {Key: "fence", Value: t.Fence}}).
			SetUpdate(bson.D{{Key: "$set", Value: bson.D{
				{Key: "status", Value: "success"}, {Key: "ended", Value: time.Now()},
			}}})
	}
	_, err = q.tasks.BulkWrite(ctx, writes, options.BulkWrite().SetOrdered(false))
	return len(mine), err
}

func (q *bareMongo) settled(context.Context) (bool, error) {
	if err := q.failed.Load(); err != nil {
		return false, *err
	}
	return q.idle.Load(), nil
}

func (q *bareMongo) close(ctx context.Context) error {
	if q.end != nil {
		q.end()
	}
	q.worked.Wait()
	return q.client.Disconnect(ctx)
}
