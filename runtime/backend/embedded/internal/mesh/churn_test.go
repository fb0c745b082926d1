package mesh

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
)

// Callers start and time out at random, instances start and drain, connections break. In the end no slot is lost, no
// call hangs and no call has run twice.
func TestSlotsSurviveChurn(t *testing.T) {
	for seed := range uint64(100) {
		bubble.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			meshes := map[string]*Mesh{}
			var dialing sync.Mutex
			ids := []string{"a", "b", "c"}
			for _, id := range ids {
				meshes[id] = unstarted(t, Options{ID: id, Resolve: always("a", "b"), Dial: func(_ context.Context,
					to string) error {
					dialing.Lock()
					defer dialing.Unlock()
					if !slices.Contains(meshes[id].Connected(), to) {
						connectPair(t, meshes[id], meshes[to])
					}
					return nil
				}})
			}
			connectPair(t, meshes["c"], meshes["a"])
			breaks := connectPair(t, meshes["b"], meshes["a"])
			var mu sync.Mutex
			ran := map[string]int{}
			h := func(ctx context.Context, req *backend.Request, reply func(*backend.Reply)) {
				defer reply(&backend.Reply{})
				mu.Lock()
				ran[req.ID]++
				mu.Unlock()
				select {
				case <-time.After(req.Timeout / 1000):
				case <-ctx.Done():
				}
			}
			const slots = 3
			lasting := []*Serving{serve(meshes["a"], slots, h), serve(meshes["b"], slots, h)}
			var wg sync.WaitGroup
			for i := range 100 {
				pause, timeout := time.Duration(r.IntN(50))*time.Millisecond, time.Duration(1+r.IntN(40))*time.Millisecond
				req := request()
				req.ID, req.Timeout = fmt.Sprint(i), time.Duration(1+r.IntN(20))*time.Second
				m := meshes[ids[r.IntN(len(ids))]]
				wg.Go(func() {
					time.Sleep(pause)
					ctx, cancel := context.WithTimeout(t.Context(), timeout)
					defer cancel()
					_, _ = m.Call(ctx, req) // any result is fine
				})
			}
			for range 5 {
				come, leave := time.Duration(r.IntN(50))*time.Millisecond, time.Duration(r.IntN(20))*time.Millisecond
				m := meshes[ids[r.IntN(2)]]
				wg.Go(func() {
					time.Sleep(come)
					s := serve(m, 1, h)
					time.Sleep(leave)
					if err := s.Drain(t.Context()); err != nil {
						t.Errorf("seed %d: %v", seed, err)
					}
				})
			}
			wg.Go(func() {
				time.Sleep(25 * time.Millisecond)
				_ = breaks.Close()
			})
			wg.Wait()
			time.Sleep(2 * reservation)
			synctest.Wait()
			for id, n := range ran {
				if n > 1 {
					t.Errorf("seed %d: call %s ran %d times", seed, id, n)
				}
			}
			for _, id := range ids[:2] {
				wantIdle(t, meshes[id])
			}
			for _, s := range lasting {
				if err := s.Drain(t.Context()); err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
			}
			for _, m := range meshes {
				if n := len(m.balance.inFlight); n > 0 {
					t.Errorf("seed %d: %d targets have calls in flight", seed, n)
				}
			}
		})
	}
}
