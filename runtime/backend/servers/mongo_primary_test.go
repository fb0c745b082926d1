package servers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/servers"
)

// A member is a replica set member that can be without a primary. At first it isn't initiated.
type member struct {
	*testing.T
	*devstack.Server
	admin *driver.Database
}

func newMember(t *testing.T) *member {
	s := devstack.Prepare(t, devstack.MongoDB)
	s.Topology = "member"
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	c, err := driver.Connect(options.Client().ApplyURI(s.URI).SetDirect(true))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(context.Background()) })
	return &member{t, s, c.Database("admin")}
}

func (m *member) do(command bson.D) {
	m.Helper()
	// A member that is stepping down or being elected rejects commands for a moment.
	testkit.Succeeds(m, command[0].Key, func() error { return m.admin.RunCommand(m.Context(), command).Err() })
}

func (m *member) initiate() {
	m.Helper()
	m.do(bson.D{{Key: "replSetInitiate", Value: bson.D{
		{Key: "_id", Value: "rs0"},
		{Key: "members", Value: bson.A{bson.D{{Key: "_id", Value: 0},
			{Key: "host", Value: fmt.Sprintf("127.0.0.1:%d", m.Port)}}}},
	}}})
}

// A MongoDB without a primary is unavailable, for running and starting Apps. With start_degraded they start; without,
// opening fails within the driver's timeout. They recover without a restart.
func testWithoutPrimary(t *testing.T, m *member, options string, uninitiated bool) {
	cfg := parse(t, fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n",
		devstack.WithDatabase(m.URI, "primary")+options, devstack.Redis(t), devstack.AMQP(t)))
	do := "primary"
	if uninitiated {
		do = "rs.initiate()"
	}
	begun := time.Now()
	_, err := af.Open(t.Context(), servers.From(cfg))
	if took := time.Since(begun); !errors.Is(err, af.ErrUnavailable) || !strings.Contains(err.Error(), "mongodb: ") ||
		!strings.Contains(err.Error(), do) || took > 5*time.Second {
		t.Errorf("after %v: %v", took, err)
	}
	app, err := af.Open(t.Context(), servers.From(cfg, servers.StartDegraded()),
		af.Logger(slog.New(slog.NewTextHandler(t.Output(), nil))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := app.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	af.RegisterWorker(app, stepWorker, &step{make(chan af.Subtasks, 1)})
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	isDegraded := func() error {
		h, err := app.Health(), app.Ready()
		if !slices.Contains(h.Degraded, "without-mongodb") || !errors.Is(err, af.ErrUnavailable) ||
			!strings.Contains(err.Error(), do) {
			return fmt.Errorf("modes %v: %w", h.Degraded, err)
		}
		return nil
	}
	works := func() {
		t.Helper()
		testkit.Succeeds(t, "its health", func() error {
			if h := app.Health(); len(h.Degraded) > 0 || app.Ready() != nil {
				return fmt.Errorf("modes %v: %w", h.Degraded, app.Ready())
			}
			return nil
		})
		q := af.NewQueue[int, int](app, stepWorker)
		id, err := q.Submit(t.Context(), 4)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := q.Wait(t.Context(), id); n != 8 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if err := isDegraded(); err != nil {
		t.Error(err)
	}
	if _, err := af.NewQueue[int, int](app, stepWorker).Submit(t.Context(), 1); !errors.Is(err, af.ErrUnavailable) {
		t.Error(err)
	}
	if uninitiated {
		m.initiate()
	} else {
		m.do(bson.D{{Key: "replSetFreeze", Value: 0}})
	}
	works()
	do = "primary"
	m.do(bson.D{{Key: "replSetStepDown", Value: 3600}, {Key: "force", Value: true}})
	testkit.Succeeds(t, "its health", isDegraded)
	m.do(bson.D{{Key: "replSetFreeze", Value: 0}})
	works()
	m.do(bson.D{{Key: "replSetStepDown", Value: 3600}, {Key: "force", Value: true}})
}

func TestMongoDBWithoutPrimaryIsUnavailable(t *testing.T) {
	t.Parallel()
	m := newMember(t)
	t.Run("direct", func(t *testing.T) { testWithoutPrimary(t, m, "?directConnection=true", true) })
	t.Run("discovered", func(t *testing.T) {
		testkit.Long(t, "the driver waits 3 s for a primary")
		testWithoutPrimary(t, m, "", false)
	})
}
