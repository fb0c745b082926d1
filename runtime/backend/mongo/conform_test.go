package mongo_test

import (
	"context"
	"strings"
	"testing"

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
	config := mongo.Config{URI: uri, Address: "the server", Database: base[strings.LastIndex(base, "/")+1:], AppName: "afgen tests"}
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

func alone(t *testing.T) *backend.Ports { return portsOf(join(t, devstack.Mongo(t))) }

// The order by weight and age is exact as long as no other process claims.
var options = conform.Options{}

// skipping makes a client go by a clock that tests put forward.
func skipping(c *mongo.Client, s *conform.Skip) *mongo.Client {
	c.SetClock(s.Since)
	return c
}

func TestStoreConforms(t *testing.T) {
	var s conform.Skip
	conform.Store(t, func(t *testing.T) *backend.Ports { return portsOf(skipping(join(t, devstack.Mongo(t)), &s)) }, s.Options(options))
}

func TestDocsConform(t *testing.T) { conform.Docs(t, alone, options) }

// Random operations, beside the reference.
func TestStoreDoesWhatMemoryDoes(t *testing.T) {
	testkit.Checks(t, 10)
	conform.Differential(t, func(t *testing.T) *backend.Ports {
		ports, err := memory.New().Open(t.Context(), backend.Env{})
		if err != nil {
			t.Fatal(err)
		}
		return ports
	}, alone, options)
}
