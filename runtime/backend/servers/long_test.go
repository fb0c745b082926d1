//go:build long

package servers_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/operations"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/servers"
)

func TestLongSoak(t *testing.T) {
	operations.Soak(t, servers.From(configured(t)), 2*time.Minute)
}

// seen is a worker that remembers what it has run.
type seen struct {
	mu  sync.Mutex
	ran map[int]int
}

func (s *seen) Run(_ context.Context, n int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ran[n]++
	return n, nil
}

// The primary of a replica set of three steps down, is killed and comes back, twice each, while tasks are submitted: each
// task whose submit returned nil runs.
func TestLongElections(t *testing.T) {
	rs := devstack.ReplicaSet(t, 3)
	cfg := parse(t, fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n",
		devstack.WithDatabase(rs.URI, devstack.Name(t)), devstack.Redis(t), devstack.AMQP(t)))
	w := &seen{ran: map[int]int{}}
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
	cancel()
	all := <-accepted
	if len(all) < 100 {
		t.Errorf("only %d tasks were accepted", len(all))
	}
	lost := all
	for end := time.Now().Add(2 * time.Minute); len(lost) > 0 && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
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
