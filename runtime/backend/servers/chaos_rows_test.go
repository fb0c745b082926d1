//go:build unix

package servers_test

import (
	"testing"
	"time"

	"github.com/afgen/afgen/internal/chaos"
	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/mongoproxy"
	af "github.com/afgen/afgen/runtime"
)

// submitMany submits n tasks in one batch.
func (r *rig) submitMany(n int) (ids []string) {
	r.t.Helper()
	u := chaos.Submit{How: "many", Place: firstClient, Queue: chaos.Bulk}
	for range n {
		r.tickets++
		u.Orders = append(u.Orders, chaos.Order{Ticket: r.tickets})
	}
	ids, code := r.Submit(u)
	if code != "" {
		r.t.Fatalf("submitting: %s", code)
	}
	return ids
}

func (r *rig) awaitAllEnded(within time.Duration) time.Duration {
	r.t.Helper()
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		left, err := r.stack.Left(r.t.Context())
		switch {
		case err != nil:
			r.t.Fatal(err)
		case left == 0:
			return time.Since(begun)
		case time.Since(begun) > within:
			r.t.Fatalf("after %v %d tasks have not ended", within, left)
		}
	}
}

func testBrokerFailures(t *testing.T) {
	r := newRig(t, lease, devstack.RabbitMQ)
	// While the broker is down, submissions succeed, and tasks are found by polling.
	found := func(r *rig) func() {
		return func() {
			u := r.order("submit", firstClient, chaos.Order{})
			u.Weight = 9
			if _, code := r.Submit(u); code != "" {
				r.t.Fatalf("submitting: %s", code)
			}
			r.AwaitRuns(r.t, u.ID, 1, 5*time.Second)
		}
	}
	r.step("closes_connections", func(r *rig) {
		long := r.submit(chaos.Order{For: 3 * time.Second})
		r.AwaitRuns(r.t, long, 1, 10*time.Second)
		r.Happen(chaos.Event{What: rabbitCloses})
		r.checkWorks()
		r.awaitAllEnded(20 * time.Second)
		if runs := r.Runs(long); len(runs) != 1 {
			r.t.Errorf("the task that ran during the fault ran %d times", len(runs))
		}
	})
	r.step("queues_purged", func(r *rig) {
		r.submitMany(200)
		r.Happen(chaos.Event{What: rabbitPurged})
		r.awaitAllEnded(30 * time.Second)
	})
	r.step("queues_deleted", func(r *rig) {
		r.submitMany(200)
		r.Happen(chaos.Event{What: rabbitDeleted})
		r.awaitAllEnded(30 * time.Second)
	})
	r.step("out_of_memory", func(r *rig) { r.While(rabbitFull, 6*time.Second, found(r)) })
	r.step("killed_with_1000_queued", func(r *rig) {
		r.submitMany(1000)
		r.While(rabbitKilled, 2*time.Second, found(r))
		r.t.Logf("1,000 tasks had ended %v after the broker was back", r.awaitAllEnded(2*time.Minute).Round(time.Millisecond))
	})
	r.step("stopped", func(r *rig) { r.While(rabbitStops, 8*time.Second, found(r)) })
	r.Check()
}

func testStoreFailures(t *testing.T) {
	r := newRig(t, lease, devstack.MongoDB, devstack.RedisKV)
	running := func(r *rig, d time.Duration) string {
		id := r.submit(chaos.Order{For: d})
		r.AwaitRuns(r.t, id, 1, 10*time.Second)
		return id
	}
	once := func(r *rig, id string) {
		r.t.Helper()
		r.awaitAllEnded(30 * time.Second)
		if runs := r.Runs(id); len(runs) != 1 {
			r.t.Errorf("the task that ran during the fault ran %d times", len(runs))
		}
	}
	r.step("lost_replies", func(r *rig) {
		var traps []*mongoproxy.Trap
		for _, match := range []mongoproxy.Matcher{inserts, claims, settles} {
			traps = append(traps, r.stack.mongoProxy.Trap(mongoproxy.After, match, nil))
		}
		r.submitMany(50)
		r.awaitAllEnded(30 * time.Second)
		for _, tr := range traps {
			tr.Await(r.t, 10*time.Second)
		}
	})
	r.step("slow_store", func(r *rig) {
		r.While(mongoSlow, 3*time.Second, func() { r.submitMany(20) })
		r.awaitAllEnded(30 * time.Second)
	})
	r.step("store_stopped_3s", func(r *rig) {
		id := running(r, 4*time.Second)
		begun := time.Now()
		r.While(mongoStops, 3*time.Second, func() {})
		// Stopping and starting take time. If the outage lasts most of a lease, the worker rightly cancels its tasks.
		if took := time.Since(begun); took > lease*7/10 {
			r.t.Logf("the store was down for %v: running tasks may run again", took)
			r.awaitAllEnded(30 * time.Second)
			return
		}
		once(r, id)
	})
	r.step("store_without_requests_3s", func(r *rig) {
		id := running(r, 2*time.Second)
		r.While(mongoMute, 3*time.Second, func() {})
		once(r, id)
	})
	r.step("store_without_replies_3s", func(r *rig) {
		id := running(r, 2*time.Second)
		r.While(mongoDeaf, 3*time.Second, func() {})
		once(r, id)
	})
	r.step("redis_flushed_without_replies", func(r *rig) {
		r.Happen(chaos.Event{What: redisFlush})
		r.While(redisDeaf, 3*time.Second, r.checkWorks)
	})
	r.step("redis_stopped_15s", func(r *rig) { // and a worker is stopped for longer than its lease
		var all []string
		for range 6 {
			all = append(all, running(r, 20*time.Second))
		}
		r.Go(func() { r.Happen(chaos.Event{What: "stop long", Places: []int{0}, For: lease + 3*time.Second}) })
		r.While(redisStops, 15*time.Second, func() {
			for _, id := range all { // without events, by the periodic check of running tasks
				if code := r.Stop(firstClient, id); code != "" {
					r.t.Errorf("stopping: %s", code)
				}
			}
			for range 10 {
				r.checkWorks()
			}
		})
		r.awaitAllEnded(30 * time.Second)
	})
	r.step("store_stopped_15s", func(r *rig) {
		id := running(r, 25*time.Second)
		r.While(mongoStops, 15*time.Second, func() {
			time.Sleep(lease - 15*time.Second/4 + time.Second) // until it has been down for a lease
			begun := time.Now()
			_, code := r.Submit(r.order("submit", secondClient, chaos.Order{}))
			if took := time.Since(begun); code != af.ErrUnavailable || took > 5*time.Second {
				r.t.Errorf("submitting returned %q after %v", code, took)
			}
		})
		r.AwaitRuns(r.t, id, 2, 20*time.Second) // its worker has cancelled and released it
		if code := r.Stop(firstClient, id); code != "" {
			r.t.Errorf("stopping: %s", code)
		}
		r.awaitAllEnded(30 * time.Second)
	})
	r.step("detector_killed_after_expiry", func(r *rig) { // and before it frees the tasks
		for range 6 {
			running(r, 3*time.Second)
		}
		tr := r.stack.mongoProxy.Trap(mongoproxy.After, expiries, r.killSender)
		r.Kill(0)
		tr.Await(r.t, 20*time.Second)
		r.Boot(0)
		r.awaitAllEnded(40 * time.Second)
	})
	r.Check()
}
