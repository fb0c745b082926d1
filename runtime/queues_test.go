package runtime_test

import (
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/aftest"
)

// A queue is listed for any of the reasons: tasks, limits, a worker that runs, or one that ran.
func TestQueuesAreListedForAnyReason(t *testing.T) {
	aftest.RunCluster(t, func(t *testing.T, c *aftest.Cluster) {
		spec, gone, tasks := historySpec("served"), historySpec("gone"), historySpec("tasks")
		for range 2 {
			c.Start(func(app *af.App) { af.RegisterVoidWorker(app, spec, &historyWorker{}) })
		}
		last := c.Start(func(app *af.App) { af.RegisterVoidWorker(app, gone, &historyWorker{}) })
		submitTo(t, af.NewVoidQueue[int](c.Client(), spec), 90_000)
		begun := time.Now()
		for range 3 {
			submitTo(t, af.NewVoidQueue[int](c.Client(), tasks), 1)
		}
		if err := c.Client().PauseQueue(t.Context(), "limited", af.Create()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := last.App().Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		queues, err := c.Client().Queues(t.Context())
		if err != nil || len(queues) != 4 {
			t.Fatalf("%+v, %v", queues, err)
		}
		if q := queues[0]; q.Name != "gone" || q.Workers != 0 || q.Slots != 0 || time.Since(q.Served) > 24*time.Hour ||
			len(q.Counts) != 0 {
			t.Errorf("%+v", q)
		}
		if q := queues[1]; q.Name != "limited" || !q.Limits.Paused || !q.Served.IsZero() || q.Workers != 0 {
			t.Errorf("%+v", q)
		}
		if q := queues[2]; q.Name != "served" || q.Workers != 2 || q.Slots != 16 || q.Running != 1 ||
			q.Counts[af.StatusRunning].N != 1 || !q.Oldest.IsZero() || time.Since(q.Served) > time.Minute {
			t.Errorf("%+v", q)
		}
		if q := queues[3]; q.Name != "tasks" || q.Counts[af.StatusPending].N+q.Counts[af.StatusWaiting].N != 3 ||
			!q.Oldest.Equal(begun) || !q.Served.IsZero() || q.Workers != 0 {
			t.Errorf("%+v", q)
		}
	})
}
