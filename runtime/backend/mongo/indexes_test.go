package mongo_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/mongo"
)

// Dropped indexes are named, the error of a list that needs one is clear, and the next program creates them.
func TestDroppedIndexesAreNamedAndRestored(t *testing.T) {
	db := devstack.Mongo(t)
	check := func(c *mongo.Client, want ...string) {
		t.Helper()
		if got, err := c.MissingIndexes(t.Context()); err != nil || !slices.Equal(got, want) {
			t.Errorf("missing indexes %q, %v, want %q", got, err, want)
		}
	}
	observer := join(t, db, func(c *mongo.Config) { c.Observer = true })
	check(observer) // there is no collection yet
	c := join(t, db)
	if err := c.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(observer)
	tasks := c.Mongo().Collection("tasks").Indexes()
	for _, name := range []string{"list_all", "waiting"} {
		if err := tasks.DropOne(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	check(observer, "waiting", "list_all")
	_, err := c.Store().List(t.Context(), backend.TaskQuery{Limit: 1})
	if !errors.Is(err, backend.ErrFailedPrecondition) || !strings.Contains(err.Error(), "an index on tasks is missing") {
		t.Errorf("a list without its index: %v", err)
	}
	if err := join(t, db).Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(observer)
}
