package servers_test

import (
	"context"
	"errors"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/backend/servers"
	"github.com/afgen/afgen/runtime/config"
)

func TestMongoReturnsDatabase(t *testing.T) {
	cfg := configured(t)
	app := open(t, cfg, nil)
	q := af.NewQueue[int, int](app, stepWorker)
	id := must(q.Submit(t.Context(), 1))(t)
	db := must(servers.Mongo(app))(t)
	if n := must(db.Collection("tasks").CountDocuments(t.Context(), bson.D{{Key: "_id", Value: id}}))(t); n != 1 ||
		db.Name() != cfg.MongoDB.DB {
		t.Errorf("%d tasks in %s", n, db.Name())
	}
	alone := must(af.Open(t.Context(), memory.New()))(t)
	if _, err := servers.Mongo(alone); !errors.Is(err, af.ErrUnimplemented) {
		t.Errorf("Mongo on memory: %v", err)
	}
	must("", alone.Shutdown(t.Context()))(t)
}

// A program can keep its own collections in the same database.
func ExampleMongo() {
	ctx := context.Background()
	cfg, err := config.Load("config.yaml")
	if err != nil {
		return
	}
	app, err := af.Open(ctx, servers.From(cfg, servers.StartDegraded()))
	if err != nil {
		return
	}
	defer app.Shutdown(ctx)
	db, err := servers.Mongo(app)
	if err != nil {
		return
	}
	_, _ = db.Collection("orders").InsertOne(ctx, bson.D{{Key: "item", Value: "book"}})
}
