//go:build long

package devstack_test

import (
	"context"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/afgen/afgen/internal/devstack"
)

// A replica set of three elects another primary when the old one steps down or is killed, and keeps majority writes.
func TestLongReplicaSet(t *testing.T) {
	rs := devstack.ReplicaSet(t, 3)
	client, err := driver.Connect(options.Client().ApplyURI(devstack.WithDatabase(rs.URI,
		"d")).SetWriteConcern(writeconcern.Majority()))
	must(t, err)
	defer func() { must(t, client.Disconnect(context.Background())) }()
	c := client.Database("d").Collection("c")
	insert := func(id int) {
		t.Helper()
		_, err := c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: id}})
		must(t, err)
	}
	insert(1)
	old, err := rs.StepDown()
	must(t, err)
	next, err := rs.Primary()
	must(t, err)
	if next == old {
		t.Error("the primary stepped down, and is still primary")
	}
	insert(2)
	must(t, next.Kill())
	third, err := rs.Primary()
	must(t, err)
	if third == next {
		t.Error("the primary was killed, and is still primary")
	}
	insert(3)
	must(t, next.Start())
	if n, err := c.CountDocuments(t.Context(), bson.D{}); n != 3 || err != nil {
		t.Errorf("%d documents, %v, want 3", n, err)
	}
}
