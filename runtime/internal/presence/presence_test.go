package presence_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/internal/presence"
)

func docsOf(t *testing.T) backend.Docs {
	t.Helper()
	ports, err := memory.New().Open(t.Context(),
		backend.Env{Instance: backend.Instance{ID: "i"}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ports.Close(context.Background()) })
	return ports.Docs
}

// One of two Apps on a machine reports; the other takes over when that one ends.
func TestOneAppPerMachineReports(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		docs, reports := docsOf(t), map[string]*atomic.Int64{"first": {}, "second": {}}
		run := func(app string) context.CancelFunc {
			n := presence.NewNodes(presence.NodesConfig{Docs: docs, Log: slog.New(slog.DiscardHandler),
				Describe: func(context.Context) presence.Node {
					reports[app].Add(1)
					return presence.Node{ID: "ant", Host: "ant"}
				}})
			ctx, cancel := context.WithCancel(t.Context())
			go n.Run(ctx)
			synctest.Wait()
			return cancel
		}
		first := run("first")
		defer run("second")()
		time.Sleep(10 * time.Minute)
		if n := reports["first"].Load() + reports["second"].Load(); n < 15 || n > 45 { // one every 20 s makes 30
			t.Errorf("%d reports", n)
		}
		first()
		before := reports["second"].Load()
		time.Sleep(10 * time.Minute)
		if n := reports["second"].Load() - before; n < 15 || n > 45 {
			t.Errorf("%d reports of the second", n)
		}
	})
}

// A shakyDocs can't read one of the documents for the first time.
type shakyDocs struct {
	backend.Docs
	name string
	read atomic.Bool
}

func (d *shakyDocs) Get(ctx context.Context, name string) (backend.Doc, error) {
	if name == d.name && !d.read.Swap(true) {
		return backend.Doc{}, backend.NewError(backend.ErrUnavailable, "down")
	}
	return d.Docs.Get(ctx, name)
}

// Both documents of a machine that is gone are deleted, even if the store was unavailable in between.
func TestDocumentsOfGoneMachinesAreDeleted(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		docs := &shakyDocs{Docs: docsOf(t), name: "machine-history/old"}
		last, err := json.Marshal(presence.Node{ID: "old", Sample: presence.Sample{Time: time.Now().Add(-8 * 24 * time.Hour)}})
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]json.RawMessage{"machines/old": last, docs.name: json.RawMessage(`[]`)} {
			if _, err := docs.PutIf(t.Context(), name, 0, value); err != nil {
				t.Fatal(err)
			}
		}
		n := presence.NewNodes(presence.NodesConfig{Docs: docs, Log: slog.New(slog.DiscardHandler),
			Describe: func(context.Context) presence.Node { return presence.Node{ID: "ant", Host: "ant"} }})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go n.Run(ctx)
		time.Sleep(time.Hour)
		for _, name := range []string{"machines/old", docs.name} {
			if _, err := docs.Docs.Get(t.Context(), name); backend.CodeOf(err) != backend.ErrNotFound {
				t.Errorf("document %s is left, %v", name, err)
			}
		}
		if !docs.read.Load() {
			t.Error("nothing was read")
		}
	})
}

func TestOldestContractsAreDeleted(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := presence.Contracts{Docs: docsOf(t)}
		for i := range 25 {
			methods := json.RawMessage(fmt.Sprintf(`[{"name":"M%d"}]`, i))
			if err := c.Store(t.Context(), "s", fmt.Sprint(i), presence.Contract{Methods: methods}, true); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		for i, kept := range map[int]bool{0: false, 4: false, 5: true, 24: true} {
			got, err := c.Get(t.Context(), "s", fmt.Sprint(i))
			if err != nil || (got.Methods != nil) != kept {
				t.Errorf("contract %d: %+v, %v", i, got, err)
			}
		}
	})
}

func TestQueuesStayKnown(t *testing.T) {
	docs := docsOf(t)
	for _, queues := range [][]string{{"a", "b"}, {"c"}, {"a"}} {
		if err := presence.StoreQueues(t.Context(), docs, queues); err != nil {
			t.Fatal(err)
		}
	}
	got, err := presence.ServedQueues(t.Context(), docs)
	if names := slices.Sorted(maps.Keys(got)); err != nil || !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Errorf("%q, %v", names, err)
	}
	for queue, seen := range got {
		if age := time.Since(seen); age < 0 || age > time.Minute {
			t.Errorf("queue %s was seen %v ago", queue, age)
		}
	}
}

// The documentation of a contract is that of the instance that was started last. Others only store a contract that is
// missing.
func TestContractsAreRedescribed(t *testing.T) {
	c := presence.Contracts{Docs: docsOf(t)}
	contract := func(doc string) presence.Contract {
		methods := json.RawMessage(`[{"name":"M","signature":"()","fingerprint":"f"}]`)
		if doc != "" {
			methods = json.RawMessage(`[{"name":"M","signature":"()","fingerprint":"f","doc":"` + doc + `"}]`)
		}
		return presence.Contract{Doc: doc, Methods: methods}
	}
	stored := time.Time{}
	for i, tt := range []struct {
		doc      string
		starting bool
		want     string
	}{
		{"", true, ""}, // an old version
		{"new", true, "new"}, {"old", false, "new"}, {"new", true, "new"}, {"newer <&>", true, "newer <&>"},
	} {
		if err := c.Store(t.Context(), "s", "1", contract(tt.doc), tt.starting); err != nil {
			t.Fatal(err)
		}
		got, err := c.Get(t.Context(), "s", "1")
		if err != nil {
			t.Fatal(err)
		}
		methods, err := presence.MethodsOf("s", "1", got)
		if err != nil || got.Doc != tt.want || len(methods) != 1 || methods[0].Doc != tt.want {
			t.Errorf("%d: %q, %+v, %v, want %q", i, got.Doc, methods, err, tt.want)
		}
		if same := stored.Equal(got.Stored); same != (tt.doc != tt.want || i == 3) {
			t.Errorf("%d: the document was written: %t", i, !same)
		}
		stored = got.Stored
	}
}
