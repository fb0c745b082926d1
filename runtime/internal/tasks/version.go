package tasks

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/guard"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// leaveTo sets the versions to which the pool leaves their tasks.
func (p *pool) leaveTo(skip []backend.Version) {
	p.mu.Lock()
	changed := !reflect.DeepEqual(p.skip, skip)
	if changed {
		p.skip, p.look = skip, true
	}
	p.mu.Unlock()
	if changed {
		p.wake.Set()
	}
}

// mixed reports whether other versions of the worker are present.
func (p *pool) mixed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.skip) > 0
}

// forVersion sets the versions of a claim. Every fitEvery, a claim without hints asks for tasks that wait for this version.
func (p *pool) forVersion(c *backend.Claim) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.Skip = p.skip
	if len(c.IDs) == 0 && time.Since(p.fitted) >= fitEvery {
		c.Fingerprint, p.fitted = p.worker.Fingerprint, time.Now()
	}
}

// looks are queues at which all pools must look, since their hints led to no claim.
type looks struct {
	mu     sync.Mutex
	queues map[string]bool
	some   signal.Signal
}

// lookEverywhere makes the pools of a queue look at all instances. It never waits.
func (e *Engine) lookEverywhere(queue string) {
	e.looks.mu.Lock()
	e.looks.queues[queue] = true
	e.looks.mu.Unlock()
	e.looks.some.Set()
}

// spreadLooks publishes the queues to look at, at most every looksEvery.
func (e *Engine) spreadLooks(ctx context.Context) {
	for {
		select {
		case <-e.looks.some.C():
		case <-ctx.Done():
			return
		}
		e.looks.mu.Lock()
		var queues []string
		for q := range e.looks.queues {
			queues = append(queues, q)
		}
		clear(e.looks.queues)
		e.looks.mu.Unlock()
		e.bus.Publish(TopicLook, queues)
		if !retry.Sleep(ctx, looksEvery) {
			return
		}
	}
}

// undecodedHere reports whether an attempt has failed because the payload is that of another version.
func (a *attempt) undecodedHere(err error) bool {
	return guard.IsUndecoded(err) && a.otherVersion()
}

// otherVersion reports whether the task was submitted with another type of payload than the worker has.
func (a *attempt) otherVersion() bool {
	return a.task.Fingerprint != "" && a.task.Fingerprint != a.p.worker.Fingerprint
}

// wrongVersion completes the settlement of an attempt whose payload is that of another version: the task waits for that,
// uncharged, twice as long each time, and fails when it has waited for long enough.
func (a *attempt) wrongVersion(s *backend.Settle, err error) {
	t, ours, longest := a.task, a.p.worker.Fingerprint, a.p.e.WrongVersionAfter
	if ours == "" {
		ours = "unknown"
	}
	waited := time.Duration(0)
	if !t.WrongVersionSince.IsZero() {
		waited = max(t.Started.Sub(t.WrongVersionSince), 0) // both by the store's clock
	}
	s.Payload, s.To = backend.PayloadWrongVersion, backend.StatusWaiting
	s.Delay = retry.Jitter(min(time.Second+waited, maxBackoff))
	why := backend.Errorf(backend.ErrFailedPrecondition, "the task was submitted by another version: the fingerprint of its payload is %s, that of the "+
		"worker %s, and the payload does not decode: %s; it waits for a worker of its version", t.Fingerprint, ours, err)
	if waited >= longest {
		s.To, s.Delay = backend.StatusFailed, 0
		why = backend.Errorf(backend.ErrFailedPrecondition, "the task was submitted by another version: the fingerprint of its payload is %s, that of the "+
			"worker %s, and the payload does not decode: %s; no worker of its version has come for %v", t.Fingerprint, ours, err,
			waited.Round(time.Second))
	}
	s.Error = guard.TaskError(why)
	if a.p.e.WarnOnce("undecoded " + a.p.worker.Queue + " " + t.Fingerprint) {
		a.p.e.Log.Warn("tasks of another version do not decode; they wait for a worker of their version", "queue", t.Queue, "task", t.ID,
			"theirs", t.Fingerprint, "ours", ours)
	}
}

// heardLook makes the pools of some queues claim whatever there is; nil, after events were missed, all.
func (e *Engine) heardLook(event json.RawMessage) {
	var queues []string
	all := event == nil || json.Unmarshal(event, &queues) != nil
	for name, p := range e.pools {
		if all || slices.Contains(queues, name) {
			p.lookAgain()
			p.wake.Set()
		}
	}
}

// LeaveTo sets the versions of a queue's workers, other than this process's, to which their tasks are left.
func (e *Engine) LeaveTo(queue string, skip []backend.Version) {
	if p := e.pools[queue]; p != nil {
		p.leaveTo(skip)
	}
}
