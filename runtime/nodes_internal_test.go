package runtime

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// Each of two machines reports its load periodically. A machine that is gone is no longer listed.
func TestEveryMachineReports(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world, apps := memory.New(), map[string]*App{}
		for id, cpus := range map[string]int{"ant": 2, "bee": 16} {
			app, err := Open(t.Context(), world, Logger(slog.New(slog.DiscardHandler)), IP("192.0.2.1"),
				NodeFacts(func(context.Context) Node {
					return Node{ID: id, Host: "host of " + id, OS: "linux", CPUs: cpus}
				}))
			if err != nil {
				t.Fatal(err)
			}
			if err := app.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			apps[id] = app
		}
		defer func() { _ = apps["bee"].Shutdown(context.Background()) }()
		nodes := func(q NodeQuery) map[string]Node {
			t.Helper()
			page, err := apps["bee"].Nodes(t.Context(), q)
			if err != nil || page.Total != len(page.Nodes) {
				t.Fatalf("%+v, %v", page, err)
			}
			found := map[string]Node{}
			for _, n := range page.Nodes {
				found[n.ID] = n
			}
			return found
		}
		time.Sleep(10 * time.Minute)
		found := nodes(NodeQuery{OS: "linux"})
		for id, cpus := range map[string]int{"ant": 2, "bee": 16} {
			n := found[id]
			if n.Host != "host of "+id || n.CPUs != cpus || len(n.Instances) != 1 || n.Instances[0] != apps[id].Instance().ID ||
				time.Since(n.Time) > time.Minute {
				t.Errorf("%s: %+v", id, n)
			}
			if history, err := apps["bee"].NodeHistory(t.Context(), id); len(history) < 5 || err != nil {
				t.Errorf("the history of %s: %d samples, %v", id, len(history), err)
			}
		}
		if err := apps["ant"].Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if found := nodes(NodeQuery{}); len(found) != 1 || found["bee"].ID == "" {
			t.Errorf("without ant: %+v", found)
		}
		if found := nodes(NodeQuery{Gone: true}); len(found) != 2 || len(found["ant"].Instances) != 0 {
			t.Errorf("with gone nodes: %+v", found)
		}
	})
}
