package runtime_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// slow is a backend that delays claims of one queue by a second or, without a queue, audits.
func slow(b af.Backend, queue string) af.Backend {
	return altered{b, func(p *backend.Ports) { p.Store = slowStore{p.Store, queue, false} }}
}

// slowChecking is slow with a store that refuses claims of expired owners.
func slowChecking(b af.Backend, queue string) af.Backend {
	return altered{b, func(p *backend.Ports) { p.Store = slowStore{p.Store, queue, true} }}
}

type slowStore struct {
	backend.Store
	queue  string
	checks bool
}

func (s slowStore) Owned(ctx context.Context, owner string) ([]backend.Owned, error) {
	owned, err := s.Store.Owned(ctx, owner)
	if s.queue == "" {
		time.Sleep(time.Second)
	}
	return owned, err
}

func (s slowStore) Claim(ctx context.Context, c backend.Claim) ([]backend.Task, time.Duration, error) {
	if s.checks {
		c.OwnerChecked = false
	}
	tasks, next, err := s.Store.Claim(ctx, c)
	if c.Queue == s.queue {
		time.Sleep(time.Second)
	}
	return tasks, next, err
}

// An audit ignores tasks that are claimed while it is running.
func TestAuditIgnoresNewClaims(t *testing.T) {
	bubble.Test(t, func(t *testing.T) { runThroughAudits(t, "") })
}

// runThroughAudits submits tasks every half second, during two audits, and checks that each runs once.
func runThroughAudits(t *testing.T, slowQueue string) {
	t.Helper()
	w := jobWorker
	w.Max = 100
	_, q := work(t, slow(memory.New(), slowQueue), w, func(ctx context.Context, n int) (int, error) {
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(3 * time.Second):
			return n, nil
		}
	})
	time.Sleep(250 * time.Millisecond)
	var ids []string
	for range 24 {
		time.Sleep(500 * time.Millisecond)
		ids = append(ids, must(q.Submit(t.Context(), 1))(t))
	}
	for _, id := range ids {
		must(q.Wait(t.Context(), id))(t)
		if task := must(q.Get(t.Context(), id))(t); task.Fence != 1 {
			t.Errorf("a task ran with fence %d", task.Fence)
		}
	}
}

// A claim whose reply is delayed during an audit is not released.
func TestAuditIgnoresClaimsWithDelayedReplies(t *testing.T) {
	bubble.Test(t, func(t *testing.T) { runThroughAudits(t, jobWorker.Name) })
}

// A run whose claim has been lost is stopped by the next audit.
func TestAuditStopsRunWithOldFence(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		begun := time.Now()
		var cause error
		var ended time.Duration
		_, q := work(t, world, jobWorker, func(ctx context.Context, n int) (int, error) {
			if af.TaskFrom(ctx).Fence == 1 {
				<-ctx.Done()
				cause, ended = context.Cause(ctx), time.Since(begun)
			}
			return n, nil
		})
		id := must(q.Submit(t.Context(), 1))(t)
		time.Sleep(1500 * time.Millisecond)
		store := must(world.Open(t.Context(), backend.Env{}))(t).Store
		must(store.Settle(t.Context(), []backend.Settle{{ID: id, Fence: 1, To: backend.StatusWaiting}}))(t)
		must(q.Wait(t.Context(), id))(t)
		time.Sleep(5 * time.Second) // the second run may begin before the audit
		if !errors.Is(cause, af.ErrLeaseLost) || ended > 5*time.Second {
			t.Errorf("ended after %v with %v", ended, cause)
		}
		if task := must(q.Get(t.Context(), id))(t); task.Fence != 2 || string(task.Result) != "1" {
			t.Errorf("%+v", task)
		}
	})
}

// gatedStore delays the replies of granted claims until the gate opens. It sends a value to sent for each.
type gatedStore struct {
	backend.Store
	sent chan int
	gate chan struct{}
}

func (s gatedStore) Claim(ctx context.Context, c backend.Claim) ([]backend.Task, time.Duration, error) {
	tasks, next, err := s.Store.Claim(ctx, c)
	if len(tasks) > 0 {
		s.sent <- len(tasks)
		<-s.gate
	}
	return tasks, next, err
}

// A granted claim whose reply is delayed runs once, even if this process audits its claims meanwhile. Each stop of a
// running task, in any process, causes an audit.
func TestClaimInFlightIsNotReleased(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New()
		sent, gate := make(chan int, 100), make(chan struct{})
		w := jobWorker
		w.Max = 10
		_, q := work(t, altered{world, func(p *backend.Ports) { p.Store = gatedStore{p.Store, sent, gate} }}, w,
			func(_ context.Context, n int) (int, error) { return n, nil })
		victim := jobWorker
		victim.Name = "victim"
		other, victims := work(t, world, victim, func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			return 0, context.Cause(ctx)
		})
		id := must(q.Submit(t.Context(), 1))(t)
		<-sent
		for range 5 {
			stopped := must(victims.Submit(t.Context(), 1))(t)
			time.Sleep(100 * time.Millisecond)
			if err := other.StopTask(t.Context(), stopped); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		close(gate)
		must(q.Wait(t.Context(), id))(t)
		if task := must(q.Get(t.Context(), id))(t); task.Fence != 1 || task.Attempt != 1 {
			t.Errorf("the task was claimed %d times, attempt %d", task.Fence, task.Attempt)
		}
	})
}

// A claim whose reply is lost is released while the pool keeps claiming.
func TestClaimWithLostReplyIsReleased(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		lost := false
		w := jobWorker
		w.Max = 4
		_, q := work(t, altered{memory.New(),
			func(p *backend.Ports) { p.Store = &forgetfulStore{Store: p.Store, lost: &lost} }}, w,
			func(_ context.Context, n int) (int, error) { return n, nil })
		id := must(q.Submit(t.Context(), 1))(t)
		end := time.Now().Add(30 * time.Second)
		for time.Now().Before(end) { // claims follow one another
			must(q.Submit(t.Context(), 2))(t)
			time.Sleep(50 * time.Millisecond)
		}
		if task := must(q.Get(t.Context(), id))(t); !lost || task.Status != af.StatusSuccess || task.Crashes != 0 {
			t.Errorf("reply lost: %v, %+v", lost, task)
		}
	})
}

// forgetfulStore loses the first reply that grants a task, and those of repeated claims.
type forgetfulStore struct {
	backend.Store
	lost  *bool
	nonce string
}

func (s *forgetfulStore) Claim(ctx context.Context, c backend.Claim) ([]backend.Task, time.Duration, error) {
	tasks, next, err := s.Store.Claim(ctx, c)
	if len(tasks) > 0 && !*s.lost {
		*s.lost, s.nonce = true, c.Nonce
	}
	if c.Nonce == s.nonce {
		return nil, 0, backend.NewError(backend.ErrUnavailable, "the reply was lost").With(backend.OutcomeUnknown)
	}
	time.Sleep(40 * time.Millisecond)
	return tasks, next, err
}
