package tasks

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/internal/heartbeat"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A heartbeat wakes a pool that has waited for it, and no other: an idle process has several pools, and a heartbeat every
// second.
func TestHeartbeatWakesPoolThatWaitsForIt(t *testing.T) {
	ports, err := memory.New().Open(t.Context(), backend.Env{})
	if err != nil {
		t.Fatal(err)
	}
	beats := heartbeat.New(heartbeat.Config{
		Store: ports.Store, Transport: ports.Transport, Log: slog.New(slog.DiscardHandler), Instance: "i", Lease: time.Hour,
		Request: func(ctx context.Context, op func(context.Context) error) error { return op(ctx) },
	})
	e := &Engine{heartbeat: beats}
	e.settler = newSettler(e)
	newPool := func(poll bool) *pool {
		return &pool{e: e, applied: Limit{Max: 1, Known: true}, polled: time.Now(), poll: poll, wake: signal.New()}
	}
	waiting, idle := newPool(true), newPool(false)
	e.pools = map[string]*pool{"waiting": waiting, "idle": idle}
	claims := func(p *pool) bool {
		_, _, ok := p.nextWork()
		return ok
	}
	if claims(waiting) || claims(idle) {
		t.Error("a pool claims before the first heartbeat")
	}
	if err := beats.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.resumePools()
	if len(waiting.wake) != 1 || len(idle.wake) != 0 {
		t.Errorf("woken: the waiting pool %d times, the idle one %d times", len(waiting.wake), len(idle.wake))
	}
	<-waiting.wake
	if !claims(waiting) {
		t.Error("the pool does not claim after the heartbeat")
	}
	if e.resumePools(); len(waiting.wake) != 0 {
		t.Error("a pool that waits for no heartbeat is woken")
	}
}
