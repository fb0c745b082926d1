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

// skipVersions sets the versions whose tasks this pool doesn't claim.
func (p *pool) skipVersions(skip []backend.Version) {
	p.mu.Lock()
	changed := !reflect.DeepEqual(p.skip, skip)
	if changed {
		p.skip, p.poll = skip, true
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

// forVersion sets the versions of a claim. Every fitEvery, a claim without hints asks for tasks that wait for this
// version.
func (p *pool) forVersion(c *backend.Claim) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.Skip = p.skip
	if len(c.IDs) == 0 && time.Since(p.fitted) >= fitEvery {
		c.Fingerprint, p.fitted = p.worker.Fingerprint, time.Now()
	}
}

// polls are queues that all pools must poll, because their hints led to no claim.
type polls struct {
	mu     sync.Mutex
	queues map[string]bool
	some   signal.Signal
}

// pollEverywhere makes the queue's pools of all instances poll. It never blocks.
func (e *Engine) pollEverywhere(queue string) {
	e.polls.mu.Lock()
	e.polls.queues[queue] = true
	e.polls.mu.Unlock()
	e.polls.some.Set()
}

// publishPolls publishes the queues to poll, at most every pollsEvery.
func (e *Engine) publishPolls(ctx context.Context) {
	for {
		select {
		case <-e.polls.some.C():
		case <-ctx.Done():
			return
		}
		e.polls.mu.Lock()
		var queues []string
		for q := range e.polls.queues {
			queues = append(queues, q)
		}
		clear(e.polls.queues)
		e.polls.mu.Unlock()
		e.bus.Publish(TopicPoll, queues)
		if !retry.Sleep(ctx, pollsEvery) {
			return
		}
	}
}

// undecodedHere reports whether an attempt failed because its payload has another version.
func (a *attempt) undecodedHere(err error) bool {
	return guard.IsUndecoded(err) && a.otherVersion()
}

// otherVersion reports whether the task was submitted with another payload type than the worker's.
func (a *attempt) otherVersion() bool {
	return a.task.Fingerprint != "" && a.task.Fingerprint != a.p.worker.Fingerprint
}

// wrongVersion completes the settlement of an attempt whose payload has another version. The task waits for a worker
// of that version, uncharged and with doubling delays, and fails after WrongVersionAfter.
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
	const text = "task of another version: payload has fingerprint %s, worker has %s: %s; "
	why := backend.Errorf(backend.ErrFailedPrecondition, text+"waiting for a worker of that version", t.Fingerprint,
		ours, err)
	if waited >= longest {
		s.To, s.Delay = backend.StatusFailed, 0
		why = backend.Errorf(backend.ErrFailedPrecondition, text+"no worker of that version for %v", t.Fingerprint, ours, err,
			waited.Round(time.Second))
	}
	s.Error = guard.TaskError(why)
	if a.p.e.WarnOnce("undecoded " + a.p.worker.Queue + " " + t.Fingerprint) {
		a.p.e.Log.Warn("payload of another version does not decode, task waits for a worker of that version",
			"queue", t.Queue, "task", t.ID, "theirs", t.Fingerprint, "ours", ours)
	}
}

// handlePollEvent makes the pools of the queues in event poll. A nil event means that events were missed; then all
// pools poll.
func (e *Engine) handlePollEvent(event json.RawMessage) {
	var queues []string
	all := event == nil || json.Unmarshal(event, &queues) != nil
	for name, p := range e.pools {
		if all || slices.Contains(queues, name) {
			p.pollAgain()
			p.wake.Set()
		}
	}
}

// SkipVersions sets the versions of a queue's workers, other than this process's, whose tasks are left to them.
func (e *Engine) SkipVersions(queue string, skip []backend.Version) {
	if p := e.pools[queue]; p != nil {
		p.skipVersions(skip)
	}
}
