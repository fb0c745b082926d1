package runtime_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	"github.com/afgen/afgen/internal/recorder"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/instrument"
)

// Processes that are busy keep as many hints as fit into their windows. After a lost connection, these are
// delivered again. The processes must not take them for hints beyond their windows, which they would pass on to each
// other without end.
func TestHintsDoNotCircleAfterReconnection(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New(memory.HintIDs(4096)))
		var seen [2]recorder.Recorder
		var processes [2]*fault.Backend
		var q af.Queue[int, int]
		w := jobWorker
		w.Max = 1
		for i := range processes {
			processes[i] = fault.New(world, uint64(i), fault.Plan{})
			_, q = work(t, processes[i], w, func(ctx context.Context, n int) (int, error) {
				select {
				case <-ctx.Done():
				case <-time.After(15 * time.Second):
				}
				return n, ctx.Err()
			}, af.Instrument(&seen[i]))
		}
		must(q.SubmitMany(t.Context(), slices.Repeat([]int{1}, 300)))(t)
		time.Sleep(10 * time.Second)
		for range 3 {
			for _, p := range processes {
				p.Disconnect()
			}
			time.Sleep(100 * time.Millisecond)
			for _, p := range processes {
				p.Connect()
			}
			time.Sleep(10 * time.Second)
		}
		for i := range seen {
			var hints int
			for _, e := range seen[i].Events(instrument.Requested) {
				if e.Op == "hint" {
					hints++
				}
			}
			if hints > 40 { // one of the processes has submitted the tasks; all seconds, the queue may be topped up
				t.Errorf("process %d has published hints %d times in 40 s", i, hints)
			}
		}
	})
}

// A listener gets a former window once more, after it was resized to 0: a request was late, or the broker is slow to
// follow. Hints must not circle between it and the queue, and the window must become right again.
func TestHintsDoNotCircleWithAWrongWindow(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var wrong atomic.Pointer[backend.Listener]
		b := altered{fault.New(fault.Around(memory.New(memory.HintIDs(4096))), 1, fault.Plan{}), func(p *backend.Ports) {
			p.Transport = listening{p.Transport, &wrong}
		}}
		var rec recorder.Recorder
		app, q := work(t, b, jobWorker, same, af.Instrument(&rec))
		must(0, app.PauseQueue(t.Context(), jobWorker.Name))(t)
		time.Sleep(10 * time.Second)
		must(0, (*wrong.Load()).Resize(t.Context(), 64))(t)
		must(q.SubmitMany(t.Context(), slices.Repeat([]int{1}, 10)))(t)
		time.Sleep(10 * time.Second)
		var hints int
		for _, e := range rec.Events(instrument.Requested) {
			if e.Op == "hint" {
				hints++
			}
		}
		if hints > 20 {
			t.Errorf("hints were published %d times in 10 s", hints)
		}
		must(0, app.ResumeQueue(t.Context(), jobWorker.Name))(t)
		time.Sleep(10 * time.Second)
		for _, task := range must(app.Tasks(t.Context(), af.TaskQuery{}))(t).Tasks {
			if task.Status != af.StatusSuccess {
				t.Errorf("%+v", task)
			}
		}
	})
}

// A listening makes the listener of its App known.
type listening struct {
	backend.Transport
	listener *atomic.Pointer[backend.Listener]
}

func (l listening) Listen(ctx context.Context, queue string, window int) (backend.Listener, error) {
	in, err := l.Transport.Listen(ctx, queue, window)
	l.listener.Store(&in)
	return in, err
}
