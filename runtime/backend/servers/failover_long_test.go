//go:build long && unix

package servers_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	af "github.com/afgen/afgen/runtime"
)

// heldWorker is a worker whose runs last until release is closed. It counts runs and those that were cancelled.
type heldWorker struct {
	release         chan struct{}
	runs, cancelled atomic.Int64
}

func (h *heldWorker) Run(ctx context.Context, n int) (int, error) {
	h.runs.Add(1)
	select {
	case <-h.release:
		return n, nil
	case <-ctx.Done():
		h.cancelled.Add(1)
		return 0, ctx.Err()
	}
}

// A submitter submits tasks without a pause, and records for how long none was accepted.
type submitter struct {
	mu       sync.Mutex
	last     time.Time
	gap      time.Duration
	accepted int
}

func (s *submitter) run(ctx context.Context, q af.Queue[int, int]) {
	for ctx.Err() == nil {
		if _, err := q.Submit(ctx, 1); err != nil {
			continue
		}
		s.mu.Lock()
		s.gap = max(s.gap, time.Since(s.last))
		s.last = time.Now()
		s.accepted++
		s.mu.Unlock()
	}
}

// since returns the longest gap and the number of accepted tasks since the last call.
func (s *submitter) since() (gap time.Duration, accepted int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gap, accepted = s.gap, s.accepted
	s.gap, s.accepted, s.last = 0, 0, time.Now()
	return gap, accepted
}

// With the default lease, the kill and the step-down of a primary cancel no run and repeat none, and submits succeed
// after the election. So does the loss of a secondary. A frozen primary may cancel runs.
func TestLongFailoverCancelsNothing(t *testing.T) {
	rs := devstack.ReplicaSet(t, 3)
	cfg := parse(t, fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n",
		devstack.WithDatabase(rs.URI, devstack.Name(t)), devstack.Redis(t), devstack.AMQP(t)))
	const held = 16
	h := &heldWorker{release: make(chan struct{})}
	long := af.Worker{Name: devstack.Name(t), Type: "Held", Max: held / 2}
	short := af.Worker{Name: devstack.Name(t), Type: "Short", Max: 4}
	for range 2 {
		open(t, cfg, func(app *af.App) {
			af.RegisterWorker(app, long, h)
			af.RegisterWorker(app, short, &seenWorker{ran: map[int]int{}})
		})
	}
	client := open(t, cfg, nil)
	q := af.NewQueue[int, int](client, long)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	ids := must(q.SubmitMany(ctx, make([]int, held)))(t)
	for h.runs.Load() < held && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	s := &submitter{last: time.Now()}
	submitting, stop := context.WithCancel(ctx)
	var submits sync.WaitGroup
	submits.Go(func() { s.run(submitting, af.NewQueue[int, int](client, short)) })
	defer submits.Wait()
	defer stop()

	for i, fault := range []string{"kill", "stepdown", "kill", "stepdown", "kill", "secondary", "freeze"} {
		if err := rs.Await(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second) // heartbeats succeed
		s.since()
		primary, err := rs.Primary()
		if err != nil {
			t.Fatal(err)
		}
		hit, begun := primary, time.Now()
		switch fault {
		case "kill":
			err = hit.Kill()
		case "stepdown":
			_, err = rs.StepDown()
		case "secondary":
			for _, m := range rs.Members {
				if m != primary {
					hit = m
				}
			}
			err = hit.Kill()
		case "freeze":
			err = syscall.Kill(-hit.Pid, syscall.SIGSTOP)
		}
		if err != nil {
			t.Fatal(fault, err)
		}
		if _, err := rs.Primary(); err != nil {
			t.Fatal(err)
		}
		elected := time.Since(begun)
		time.Sleep(25 * time.Second) // longer than a lease, so that whatever was declared dead runs again
		gap, accepted := s.since()
		t.Logf("%d %s: a primary after %v; no submit for %v, then %d; %d runs, %d cancelled", i, fault,
			elected.Round(10*time.Millisecond), gap.Round(10*time.Millisecond), accepted, h.runs.Load(), h.cancelled.Load())
		if accepted == 0 {
			t.Errorf("%s: no submit was accepted", fault)
		}
		switch fault {
		case "kill", "secondary":
			err = hit.Start()
		case "freeze":
			err = syscall.Kill(-hit.Pid, syscall.SIGCONT)
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.cancelled.Load() > 0 && fault != "freeze" {
			t.Fatalf("%s: %d runs were cancelled", fault, h.cancelled.Load())
		}
	}
	close(h.release)
	for _, id := range ids {
		must(q.Wait(ctx, id))(t)
	}
	if runs, cancelled := h.runs.Load(), h.cancelled.Load(); runs != held+cancelled {
		t.Errorf("%d runs of %d tasks, %d of which were cancelled", runs, held, cancelled)
	}
}
