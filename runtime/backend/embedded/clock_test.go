package embedded_test

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/apptest"
	af "github.com/afgen/afgen/runtime"
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

// A delay begins at the time of the store's clock, however far the submitter's is off.
func TestDelayIsByStoresClock(t *testing.T) {
	const ahead = 100 * 24 * time.Hour
	clock := embedded.Clock(func() time.Time { return time.Now().Add(ahead) })
	app := apptest.Start(t, embedded.File(filepath.Join(t.TempDir(), "af.db"), clock), nil)
	q := af.NewQueue[int, int](app, af.Worker{Name: "q"})
	id, err := q.Submit(t.Context(), 1, af.Delay(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if task, err := q.Get(t.Context(), id); err != nil || time.Until(task.RunAt).Round(time.Minute) != ahead+time.Hour {
		t.Errorf("due in %v, %v", time.Until(task.RunAt), err)
	}
}

func aTask() backend.NewTask {
	return backend.NewTask{Task: backend.Task{ID: rand.Text(), Queue: "q", Status: backend.StatusPending}}
}
