package mongo_test

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/mongo"
)

// An observer of a new database creates no collection, and finds no tasks.
func TestObserverWritesNothing(t *testing.T) {
	c := join(t, devstack.Mongo(t), func(c *mongo.Config) { c.Observer = true })
	for _, q := range []backend.TaskQuery{{}, {Queue: "q", Sort: backend.SortEnded},
		{Statuses: []backend.Status{backend.StatusFailed}, Code: backend.ErrInternal}} {
		if page, err := c.Store().List(t.Context(), q); err != nil || len(page.Tasks) > 0 {
			t.Errorf("%+v: %+v, %v", q, page, err)
		}
	}
	if queues, err := c.Store().Queues(t.Context()); err != nil || len(queues) > 0 {
		t.Errorf("queues %v, %v", queues, err)
	}
	if _, err := c.Docs().Latest(t.Context(), "audit/", "", 10); err != nil {
		t.Error(err)
	}
	names, err := c.Mongo().ListCollectionNames(t.Context(), bson.D{})
	if err != nil || len(names) > 0 {
		t.Errorf("collections %v, %v", names, err)
	}
}
