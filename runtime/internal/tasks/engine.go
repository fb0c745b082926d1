// Package tasks runs the tasks of an App: it inserts, claims, runs and settles them, and repairs the work of
// interrupted processes. It depends only on the ports of package backend.
//
// # The path of a task
//
// [Engine.Insert] stores the task (submit.go) and [Engine.Wake] publishes a hint (hints.go). A pool of the worker's
// queue receives the hint or polls, claims the task into a free slot (pool.go) and runs it (attempt.go). The settler
// writes the result in a batch with others (settler.go). Then waiters are notified (completion.go, waits.go,
// events.go), and the finisher starts, stops or finishes subtasks (finisher.go).
//
// # Background goroutines
//
// Each has one job. They are listed by phase, in the order in which they start:
//
//   - heartbeat: package heartbeat keeps this process's lease alive and detects dead processes; the reconciler
//     compares the store's view of the tasks running here with the actual ones (reconcile.go);
//   - settle: the settler, the finisher, the publishers of hints and events, the sweeper, which finishes the work of
//     interrupted processes (sweeper.go), the purger, which deletes expired tasks (purger.go), and the writer of
//     package history;
//   - claim: the limiter reads how many tasks the pools may run (limit.go); each pool claims, listens for hints, and
//     dispatches pending ones, and one goroutine watches the queues of those that are quiet (dispatch.go).
//
// They stop in reverse order: claiming stops, running tasks finish or are cancelled, and results are written. Then the
// owner is removed, so that other processes don't wait for its lease to expire.
package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/grace"
	"github.com/afgen/afgen/runtime/internal/heartbeat"
	"github.com/afgen/afgen/runtime/internal/history"
	"github.com/afgen/afgen/runtime/internal/hooks"
	"github.com/afgen/afgen/runtime/internal/pubsub"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A Config has the Engine's dependencies on the App. All fields are required, except Hooks.
type Config struct {
	Ports    *backend.Ports
	Log      *slog.Logger
	Instance backend.Instance
	Lease    time.Duration
	// MaxCrashes is the default for workers that don't set it.
	MaxCrashes int
	Retention  backend.Retention
	// WrongVersionAfter is how long a task waits for a worker of its version.
	WrongVersionAfter time.Duration
	// History counts what happens. The Engine runs and flushes it.
	History *history.Recorder
	// Hooks has the App's instruments; nil if it has none. JobOf returns the job that has submitted a task, by its id.
	Hooks *hooks.Set
	JobOf func(id string) (job string, ok bool)
	// Observer is set if the Engine has no workers and only does what callers request: see observer.go.
	Observer bool

	// AwaitStart blocks the first claim until handlers may use the App. It returns false if nothing may be claimed.
	AwaitStart func(ctx context.Context) bool
	// WarnOnce reports whether this is the first warning for key.
	WarnOnce func(key string) bool
	// WaitsLong is called once in a wait that takes longer than WaitUntold, if its task has not begun by then.
	WaitsLong  func(ctx context.Context, t *backend.Task)
	WaitUntold time.Duration
	// ReadLimits reads the limits of all queues.
	ReadLimits func(ctx context.Context) (LimitOf, error)
	// LimitApplied is called after a pool has applied a new limit.
	LimitApplied func()
	// Ended is called with the ids of tasks that ended, here or on other instances.
	Ended func(ids []string)
	// Purging is called before tasks are purged, and again while that takes long. Tasks that ended at the time that it
	// returns or later are kept, unless it is zero. If Purging fails, no tasks are deleted.
	Purging func(ctx context.Context) (before time.Time, err error)
	// Purged is called after a purge of tasks: once a minute, by one process of the system. It deletes what else is kept
	// for a limited time. ctx ends after a minute.
	Purged func(ctx context.Context)
	// EndChildren ends the handlers' child processes.
	EndChildren func()
}

// An Engine runs the tasks of an App. Its methods are safe for concurrent use once Prepare has returned.
type Engine struct {
	Config
	*Client

	heartbeat  *heartbeat.Heartbeat
	bus        *pubsub.Bus
	workers    []Worker
	pools      map[string]*pool // by queue; immutable after Prepare
	queues     []string         // of pools, sorted
	waits      waits
	reconciler *reconciler
	settler    *settler
	finisher   *finisher
	endEvents  *endEvents
	claims     claimsInFlight
	suspects   suspectSlot
	limits     *limiter
	polls      polls
	hints      hints
	badHints   atomic.Int64 // number dropped

	ctx      context.Context // of the background goroutines
	end      context.CancelFunc
	done     sync.WaitGroup
	prepared bool
}

const (
	// MaxInsertBytes is the maximum size of an Insert of several tasks.
	MaxInsertBytes = 16 << 20

	hintBacklog = 4096            // unpublished hints of a queue
	hintBatch   = 256             // hints of a queue published before those of other queues
	fitEvery    = 3 * time.Second // minimum interval of claims for tasks that wait for this version
	pollsEvery  = 50 * time.Millisecond

	// DoneSuffix ends the id of the task that handles the end of its source's subtasks.
	DoneSuffix = "/done"
)

// Event topics.
const (
	topicEnded = "af.ended"
	topicStop  = "af.stop"
	// TopicPoll carries names of queues whose pools must poll, because some of their tasks can't be claimed by all
	// instances.
	TopicPoll = "af.look"
	// TopicLimits carries names of queues whose limits have changed.
	TopicLimits = "af.limits"
)

// New returns an Engine that has not started. [Engine.Shutdown] ends it.
func New(cfg Config) *Engine {
	e := &Engine{
		Config: cfg, pools: map[string]*pool{},
		hints: hints{queues: map[string][]string{}, some: signal.New()},
		polls: polls{queues: map[string]bool{}, some: signal.New()},
		waits: waits{ids: map[string][]signal.Signal{}, also: cfg.Ended},
	}
	e.ctx, e.end = context.WithCancel(context.Background())
	e.bus = pubsub.New(e.ctx, cfg.Ports.Coordinator, cfg.Log, retry.Timeout)
	e.heartbeat = e.newHeartbeat()
	e.Client = &Client{cfg.Ports, cfg.History.Store(cfg.Ports.Store), cfg.Log,
		retry.NewRequester(e.ctx, e.heartbeat.StoreLost), e.queueHint, e.notifyStopped, e.notifyFinished}
	e.reconciler = newReconciler(e)
	e.settler = newSettler(e)
	e.finisher = newFinisher(e)
	e.endEvents = newEndEvents(e)
	e.limits = newLimiter(e)
	return e
}

func (e *Engine) newHeartbeat() *heartbeat.Heartbeat {
	return heartbeat.New(heartbeat.Config{
		Store: e.Ports.Store, Transport: e.Ports.Transport, Log: e.Log, Instance: e.Instance.ID, Lease: e.Lease,
		ClockRate: e.Ports.ClockRate, MaxCrashes: e.MaxCrashes, AllowUnavailable: e.Ports.AllowUnavailable,
		Request:     func(ctx context.Context, op func(context.Context) error) error { return e.requests.Do(ctx, op) },
		Unavailable: func(message string, err error) { e.LogUnavailable(e.ctx, message, err) },
		Available: func(message string, err error, args ...any) {
			e.Log.Log(e.ctx, e.LevelOf(err, slog.LevelInfo), message, args...)
		},
		Busy:      e.busy,
		Cancel:    func() { e.cancelRuns(ErrLeaseLost) },
		Reconcile: func() { e.reconciler.now() },
		Moved: func(owner string, tasks []backend.Task) {
			e.History.Lost(tasks)
			if e.Hooks != nil {
				e.observeLost(owner, tasks)
			}
			e.moved(tasks)
		},
		Beaten: func() {
			e.abandonStuck()
			e.resumePools()
		},
		Refunded: func() {
			for _, p := range e.pools { // former suspects may run concurrently again
				p.pollSoon()
			}
		},
	})
}

// Context returns the context of the background goroutines.
func (e *Engine) Context() context.Context { return e.ctx }

// Bus publishes events.
func (e *Engine) Bus() *pubsub.Bus { return e.bus }

// Close ends the background goroutines without waiting, for an Engine that another goroutine may still be starting.
func (e *Engine) Close() { e.end() }

// A phase is one step of starting and stopping. Phases are prepared in order and stopped in reverse order.
type phase struct {
	name    string
	prepare func(ctx context.Context) error // bounded by ctx
	// background goroutines, started after all phases are prepared; they run until the last phase has stopped
	parts func() []func(context.Context)
	stop  func(b budget) error
}

// A budget bounds the time for stopping: until ctx ends, and a moment longer (package grace). All parts count from
// the beginning of the shutdown, so a slow phase takes no time from later ones.
type budget struct {
	ctx   context.Context
	write context.Context // until results are written
	end   context.Context // until the owner is removed
}

// phases returns the phases in an order in which every claimed task can be settled, and no process settles without a
// visible heartbeat.
func (e *Engine) phases() []phase {
	if e.Observer {
		return e.observerPhases()
	}
	return []phase{
		{"heartbeat", e.heartbeat.Start, e.heartbeatParts, e.endOwner},
		{"settle", nil, e.settleParts, e.flush},
		{"claim", e.preparePools, e.claimParts, e.drainPools},
	}
}

func (e *Engine) heartbeatParts() []func(context.Context) {
	return []func(context.Context){e.heartbeat.Run, e.heartbeat.Guard, e.heartbeat.Detect, e.reconciler.run}
}

func (e *Engine) settleParts() []func(context.Context) {
	return append(e.followUpParts(), e.settler.run, e.sweep, e.purgeLoop, e.History.Run,
		e.bus.Subscribe(topicEnded, e.waits.heard),
		e.bus.Subscribe(topicStop, func(json.RawMessage) { e.reconciler.now() }))
}

// followUpParts do what follows from a request or a result.
func (e *Engine) followUpParts() []func(context.Context) {
	return append(slices.Repeat([]func(context.Context){e.finisher.run}, finishers), e.endEvents.run, e.publishHints)
}

func (e *Engine) claimParts() []func(context.Context) {
	parts := []func(context.Context){
		e.limits.run, e.publishPolls, e.watchQueues,
		e.bus.Subscribe(TopicLimits, func(json.RawMessage) { e.limits.now() }),
		e.bus.Subscribe(TopicPoll, e.handlePollEvent),
	}
	for _, p := range e.pools {
		parts = append(parts, p.run, p.listen, p.dispatch)
	}
	return parts
}

// Prepare prepares to run the tasks of workers without claiming any. ctx bounds it. After an error, call Shutdown.
func (e *Engine) Prepare(ctx context.Context, workers []Worker) error {
	e.workers = workers
	for _, ph := range e.phases() {
		if ph.prepare == nil {
			continue
		}
		if err := ph.prepare(ctx); err != nil {
			return err
		}
	}
	e.prepared = true
	return nil
}

// Start starts the prepared phases. ctx bounds only the starting.
func (e *Engine) Start(ctx context.Context) {
	if !e.Observer {
		e.heartbeat.Renew(ctx)
	}
	for _, ph := range e.phases() {
		for _, part := range ph.parts() {
			e.Go(part)
		}
	}
}

// Go runs part on its own goroutine. It must return when its context ends; [Engine.Shutdown] waits for it.
func (e *Engine) Go(part func(ctx context.Context)) {
	e.done.Go(func() { part(e.ctx) })
}

// preparePools creates a pool for each worker.
func (e *Engine) preparePools(ctx context.Context) error {
	e.limits.begin(ctx)
	for _, w := range e.workers {
		p, err := newPool(ctx, e, w)
		if err != nil {
			return err
		}
		e.pools[w.Queue] = p
		e.queues = slices.Sorted(maps.Keys(e.pools))
	}
	return nil
}

// resumePools makes the pools claim that have waited for a heartbeat or a smaller backlog.
func (e *Engine) resumePools() {
	for _, p := range e.pools {
		p.mu.Lock()
		held := p.held
		p.mu.Unlock()
		if held {
			p.wake.Set()
		}
	}
}

// Attempt returns the latest attempt of a task that runs in this process, and its fence, or nil.
func (e *Engine) Attempt(id string) (run Run, fence int64) {
	for _, p := range e.pools {
		p.mu.Lock()
		for key, a := range p.running {
			if key.id == id && key.fence > fence {
				run, fence = a.handler, key.fence
			}
		}
		p.mu.Unlock()
	}
	return run, fence
}

// Quit stops claiming.
func (e *Engine) Quit() {
	for _, p := range e.pools {
		p.quit()
	}
	if e.prepared && len(e.pools) > 0 {
		e.Go(e.heartbeat.Drain)
	}
}

// Drain waits for running tasks until ctx ends, and then releases the rest without charging an attempt. It returns an
// error if it released any.
func (e *Engine) Drain(ctx context.Context) error {
	phases := e.phases()
	return phases[len(phases)-1].stop(budget{ctx: ctx})
}

// Shutdown stops a drained Engine. It writes all results, publishes pending hints, and removes the owner. It returns
// an error if something could not be written.
func (e *Engine) Shutdown(ctx context.Context) error {
	b := budget{ctx: ctx}
	var cancel context.CancelFunc
	b.write, cancel = grace.Outlast(ctx, grace.Write)
	defer cancel()
	b.end, cancel = grace.Outlast(ctx, grace.End)
	defer cancel()
	var errs []error
	phases := e.phases()
	for _, ph := range slices.Backward(phases[:len(phases)-1]) {
		errs = append(errs, ph.stop(b))
	}
	return errors.Join(errs...)
}

func (e *Engine) drainPools(b budget) error {
	var mu sync.Mutex
	var cut []error
	var wg sync.WaitGroup
	for _, p := range e.pools {
		wg.Go(func() {
			if n := p.drain(b.ctx); n > 0 {
				mu.Lock()
				defer mu.Unlock()
				cut = append(cut,
					backend.Errorf(backend.ErrDeadlineExceeded, "queue %q: released %d tasks that were still running",
						p.worker.Queue, n))
			}
		})
	}
	wg.Wait()
	return errors.Join(cut...)
}

// flush ends handlers in child processes, writes results, and publishes hints and events.
func (e *Engine) flush(b budget) error {
	grace.Await(b.write, e.EndChildren)
	if !e.prepared {
		return nil
	}
	flushing, cancel := b.write, func() {}
	if _, ok := b.ctx.Deadline(); !ok {
		flushing, cancel = context.WithTimeout(b.write, retry.Timeout)
	}
	left := 0
	if !e.Observer {
		left = e.settler.flush(flushing)
	}
	e.finisher.flush(flushing)
	cancel()
	publishing, cancel := context.WithTimeout(b.write, grace.Publish)
	defer cancel()
	e.hints.flush(publishing)
	e.endEvents.flush(publishing)
	if left > 0 {
		return backend.Errorf(backend.ErrUnavailable, "could not write results of %d tasks; they will run again", left)
	}
	return nil
}

// endOwner stops all goroutines, removes the owner, and closes the listeners.
func (e *Engine) endOwner(b budget) error {
	_ = e.endGoroutines(b)
	// Separate time: if the store was too slow for the results, released claims must not be charged as well.
	last, cancel := context.WithTimeout(b.end, retry.Timeout/2)
	defer cancel()
	e.DeferToSweeper("release claims", e.heartbeat.Owner(), e.reconciler.giveAllBack(last))
	e.DeferToSweeper("end an owner", e.heartbeat.Owner(), e.heartbeat.Finish(last, retry.Timeout))
	if !e.heartbeat.StoreLost() {
		e.History.Flush(last)
	}
	closing, cancel := grace.Outlast(b.ctx, grace.Closed)
	defer cancel()
	closing, cancel = context.WithTimeout(closing, retry.Timeout/2)
	defer cancel()
	closed := make(chan error, len(e.pools))
	for _, p := range e.pools {
		go func() { closed <- grace.Close(closing, "the listener of queue "+p.worker.Queue, p.listener.Close) }()
	}
	var errs []error
	for range e.pools {
		errs = append(errs, <-closed)
	}
	return errors.Join(errs...)
}
