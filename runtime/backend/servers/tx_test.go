package servers_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/backend/servers"
	"github.com/afgen/afgen/runtime/config"
)

func init() { children["transactor"] = diesInTx }

var errUndo = errors.New("undo it")

// inTx opens an App with a worker, and returns its queue and a collection of the program's own.
func inTx(t *testing.T, cfg config.Config) (*af.App, af.Queue[int, int], *driver.Collection) {
	app := open(t, cfg, func(app *af.App) { af.RegisterWorker(app, stepWorker, &step{}) })
	if os.Getenv("AF_TEST_TOPOLOGY") == "standalone" {
		err := servers.InTx(t.Context(), app, func(context.Context) error { return nil })
		if !errors.Is(err, af.ErrFailedPrecondition) || !strings.Contains(err.Error(), "replica set") {
			t.Errorf("a standalone server: %v", err)
		}
		t.Skip("a standalone server has no transactions")
	}
	db := must(servers.Mongo(app))(t)
	orders := db.Collection("orders")
	// creates the collection outside of a transaction
	must(orders.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "first"}}))(t)
	return app, af.NewQueue[int, int](app, stepWorker), orders
}

func count(t *testing.T, c *driver.Collection, id string) int64 {
	t.Helper()
	return must(c.CountDocuments(t.Context(), bson.D{{Key: "_id", Value: id}}))(t)
}

// Tasks submitted in a transaction exist if and only if it commits, together with its other writes.
func TestSubmitInTransaction(t *testing.T) {
	cfg := configured(t)
	app, q, orders := inTx(t, cfg)
	ctx := t.Context()
	tasks := orders.Database().Collection("tasks")
	t.Run("commit", func(t *testing.T) {
		var id string
		err := servers.InTx(ctx, app, func(ctx context.Context) (err error) {
			if _, err := orders.InsertOne(ctx, bson.D{{Key: "_id", Value: "a"}}); err != nil {
				return err
			}
			if id, err = q.Submit(ctx, 4); err != nil {
				return err
			}
			if n := count(t, tasks, id); n != 0 {
				t.Errorf("%d tasks before the commit", n)
			}
			return nil
		})
		if err != nil || id == "" {
			t.Fatal(id, err)
		}
		within, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if _, err := q.Wait(within, id); err != nil || count(t, orders, "a") != 1 {
			t.Error(err)
		}
	})
	t.Run("abort", func(t *testing.T) {
		var ids []string
		err := servers.InTx(ctx, app, func(ctx context.Context) (err error) {
			if _, err := orders.InsertOne(ctx, bson.D{{Key: "_id", Value: "b"}}); err != nil {
				return err
			}
			if ids, err = q.SubmitMany(ctx, []int{1, 2, 3}); err != nil {
				return err
			}
			return fmt.Errorf("no: %w", errUndo)
		})
		if !errors.Is(err, errUndo) || len(ids) != 3 || count(t, orders, "b") != 0 {
			t.Error(err, ids)
		}
		for _, id := range ids {
			if _, err := app.GetTask(ctx, id); !errors.Is(err, af.ErrNotFound) {
				t.Errorf("task %s: %v", id, err)
			}
		}
	})
	t.Run("retry", func(t *testing.T) {
		tries := 0
		var ids []string
		err := servers.InTx(ctx, app, func(tx context.Context) error {
			tries++
			id, err := q.Submit(tx, 1, af.TaskID(fmt.Sprint("try-", tries)))
			if err != nil {
				return err
			}
			ids = append(ids, id)
			if _, err := orders.UpdateOne(tx, bson.D{{Key: "_id", Value: "first"}},
				bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}}}); err != nil {
				return err
			}
			if tries == 1 { // as a conflict with another transaction
				return fmt.Errorf("conflict: %w", driver.CommandError{Code: 112, Labels: []string{"TransientTransactionError"}})
			}
			return nil
		})
		if err != nil || tries != 2 {
			t.Fatal(tries, err)
		}
		if count(t, tasks, ids[0]) != 0 || count(t, tasks, ids[1]) != 1 {
			t.Errorf("both of %v exist, or the wrong one", ids)
		}
	})
	t.Run("taken", func(t *testing.T) { // a taken ID or key doesn't abort the transaction
		id := must(q.Submit(ctx, 1, af.TaskID("taken"), af.RunAt(time.Now().Add(time.Hour)), af.UniqueKey("key")))(t)
		var got []string
		err := servers.InTx(ctx, app, func(ctx context.Context) error {
			got = nil
			for _, o := range []af.SubmitOption{af.TaskID(id), af.UniqueKey("key"), af.TaskID("fresh"), af.TaskID("fresh")} {
				id, err := q.Submit(ctx, 1, o)
				if err != nil {
					return err
				}
				got = append(got, id)
			}
			_, err := orders.InsertOne(ctx, bson.D{{Key: "_id", Value: "c"}})
			return err
		})
		if want := []string{id, id, "fresh", "fresh"}; err != nil || fmt.Sprint(got) != fmt.Sprint(want) ||
			count(t, orders, "c") != 1 || count(t, tasks, "fresh") != 1 {
			t.Errorf("got %v, %v", got, err)
		}
	})
	t.Run("taken_meanwhile", func(t *testing.T) {
		tries := 0
		err := servers.InTx(ctx, app, func(tx context.Context) error {
			if _, err := orders.InsertOne(tx, bson.D{{Key: "_id", Value: "d"}}); err != nil { // takes the snapshot
				return err
			}
			if tries++; tries == 1 {
				must(q.Submit(ctx, 1, af.TaskID("meanwhile")))(t)
			}
			_, err := q.Submit(tx, 1, af.TaskID("meanwhile"))
			return err
		})
		if err != nil || tries != 2 || count(t, orders, "d") != 1 {
			t.Error(tries, err)
		}
	})
	t.Run("refused", func(t *testing.T) {
		refused := func(what string, err error) {
			t.Helper()
			if !errors.Is(err, af.ErrFailedPrecondition) {
				t.Errorf("%s: %v", what, err)
			}
		}
		id := must(q.Submit(ctx, 1))(t)
		if _, err := q.Wait(ctx, id); err != nil {
			t.Fatal(err)
		}
		err := servers.InTx(ctx, app, func(tx context.Context) error {
			_, err := q.Wait(tx, id)
			refused("Wait", err)
			_, err = q.Subtasks(tx, id, []int{1})
			refused("Subtasks", err)
			_, err = app.RetryTask(tx, id)
			refused("RetryTask", err)
			refused("InTx", servers.InTx(tx, app, func(context.Context) error { return nil }))
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		session := must(orders.Database().Client().StartSession())(t)
		defer session.EndSession(ctx)
		if _, err := q.Submit(driver.NewSessionContext(ctx, session), 1); err != nil {
			t.Errorf("a session without a transaction: %v", err)
		}
		_, err = session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
			_, err := q.Submit(ctx, 1)
			if err == nil || !strings.Contains(err.Error(), "servers.InTx") {
				t.Errorf("doesn't name InTx: %v", err)
			}
			return nil, err
		})
		refused("another transaction", err)
		alone := must(af.Open(ctx, memory.New()))(t)
		if err := servers.InTx(ctx, alone, func(context.Context) error { return nil }); !errors.Is(err, af.ErrUnimplemented) {
			t.Errorf("memory: %v", err)
		}
		if _, err := servers.MissingIndexes(ctx, alone); !errors.Is(err, af.ErrUnimplemented) {
			t.Errorf("memory has indexes of MongoDB: %v", err)
		}
		if missing, err := servers.MissingIndexes(ctx, app); err != nil || len(missing) > 0 {
			t.Errorf("missing indexes of a new database: %q, %v", missing, err)
		}
		must("", alone.Shutdown(ctx))(t)
	})
}

// No other operation of an App takes part in a transaction.
func TestOnlySubmitsAreTransactional(t *testing.T) {
	app, q, orders := inTx(t, configured(t))
	ctx := t.Context()
	id := must(q.Submit(ctx, 1, af.RunAt(time.Now().Add(time.Hour))))(t)
	err := servers.InTx(ctx, app, func(tx context.Context) error {
		if _, err := orders.InsertOne(tx, bson.D{{Key: "_id", Value: "e"}}); err != nil {
			return err
		}
		for what, err := range map[string]error{
			"StopTask":         app.StopTask(tx, id),
			"UpdateMaxWorkers": app.UpdateMaxWorkers(tx, stepWorker.Name, "", 3),
			"PauseQueue":       app.PauseQueue(tx, "elsewhere"),
			"Schedule":         q.Schedule(tx, "nightly", "@daily", 1),
			"DisableJob":       app.DisableJob(tx, "nightly"),
		} {
			if err != nil && !errors.Is(err, af.ErrNotFound) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if _, err := app.GetTask(tx, "none"); !errors.Is(err, af.ErrNotFound) {
			t.Error(err)
		}
		if _, err := app.Tasks(tx, af.TaskQuery{}); err != nil {
			t.Error(err)
		}
		if _, err := app.Jobs(tx, af.JobQuery{}); err != nil {
			t.Error(err)
		}
		if _, err := app.Snowflake(tx); err != nil {
			t.Error(err)
		}
		return errUndo
	})
	if !errors.Is(err, errUndo) {
		t.Fatal(err)
	}
	if task := must(app.GetTask(ctx, id))(t); task.Status != af.StatusStopped {
		t.Errorf("the stop was undone: %s", task.Status)
	}
	if limits := must(app.QueueLimits(ctx, stepWorker.Name))(t); limits.Revision == 0 {
		t.Errorf("limits %+v were undone", limits)
	}
	if count(t, orders, "e") != 0 {
		t.Error("the order exists")
	}
}

// diesInTx is a process that is killed before its transaction commits.
func diesInTx() int {
	ctx := context.Background()
	cfg, err := parseText(os.Getenv("AF_TEST_CONFIG"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	app, err := af.Open(ctx, servers.From(cfg))
	if err == nil {
		err = app.Start(ctx)
	}
	if err == nil {
		err = servers.InTx(ctx, app, func(ctx context.Context) error {
			if _, err := af.NewQueue[int, int](app, stepWorker).Submit(ctx, 1, af.TaskID("half")); err != nil {
				return err
			}
			fmt.Println("submitted")
			select {}
		})
	}
	fmt.Fprintln(os.Stderr, err)
	return 2
}

func TestProcessKilledInTransactionSubmitsNothing(t *testing.T) {
	text := fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n", devstack.Mongo(t),
		devstack.Redis(t), devstack.AMQP(t))
	app, _, _ := inTx(t, parse(t, text))
	child := testkit.Start(t, "transactor", "AF_TEST_CONFIG="+text)
	child.Says(t, "submitted")
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed
	if _, err := app.GetTask(t.Context(), "half"); !errors.Is(err, af.ErrNotFound) {
		t.Errorf("the task exists: %v", err)
	}
}
