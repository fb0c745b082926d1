package traces

import (
	"context"
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/fault"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
)

// An attempt that is released at shutdown is no error. Another App runs the task again.
func (p *pair) released(t *testing.T) {
	of := job
	of.Name = "released"
	var first *worker
	app := p.start(t, nil, func(app *af.App) {
		first = newWorker(app)
		af.RegisterWorker(app, of, first)
	})
	id, err := p.queue(of).Submit(t.Context(), "waits_once")
	must(t, err)
	first.began(t)
	now, cancel := context.WithCancel(t.Context())
	cancel()
	_ = app.Shutdown(now) // its error is that of now
	p.ends(t, id, "process: returned, unset , waiting")
	p.start(t, nil, func(app *af.App) { af.RegisterWorker(app, of, newWorker(app)) })
	p.ends(t, id, "process: returned, unset , waiting", "process: success, unset , success")
	if both := p.of(id); both[0].Attributes["af.task.fence"] == both[1].Attributes["af.task.fence"] {
		t.Error("both attempts have one fence")
	}
}

// A handler that ignores the end of its context is abandoned: its span ends before it returns.
func (p *pair) abandoned(t *testing.T) {
	of := job
	of.Name = "abandoned"
	var w *worker
	app := p.start(t, nil, func(app *af.App) {
		w = newWorker(app)
		af.RegisterWorker(app, of, w)
	})
	id, err := p.queue(of).Submit(t.Context(), "ignores", af.Timeout(timeout), af.Retries(0))
	must(t, err)
	w.began(t)
	now, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_ = app.Shutdown(now) // it does not wait for the handler
	p.ends(t, id, "process: failed, error deadline_exceeded, failed, abandoned")
	close(w.release)
}

// A process that is cut off from the store cancels its tasks. Another App declares it dead. Both spans are errors.
func (p *pair) leaseLost(t *testing.T) {
	of := job
	of.Name = "leased"
	var broken *fault.Backend
	var w *worker
	p.start(t, func(b af.Backend) af.Backend {
		broken = fault.New(b, 1, fault.Plan{})
		return broken
	}, func(app *af.App) {
		w = newWorker(app)
		af.RegisterWorker(app, of, w)
	}, af.Lease(3*time.Second))
	id, err := p.queue(of).Submit(t.Context(), "waits_once")
	must(t, err)
	w.began(t)
	broken.Cut(fault.Requests | fault.Replies)
	p.start(t, nil, func(app *af.App) { af.RegisterWorker(app, of, newWorker(app)) }, af.Lease(3*time.Second))
	within(t, "three spans", func() bool { return len(p.of(id)) >= 3 })
	got := map[string]int{}
	for _, s := range p.of(id) {
		got[attempt(s)]++
	}
	if want := map[string]int{"process: lost, error aborted, waiting": 1, "lost: lost, error aborted, waiting": 1,
		"process: success, unset , success": 1}; !maps.Equal(got, want) {
		t.Errorf("the attempts are %v, want %v", got, want)
	}
	broken.Crash()
}

// A process that is killed can't end its span: the App that notices it makes one.
func (p *pair) killed(t *testing.T) {
	if p.system.Kind == "memory" {
		return // it has one process
	}
	of := job
	of.Name = "killed"
	text, err := json.Marshal(p.system)
	must(t, err)
	ctx, request := p.request(t)
	id, err := p.queue(of).Submit(ctx, "waits_once")
	must(t, err)
	process := testkit.Start(t, "hangs", systemOf+"="+string(text))
	process.Says(t, "running")
	must(t, process.Process.Kill())
	_ = process.Wait() // killed
	p.start(t, nil, func(app *af.App) { af.RegisterWorker(app, of, newWorker(app)) }, af.Lease(3*time.Second))
	p.ends(t, id, "lost: lost, error aborted, waiting", "process: success, unset , success")
	submit := p.newest(t, "submit killed")
	lost := p.of(id)[0]
	if lost.Parent != submit.ID || lost.Trace != request.TraceID().String() || len(lost.Links) != 1 ||
		lost.Links[0] != (link{"creation", submit.Trace, submit.ID}) || lost.Kind != "internal" {
		t.Errorf("the lost attempt is %+v", lost)
	}
	all := p.collect()
	if sum(all["af.instances.expired"], nil) == 0 {
		t.Error("af.instances.expired is 0")
	}
	if n := sum(all["af.task.crashes"], map[string]string{"queue": of.Name}); n != 1 {
		t.Errorf("af.task.crashes is %v, want 1", n)
	}
}
