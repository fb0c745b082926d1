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

// Tasks that were made while the machine's clock was ahead don't give their time to those that come later; nor do tasks
// collide if the clock is set to instants at which there are some.
func TestCreatedFollowsTheClockBack(t *testing.T) {
	var now atomic.Int64
	begin := time.Now()
	now.Store(begin.UnixNano())
	ports := alone(t, embedded.Clock(func() time.Time { return time.Unix(0, now.Load()) }))
	made := func() time.Time {
		t.Helper()
		stored, err := ports.Store.Insert(context.Background(), []backend.NewTask{aTask(), aTask(), aTask()})
		if err != nil {
			t.Fatal(err)
		}
		if n := stored[2].Created.Sub(stored[0].Created); n < 2 {
			t.Errorf("the third of three is %v younger than the first", n)
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
				t.Errorf("%v after the beginning a task was made %v after it", back, d)
			}
		}
	}
}

func aTask() backend.NewTask {
	return backend.NewTask{Task: backend.Task{ID: rand.Text(), Queue: "q", Status: backend.StatusPending}}
}
