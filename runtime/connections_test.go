package runtime_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// checkedBackend is a backend whose transport is a ConnectionChecker. Its hints have no ids, so only the checker
// reveals dead owners.
type checkedBackend struct {
	backend.Backend
	connections *connections
}

// connections is what the ConnectionChecker reports.
type connections struct {
	mu    sync.Mutex
	there map[string]bool
	since map[string]time.Time
	blind error
	asked atomic.Int32
}

type checkedTransport struct {
	backend.Transport
	*connections
	instance string
}

func (s checkedTransport) Visible() (time.Time, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.there[s.instance] {
		return time.Time{}, nil
	}
	return s.since[s.instance], nil
}

func (s checkedBackend) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := s.Backend.Open(ctx, env)
	if err == nil {
		ports.Transport = checkedTransport{ports.Transport, s.connections, env.Instance.ID}
		s.connections.set(env.Instance.ID, true)
	}
	return ports, err
}

func (s *connections) set(instance string, there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if there && !s.there[instance] {
		s.since[instance] = time.Now()
	}
	s.there[instance] = there
}

func (s *connections) Absent(_ context.Context, instances []string) ([]string, error) {
	s.asked.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(instances), func(id string) bool { return s.there[id] }), s.blind
}

// An owner that is absent from the transport and sends no heartbeat is declared dead within three seconds, even if no
// hint is delivered again. An owner that is absent but sends heartbeats stays alive. So does one that
// is connected, or can't be checked, and sends no heartbeats for less than a lease.
func TestAbsentOwnerWithoutHeartbeatIsDead(t *testing.T) {
	for name, c := range map[string]struct {
		absent, crashes bool
		blind           error
		atLeast, atMost time.Duration
	}{
		// Seen up to a second after its last heartbeat, and declared dead 1.6 s later.
		"absent_and_dead":    {absent: true, crashes: true, atLeast: 400 * time.Millisecond, atMost: 3 * time.Second},
		"present_and_silent": {crashes: true, atLeast: 19 * time.Second, atMost: 23 * time.Second},
		"unseen": {absent: true, crashes: true, blind: errDown, atLeast: 19 * time.Second,
			atMost: 23 * time.Second},
		"absent_and_beats": {absent: true, atLeast: 54 * time.Second, atMost: 56 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				see := &connections{there: map[string]bool{}, since: map[string]time.Time{}}
				world := fault.Around(memory.New())
				begun := make(chan struct{}, 1)
				victim := fault.New(world, 1, fault.Plan{})
				_, q := work(t, checkedBackend{victim, see}, jobWorker, func(ctx context.Context, n int) (int, error) {
					begun <- struct{}{}
					select {
					case <-time.After(time.Minute):
						return n, nil
					case <-ctx.Done():
						return 0, ctx.Err()
					}
				})
				id := must(q.Submit(t.Context(), 1))(t)
				<-begun
				_, other := work(t, checkedBackend{fault.New(world, 2, fault.Plan{}), see}, jobWorker,
					func(_ context.Context, n int) (int, error) { return n, nil })
				time.Sleep(5 * time.Second)
				died := time.Now()
				see.mu.Lock()
				see.blind = c.blind
				for id := range see.there {
					see.there[id] = !c.absent
				}
				see.mu.Unlock()
				if c.crashes {
					victim.Crash()
				}
				must(other.Wait(t.Context(), id))(t)
				if took := time.Since(died); took < c.atLeast || took > c.atMost {
					t.Errorf("it ended after %v, want %v to %v", took, c.atLeast, c.atMost)
				}
			})
		})
	}
}
