package admin_test

import (
	"context"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// While nothing happens, watchers are told nothing but that instances are alive, and that seldom.
func TestWatchIsQuietWhileNothingHappens(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app, q := start(t, memory.New(), func(context.Context) error { return nil })
		if _, err := q.Wait(t.Context(), submit(t, q)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second) // the task's events are over
		const idle = time.Minute
		ctx, cancel := context.WithTimeout(t.Context(), idle)
		defer cancel()
		ticks := map[admin.Kind]int{}
		for tick, err := range admin.New(app).Watch(ctx, admin.WatchQuery{}) {
			if err == nil {
				ticks[tick.Kind]++
			}
		}
		if n := ticks[admin.KindInstances]; n == 0 || n > int(idle/(10*time.Second))+1 {
			t.Errorf("%d ticks of instances", n)
		}
		delete(ticks, admin.KindInstances)
		if len(ticks) != 1 || ticks[admin.KindStart] != 1 {
			t.Errorf("ticks: %v", ticks)
		}
	})
}
