package mongo_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/backend/mongo"
)

// join opens a database and closes it when the test ends.
func join(t testing.TB, uri string, change ...func(*mongo.Config)) *mongo.Client {
	t.Helper()
	base, _, _ := strings.Cut(uri, "?")
	config := mongo.Config{URI: uri, Address: "the server", Database: base[strings.LastIndex(base, "/")+1:],
		AppName: "afgen tests"}
	patient(&config)
	for _, f := range change {
		f(&config)
	}
	c, err := mongo.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := c.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func portsOf(c *mongo.Client) *backend.Ports {
	return &backend.Ports{Name: "mongo", Store: c.Store(), Docs: c.Docs()}
}

// options limit the number of competitors to what one machine can run. The order by weight and age is exact as long as
// no other process claims.
var options = conform.Options{Many: 16, SlowSpawn: true}

// patient sets a long timeout, for tests with reachable servers: a busy machine may answer slowly.
func patient(c *mongo.Config) { c.Patience = time.Minute }

// wipe empties a database when the test ends. A suite shares one database, since creating indexes takes time.
func wipe(t *testing.T, uri string) {
	t.Cleanup(func() {
		if err := devstack.Empty(uri); err != nil {
			t.Error(err)
		}
	})
}

// skipping makes a client use a clock that tests can advance.
func skipping(c *mongo.Client, s *conform.Skip) *mongo.Client {
	c.SetClock(s.Since)
	return c
}

func TestDocsConform(t *testing.T) {
	uri := devstack.Mongo(t)
	conform.Docs(t, func(t *testing.T) *backend.Ports {
		c := join(t, uri)
		wipe(t, uri)
		return portsOf(c)
	}, options)
}

// Random operations give the same results as on package memory. make test-long tries more of them.
func TestStoreMatchesMemory(t *testing.T) {
	uri := devstack.Mongo(t)
	testkit.Checks(t, 4)
	conform.Differential(t, func(t *testing.T) *backend.Ports {
		ports, err := memory.New().Open(t.Context(), backend.Env{})
		if err != nil {
			t.Fatal(err)
		}
		return ports
	}, func(t *testing.T) *backend.Ports { // called for each case
		must(t, devstack.Empty(uri))
		return portsOf(join(t, uri))
	}, options)
}
