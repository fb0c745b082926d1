package runtime_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// Other Apps see the version of a worker, its own maximum, since when it runs its oldest task, and why it claims
// nothing. They see what is down in the health of an instance until it is up again.
func TestWorkersTellWhyTheyClaimNothing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		b := fault.New(world, 1, fault.Plan{})
		app := open(t, b)
		w := jobWorker
		w.Payload, w.Max = "fingerprint", 3
		af.RegisterWorker(app, w, &job{func(ctx context.Context, n int) (int, error) {
			<-ctx.Done()
			return n, ctx.Err()
		}})
		start(t, app)
		viewer := open(t, world, af.Observer())
		start(t, viewer)
		see := func() (af.WorkerInfo, af.InstanceInfo) {
			t.Helper()
			workers := must(viewer.Workers(t.Context(), af.WorkerQuery{}))(t)
			instances := must(viewer.Instances(t.Context(), af.InstanceQuery{}))(t)
			if workers.Total != 1 || instances.Total != 1 {
				t.Fatalf("%+v, %+v", workers, instances)
			}
			return workers.Workers[0], instances.Instances[0]
		}
		worker, instance := see()
		if worker.Own != 3 || worker.Fingerprint != "fingerprint" || !worker.Claims || worker.Refusal != "" ||
			!worker.OldestRunning.IsZero() || len(instance.Degraded) > 0 {
			t.Errorf("idle: %+v, %+v", worker, instance)
		}
		must(af.NewQueue[int, int](viewer, w).Submit(t.Context(), 1))(t)
		begun := time.Now()
		time.Sleep(10 * time.Second)
		if worker, _ = see(); worker.OldestRunning.Sub(begun).Abs() > time.Second {
			t.Errorf("busy since %v: %+v", begun, worker)
		}

		b.Fail("Beat", 1000, fault.Refused)
		time.Sleep(14 * time.Second) // more than half a lease, and less than one
		worker, instance = see()
		if worker.Claims || !strings.Contains(worker.Refusal, "heartbeats") || len(instance.Degraded) != 1 ||
			!strings.HasPrefix(instance.Degraded[0], "not-claiming: no heartbeat is accepted: ") ||
			len(instance.Degraded[0]) > 200 {
			t.Errorf("without heartbeats: %+v, %q", worker, instance.Degraded)
		}
		b.Fail("Beat", 0, fault.None)
		time.Sleep(3 * time.Second)
		if worker, instance = see(); !worker.Claims || worker.Refusal != "" || len(instance.Degraded) > 0 {
			t.Errorf("with heartbeats again: %+v, %q", worker, instance.Degraded)
		}
	})
}
