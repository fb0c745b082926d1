package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// Following the cursors of a list returns each entry once, even if others are added and removed meanwhile.
func TestCursorsOfChangingLists(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world, opened := memory.New(), 0
		join := func() *af.App {
			n := opened
			opened++
			app := open(t, world, af.IP(fmt.Sprintf("192.0.2.%d", n%3)), af.NodeFacts(func(context.Context) af.Node {
				return af.Node{ID: fmt.Sprintf("node%d", n), NodeSample: af.NodeSample{CPU: float64(n%2) / 2}}
			}))
			app.AddService(af.ServiceSpec{Service: af.Service{Name: fmt.Sprintf("service%d", n), Type: "S", Concurrency: 1}})
			w := jobWorker
			w.Name = fmt.Sprintf("queue%d", n)
			af.RegisterWorker(app, w, &job{})
			start(t, app)
			return app
		}
		client := openStarted(t, world)
		lists := map[string]func(cursor string) ([]string, string, error){
			"instances": func(cursor string) (ids []string, next string, err error) {
				page, err := client.Instances(t.Context(), af.InstanceQuery{Sort: af.InstancesByIP, Limit: 2, Cursor: cursor})
				for _, n := range page.Instances {
					ids = append(ids, n.ID)
				}
				return ids, page.Cursor, err
			},
			"services": func(cursor string) (ids []string, next string, err error) {
				page, err := client.Services(t.Context(), af.ServiceQuery{Sort: af.ServicesByInstances, Limit: 2, Cursor: cursor})
				for _, s := range page.Services {
					ids = append(ids, s.Instances[0].ID)
				}
				return ids, page.Cursor, err
			},
			"workers": func(cursor string) (ids []string, next string, err error) {
				page, err := client.Workers(t.Context(), af.WorkerQuery{Sort: af.WorkersByIP, Limit: 2, Cursor: cursor})
				for _, w := range page.Workers {
					ids = append(ids, w.Instance.ID)
				}
				return ids, page.Cursor, err
			},
			"nodes": func(cursor string) (ids []string, next string, err error) {
				page, err := client.Nodes(t.Context(), af.NodeQuery{Sort: af.NodesByCPU, Limit: 2, Cursor: cursor})
				for _, n := range page.Nodes {
					ids = append(ids, n.Instances...)
				}
				return ids, page.Cursor, err
			},
		}
		for name, list := range lists {
			var stay []string
			var leave []*af.App
			for range 5 {
				stay, leave = append(stay, join().Instance().ID), append(leave, join())
			}
			synctest.Wait() // the nodes have reported
			var seen []string
			for cursor := ""; ; {
				ids, next, err := list(cursor)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				seen = append(seen, ids...)
				if cursor = next; next == "" {
					break
				}
				if len(leave) > 0 {
					if err := leave[0].Shutdown(t.Context()); err != nil {
						t.Fatal(err)
					}
					leave = leave[1:]
					join()
				}
			}
			for _, id := range stay {
				if !slices.Contains(seen, id) {
					t.Errorf("%s: an entry is missing", name)
				}
			}
			slices.Sort(seen)
			if len(slices.Compact(slices.Clone(seen))) != len(seen) {
				t.Errorf("%s: duplicate entries: %q", name, seen)
			}
		}
	})
}

// All lists return the same error for an invalid cursor.
func TestInvalidCursorIsRejectedByAllLists(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app, ctx := openStarted(t, memory.New()), t.Context()
		_, tasks := app.Tasks(ctx, af.TaskQuery{Cursor: "odd"})
		if !errors.Is(tasks, af.ErrInvalidArgument) {
			t.Fatal(tasks)
		}
		_, jobs := app.Jobs(ctx, af.JobQuery{Cursor: "odd"})
		_, fires := app.Fires(ctx, af.FireQuery{Cursor: "odd"})
		_, instances := app.Instances(ctx, af.InstanceQuery{Cursor: "odd"})
		_, services := app.Services(ctx, af.ServiceQuery{Cursor: "odd"})
		_, workers := app.Workers(ctx, af.WorkerQuery{Cursor: "odd"})
		_, nodes := app.Nodes(ctx, af.NodeQuery{Cursor: "odd"})
		for name, err := range map[string]error{
			"jobs": jobs, "fires": fires, "instances": instances, "services": services, "workers": workers, "nodes": nodes,
		} {
			if err == nil || err.Error() != tasks.Error() || !errors.Is(err, af.ErrInvalidArgument) {
				t.Errorf("%s: %v, want %v", name, err, tasks)
			}
		}
	})
}
