//go:build long

package servers_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/apptest"
	"github.com/afgen/afgen/internal/devstack"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/servers"
)

func TestLongSoak(t *testing.T) {
	apptest.Soak(t, servers.From(configured(t)), 2*time.Minute)
}

func TestLongManySubtasksDelayNoOtherTask(t *testing.T) {
	apptest.ManySubtasks(t, 100_000, func(t *testing.T) af.Backend { return servers.From(configured(t)) })
}

// seenWorker is a worker that records its payloads.
type seenWorker struct {
	mu  sync.Mutex
	ran map[int]int
}

func (s *seenWorker) Run(_ context.Context, n int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ran[n]++
	return n, nil
}

// replacePrimary kills the primary of a replica set, waits for the next one, and restarts the killed member.
func replacePrimary(t *testing.T, rs *devstack.Replicas) {
	t.Helper()
	killed, err := rs.Primary()
	if err == nil {
		err = killed.Kill()
	}
	if err == nil {
		_, err = rs.Primary()
	}
	if err == nil {
		err = killed.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The primary of a three-member replica set steps down and is killed, twice each, while tasks are submitted. Each task
// whose submission succeeded runs.
func TestLongElections(t *testing.T) {
	rs := devstack.ReplicaSet(t, 3)
	cfg := parse(t, fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n",
		devstack.WithDatabase(rs.URI, devstack.Name(t)), devstack.Redis(t), devstack.AMQP(t)))
	w := &seenWorker{ran: map[int]int{}}
	worker := af.Worker{Name: devstack.Name(t), Type: "Elected", Max: 8, Retries: 10, Backoff: 100 * time.Millisecond}
	open(t, cfg, func(app *af.App) { af.RegisterWorker(app, worker, w) })
	q := af.NewQueue[int, int](open(t, cfg, nil), worker)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	accepted := make(chan []int, 1)
	go func() {
		var all []int
		for n := 0; ctx.Err() == nil; n++ {
			if _, err := q.Submit(t.Context(), n); err == nil {
				all = append(all, n)
			}
		}
		accepted <- all
	}()
	for range 2 {
		if _, err := rs.StepDown(); err != nil {
			t.Fatal(err)
		}
		replacePrimary(t, rs)
	}
	cancel()
	all := <-accepted
	if len(all) < 100 {
		t.Errorf("only %d tasks were accepted", len(all))
	}
	lost := all
	for end := time.Now().Add(2 * time.Minute); len(lost) > 0 &&
		time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		w.mu.Lock()
		var left []int
		for _, n := range lost {
			if w.ran[n] == 0 {
				left = append(left, n)
			}
		}
		w.mu.Unlock()
		lost = left
	}
	twice := 0
	for _, n := range w.ran {
		if n > 1 {
			twice++
		}
	}
	t.Logf("%d tasks were accepted, %d payloads ran more than once", len(all), twice)
	if len(lost) > 0 {
		t.Errorf("%d accepted tasks never ran: %v", len(lost), lost[:min(len(lost), 10)])
	}
}

// The primary of a three-member replica set is killed twice. Submitters retry: after "not sent" without an ID, after an
// unknown outcome with the ID in the error. Each payload gets exactly one task. Contexts that end during an election
// make the outcome unknown; longer ones get an answer.
func TestLongKilledPrimaryMakesOneTaskPerPayload(t *testing.T) {
	rs := devstack.ReplicaSet(t, 3)
	uri := devstack.WithDatabase(rs.URI, devstack.Name(t))
	cfg := parse(t, fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n", uri, devstack.Redis(t),
		devstack.AMQP(t)))
	worker := af.Worker{Name: devstack.Name(t), Type: "Paid", Max: 8}
	app := open(t, cfg, nil)
	q := af.NewQueue[int, int](app, worker)

	const submitters = 60
	stop := make(chan struct{})
	var unknown, notSent atomic.Int64
	var submitted [submitters]int
	var all sync.WaitGroup
	for s := range submitters {
		all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					submitted[s] = n
					return
				default:
				}
				patience := 30 * time.Second
				if s%2 == 0 { // shorter than an election
					patience = time.Second
				}
				var opts []af.SubmitOption
				for {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					_, err := q.Submit(ctx, s*1_000_000+n, opts...)
					cancel()
					if err == nil {
						break
					}
					if id := af.SubmittedID(err); id != "" {
						unknown.Add(1)
						opts = []af.SubmitOption{af.TaskID(id)}
					} else if e, ok := errors.AsType[*af.Error](err); ok && e.Outcome == af.OutcomeNotSent {
						notSent.Add(1)
						time.Sleep(10 * time.Millisecond)
					} else {
						t.Errorf("unknown outcome without a task ID: %v", err)
						return
					}
				}
			}
		})
	}
	for range 2 {
		time.Sleep(2 * time.Second) // submitting
		replacePrimary(t, rs)
	}
	time.Sleep(2 * time.Second)
	close(stop)
	all.Wait()

	times, total := map[int]int{}, 0
	query := af.TaskQuery{Queue: worker.Name, Limit: 1000}
	for more := true; more; more = query.Cursor != "" {
		page := must(app.Tasks(t.Context(), query))(t)
		for _, task := range page.Tasks {
			n, err := strconv.Atoi(string(task.Payload))
			if err != nil {
				t.Fatal(err)
			}
			times[n]++
			total++
		}
		query.Cursor = page.Cursor
	}
	missing, twice := 0, 0
	for s, count := range submitted {
		for n := range count {
			switch times[s*1_000_000+n] {
			case 0:
				missing++
			case 1:
			default:
				twice++
			}
		}
	}
	t.Logf("%d tasks; %d submissions with unknown outcome, %d not sent", total, unknown.Load(), notSent.Load())
	if missing+twice > 0 || unknown.Load() == 0 {
		t.Errorf("%d payloads have no task, %d have several; %d unknown outcomes", missing, twice, unknown.Load())
	}
}
