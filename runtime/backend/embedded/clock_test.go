package embedded_test

import (
	"context"
	"crypto/rand"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

// Tasks created while the machine's clock was ahead don't affect the creation time of later ones. Tasks don't collide
// when the clock is set to a time at which others were created.
func TestCreatedFollowsClockBack(t *testing.T) {
	var now atomic.Int64
	begin := time.Now()
	now.Store(begin.UnixNano())
	ports := openNew(t, embedded.Clock(func() time.Time { return time.Unix(0, now.Load()) }))
	made := func() time.Time {
		t.Helper()
		stored, err := ports.Store.Insert(context.Background(), []backend.NewTask{aTask(), aTask(), aTask()})
		if err != nil {
			t.Fatal(err)
		}
		if n := stored[2].Created.Sub(stored[0].Created); n < 2 {
			t.Errorf("the third of three tasks was created %v after the first", n)
		}
		return stored[0].Created
	}
	made()
	now.Store(begin.Add(10 * 365 * 24 * time.Hour).UnixNano())
	made()
	for _, back := range []time.Duration{time.Minute, 0} {
		now.Store(begin.Add(back).UnixNano())
		for range 2 {
			if d := made().Sub(begin); d < back || d > back+time.Second {
				t.Errorf("at %v a task was created at %v", back, d)
			}
		}
	}
}

func aTask() backend.NewTask {
	return backend.NewTask{Task: backend.Task{ID: rand.Text(), Queue: "q", Status: backend.StatusPending}}
}
