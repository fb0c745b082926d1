package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// raw opens a backend's ports for direct access.
func raw(t *testing.T, b af.Backend) *backend.Ports {
	t.Helper()
	ports, err := b.Open(t.Context(), backend.Env{Instance: af.Instance{ID: "raw"}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ports.Close(context.Background()) })
	return ports
}

func TestCrashedInstanceIsRemovedAfterItsLease(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		b := fault.New(world, 1, fault.Plan{})
		serve(t, b, double)
		client := openStarted(t, world)
		time.Sleep(4 * time.Second) // its announcement at 0 s is valid for 15 s
		serving := func() int { return must(client.Services(t.Context(), af.ServiceQuery{Name: "calc"}))(t).Total }
		if serving() != 1 {
			t.Fatal("the instance isn't listed")
		}
		b.Crash()
		begun := time.Now()
		for serving() > 0 {
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(begun); took > 12*time.Second {
			t.Errorf("gone after %v", took)
		}
	})
}

// An instance that is draining is listed as such.
func TestDrainingInstanceIsListed(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		goOn := make(chan struct{})
		worker, q := work(t, world, jobWorker, func(context.Context, int) (int, error) { <-goOn; return 0, nil })
		client := openStarted(t, world)
		must(q.Submit(t.Context(), 1))(t)
		synctest.Wait()
		down := make(chan error, 1)
		go func() { down <- worker.Shutdown(context.Background()) }()
		time.Sleep(time.Second)
		page := must(client.Workers(t.Context(), af.WorkerQuery{}))(t)
		if page.Total != 1 || !page.Workers[0].Draining || page.Workers[0].Running != 1 {
			t.Errorf("while draining: %+v", page)
		}
		close(goOn)
		if err := <-down; err != nil {
			t.Fatal(err)
		}
		if page := must(client.Workers(t.Context(), af.WorkerQuery{}))(t); page.Total != 0 {
			t.Errorf("after the drain: %+v", page)
		}
	})
}

func TestNumberOfContractsIsLimited(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		docs := raw(t, world).Docs
		deploy := func(version int) *af.App {
			app := open(t, world)
			m := &af.Method[calcArgs, calcReply]{Name: "Do", Fingerprint: fmt.Sprint(version)}
			af.RegisterService(app, calcService, &calc{},
				af.Bind(m, func(context.Context, *calc, calcArgs) (r calcReply, err error) { return r, nil }))
			start(t, app)
			time.Sleep(time.Second)
			return app
		}
		first := deploy(0)
		described := func() int {
			return len(must(first.Services(t.Context(), af.ServiceQuery{}))(t).Services[0].Methods)
		}
		for i := range 30 {
			if err := deploy(1 + i).Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(must(docs.List(t.Context(), "contracts/calc/"))(t)); n != 20 || described() != 1 {
			t.Errorf("%d contracts stored, %d methods known", n, described())
		}
		client := openStarted(t, world)
		methods := func() int {
			return len(must(client.Services(t.Context(), af.ServiceQuery{}))(t).Services[0].Methods)
		}
		if n := methods(); n != 0 {
			t.Errorf("%d methods of a contract that was removed", n)
		}
		time.Sleep(11 * time.Minute) // instances store the contracts that they use again
		if n := len(must(docs.List(t.Context(), "contracts/calc/"))(t)); n != 20 || methods() != 1 {
			t.Errorf("later: %d contracts stored, %d methods known", n, methods())
		}
	})
}

// One App of each machine reports the node. When it ends, another one does.
func TestOneAppReportsTheNode(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		docs := raw(t, world).Docs
		reports := func() int {
			nodes := must(docs.List(t.Context(), "machines/"))(t)
			if len(nodes) != 1 {
				t.Fatalf("%d nodes", len(nodes))
			}
			var r struct{ Count int }
			if err := json.Unmarshal(nodes[0].Value, &r); err != nil {
				t.Fatal(err)
			}
			return r.Count
		}
		apps := []*af.App{openStarted(t, world), openStarted(t, world), openStarted(t, world)}
		synctest.Wait()
		for _, app := range apps {
			before := reports()
			time.Sleep(10 * time.Minute)
			if n := reports() - before; n < 15 || n > 45 { // every 20 s makes 30
				t.Errorf("%d reports in ten minutes", n)
			}
			if err := app.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestHistoryOfANodeIsLimited(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		app := openStarted(t, world)
		synctest.Wait()
		id := must(app.Nodes(t.Context(), af.NodeQuery{}))(t).Nodes[0].ID
		docs := raw(t, world).Docs
		doc := must(docs.Get(t.Context(), "machine-history/"+id))(t)
		long, err := json.Marshal(make([]af.NodeSample, 180))
		if err != nil {
			t.Fatal(err)
		}
		must(docs.PutIf(t.Context(), doc.Name, doc.Revision, long))(t)
		time.Sleep(10 * time.Minute)
		history := must(app.NodeHistory(t.Context(), id))(t)
		if len(history) != 180 {
			t.Errorf("a history of %d samples", len(history))
		}
		for i := 172; i < 179; i++ { // about one sample a minute
			if gap := history[i+1].Time.Sub(history[i].Time); gap < 30*time.Second || gap > 90*time.Second {
				t.Errorf("%v between two samples", gap)
			}
		}
	})
}

func TestGoneNodesAreKeptForAWeek(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		docs := raw(t, world).Docs
		report := fmt.Sprintf(`{"id":"old","host":"old","time":%q}`,
			time.Now().Add(40*time.Minute-7*24*time.Hour).Format(time.RFC3339))
		for _, name := range []string{"machines/old", "machine-history/old"} {
			must(docs.PutIf(t.Context(), name, 0, json.RawMessage(report)))(t)
		}
		app := openStarted(t, world)
		synctest.Wait()
		if page := must(app.Nodes(t.Context(), af.NodeQuery{}))(t); page.Total != 1 || page.Nodes[0].ID == "old" {
			t.Errorf("nodes %+v", page)
		}
		gone := func() int {
			return must(app.Nodes(t.Context(), af.NodeQuery{ID: "old", Gone: true}))(t).Total
		}
		time.Sleep(30 * time.Minute)
		if gone() != 1 {
			t.Error("the node was removed too early")
		}
		time.Sleep(30 * time.Minute)
		if gone() != 0 || len(must(docs.List(t.Context(), "machine-history/old"))(t)) != 0 {
			t.Error("the node was not removed")
		}
	})
}

func TestFinalStatusWithoutTheStore(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		app, q := work(t, world, jobWorker, same)
		id := must(q.Submit(t.Context(), 1))(t)
		must(q.Wait(t.Context(), id))(t)
		other := must(q.Submit(t.Context(), 1))(t)
		must(q.Wait(t.Context(), other))(t)
		must(app.TaskStatus(t.Context(), id))(t)
		world.Down(false)
		if s, err := app.TaskStatus(t.Context(), id); s != af.StatusSuccess || err != nil {
			t.Errorf("%s, %v", s, err)
		}
		world.Up()
		world.Down(true)
		begun := time.Now()
		if s, err := app.TaskStatus(t.Context(), id); s != af.StatusSuccess || err != nil ||
			time.Since(begun) > 10*time.Second {
			t.Errorf("%s, %v after %v while the store hangs", s, err, time.Since(begun))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if s, err := app.TaskStatus(ctx, id); !errors.Is(err, af.ErrCanceled) {
			t.Errorf("%s, %v with a context that was cancelled", s, err)
		}
		world.Up()
		world.Down(false)
		_, err := app.TaskStatus(t.Context(), other)
		wantError(t, err, af.ErrUnavailable, af.OutcomeNotSent, "down")
		world.Up()
	})
}

// A remembered status never takes precedence over the store: retention deletes tasks, and their ids may be reused.
func TestStatusOfPurgedTask(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		hold := make(chan struct{})
		app, q := work(t, world, jobWorker, func(_ context.Context, n int) (int, error) {
			if n == 2 {
				<-hold
			}
			return n, nil
		}, af.Retention(time.Minute, 0))
		must(q.Submit(t.Context(), 1, af.TaskID("mine")))(t)
		must(q.Wait(t.Context(), "mine"))(t)
		if s := must(app.TaskStatus(t.Context(), "mine"))(t); s != af.StatusSuccess {
			t.Errorf("status %s", s)
		}
		time.Sleep(3 * time.Minute)
		if s, err := app.TaskStatus(t.Context(), "mine"); s != "" || !errors.Is(err, af.ErrNotFound) {
			t.Errorf("status %q, %v of a task that was deleted", s, err)
		}
		world.Down(false)
		if s, err := app.TaskStatus(t.Context(), "mine"); s != "" || !errors.Is(err, af.ErrUnavailable) {
			t.Errorf("status %q, %v of a task known to be deleted", s, err)
		}
		world.Up()

		time.Sleep(time.Minute) // until the pool claims again
		must(q.Submit(t.Context(), 2, af.TaskID("mine")))(t)
		synctest.Wait()
		if s := must(app.TaskStatus(t.Context(), "mine"))(t); s != af.StatusRunning {
			t.Errorf("status %s of a reused id", s)
		}
		close(hold)
		must(q.Wait(t.Context(), "mine"))(t)
	})
}
