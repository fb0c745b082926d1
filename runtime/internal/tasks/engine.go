// Package tasks runs the tasks of an App: it inserts, claims, runs and settles them, and repairs what interrupted processes
// have left undone. It is written against the ports of package backend and knows nothing of what is behind them.
//
// # The path of a task
//
// [Engine.Insert] stores it (submit.go) and [Engine.Wake] publishes a hint (hints.go). A pool of a worker's queue gets the
// hint or looks by itself, claims the task into a free slot (pool.go) and runs it (attempt.go). The settler writes the
// result, together with others (settler.go). What follows from the end of a task is done then: waiters are notified
// (completion.go, waits.go, events.go), and the finisher begins, stops or finishes subtasks (finisher.go).
//
// # Background parts
//
// Each is one goroutine with one job, listed by phases in the order in which they start:
//
//   - heartbeat: package heartbeat shows that this process is alive, and detects others that are not; the reconciler
//     compares what the store says this process runs with what it runs (reconcile.go);
//   - settle: the settler, the finisher, the publishers of hints and events, and the sweeper, which does what an interrupted
//     process has left undone (sweeper.go);
//   - claim: the limiter reads how many tasks the pools may run (limit.go); each pool claims, listens for hints, and
//     dispatches those that are owed (dispatch.go).
//
// They end in the reverse order: nothing more is claimed, what runs finishes or is cancelled, results are written, and the
// owner ends, so that no other process waits for it.
package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/grace"
	"github.com/afgen/afgen/runtime/internal/heartbeat"
	"github.com/afgen/afgen/runtime/internal/pubsub"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A Config is what an Engine needs of the App. All fields are required.
type Config struct {
	Ports    *backend.Ports
	Log      *slog.Logger
	Instance backend.Instance
	Lease    time.Duration
	// MaxCrashes is for workers that don't say it themselves.
	MaxCrashes int
	Retention  backend.Retention
	// WrongVersionAfter is how long a task waits for a worker of its version.
	WrongVersionAfter time.Duration

	// AwaitStart holds the first claim back until handlers may use the App. It returns false if nothing must be claimed.
	AwaitStart func(ctx context.Context) bool
	// WarnOnce reports whether a warning about key was not yet logged.
	WarnOnce func(key string) bool
	// ReadLimits reads the limits of all queues.
	ReadLimits func(ctx context.Context) (LimitOf, error)
	// LimitApplied is called when a pool has applied another limit.
	LimitApplied func()
	// Ended is called with the ids of tasks that have ended, here or elsewhere.
	Ended func(ids []string)
	// EndChildren ends the child processes of handlers.
	EndChildren func()
}

// An Engine runs the tasks of an App. Its methods are safe for concurrent use, once Prepare has returned.
type Engine struct {
	Config
	*Client

	heartbeat  *heartbeat.Heartbeat
	bus        *pubsub.Bus
	workers    []Worker
	pools      map[string]*pool // by queue; not changed after Prepare
	waits      waits
	reconciler *reconciler
	settler    *settler
	finisher   *finisher
	endEvents  *endEvents
	claims     claimsInFlight
	suspects   suspectSlot
	limits     *limiter
	looks      looks
	hints      hints
	badHints   atomic.Int64 // dropped

	ctx      context.Context // of the background parts
	end      context.CancelFunc
	done     sync.WaitGroup
	prepared bool
}

const (
	// MaxInsertBytes is the size of an Insert, unless one task alone is larger.
	MaxInsertBytes = 16 << 20

	hintBacklog = 4096            // hints of a queue not yet published
	hintBatch   = 256             // hints of a queue published before those of other queues
	fitEvery    = 3 * time.Second // a pool asks for tasks that wait for its version, at most
	looksEvery  = 50 * time.Millisecond

	// DoneSuffix ends the id of the task that handles the end of its source's subtasks.
	DoneSuffix = "/done"
)

// The topics of events.
const (
	topicEnded = "af.ended"
	topicStop  = "af.stop"
	// TopicLook has the names of queues at which the pools must look: something waits there that not all may claim.
	TopicLook = "af.look"
	// TopicLimits has the names of queues whose limits have changed.
	TopicLimits = "af.limits"
)

// New returns an Engine that has not started. [Engine.Shutdown] ends it.
func New(cfg Config) *Engine {
	e := &Engine{
		Config: cfg, pools: map[string]*pool{},
		hints: hints{queues: map[string][]string{}, some: signal.New()},
		looks: looks{queues: map[string]bool{}, some: signal.New()},
		waits: waits{ids: map[string][]signal.Signal{}, also: cfg.Ended},
	}
	e.ctx, e.end = context.WithCancel(context.Background())
	e.bus = pubsub.New(e.ctx, cfg.Ports.Coordinator, cfg.Log, retry.Timeout)
	e.heartbeat = e.newHeartbeat()
	e.Client = &Client{cfg.Ports, cfg.Ports.Store, cfg.Log, retry.NewRequester(e.ctx, e.heartbeat.StoreLost), e.queueHint, e.notifyStopped}
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
		Cancel:    func() { e.cancelRuns(ErrLeaseLost) },
		Reconcile: func() { e.reconciler.now() },
		Moved:     e.moved,
		Beaten: func() {
			e.abandonStuck()
			e.signalPools() // they may have waited for a heartbeat to be accepted
		},
		Refunded: func() {
			for _, p := range e.pools { // what was suspected may run together with anything again
				p.lookSoon()
			}
		},
	})
}

// Context ends when the background parts must end.
func (e *Engine) Context() context.Context { return e.ctx }

// Bus publishes events.
func (e *Engine) Bus() *pubsub.Bus { return e.bus }

// Close ends the background parts without waiting for anything: for an Engine that another goroutine may still be starting.
func (e *Engine) Close() { e.end() }

// A phase is one step of starting and stopping. Phases are prepared in order and stopped in reverse order.
type phase struct {
	name    string
	prepare func(ctx context.Context) error // bounded by ctx
	parts   func() []func(context.Context)  // background goroutines, once all is prepared; they run until the last phase has stopped
	stop    func(b budget) error
}

// A budget is the time that stopping may take: until ctx ends, and a moment longer (package grace). All of it is reckoned from
// the beginning of the shutdown, so that a slow phase takes nothing from those after it.
type budget struct {
	ctx   context.Context
	write context.Context // until results are written
	end   context.Context // until this owner has ended
}

// phases returns the phases: nothing is claimed that could not be settled, and nothing is settled by a process of which
// others can't see that it is alive.
func (e *Engine) phases() []phase {
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
	return append(slices.Repeat([]func(context.Context){e.finisher.run}, finishers),
		e.settler.run, e.endEvents.run, e.publishHints, e.sweep,
		e.bus.Subscribe(topicEnded, e.waits.heard),
		e.bus.Subscribe(topicStop, func(json.RawMessage) { e.reconciler.now() }))
}

func (e *Engine) claimParts() []func(context.Context) {
	parts := []func(context.Context){
		e.limits.run, e.spreadLooks,
		e.bus.Subscribe(TopicLimits, func(json.RawMessage) { e.limits.now() }),
		e.bus.Subscribe(TopicLook, e.heardLook),
	}
	for _, p := range e.pools {
		parts = append(parts, p.run, p.listen, p.dispatch)
	}
	return parts
}

// Prepare prepares to run the tasks of workers, without claiming any. ctx bounds it. After an error Shutdown undoes what it did.
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

// Start runs what Prepare has prepared. ctx bounds the starting only.
func (e *Engine) Start(ctx context.Context) {
	e.heartbeat.Renew(ctx)
	for _, ph := range e.phases() {
		for _, part := range ph.parts() {
			e.Go(part)
		}
	}
}

// Go runs a part on a goroutine of its own. It must return when its context ends, which [Engine.Shutdown] waits for.
func (e *Engine) Go(part func(ctx context.Context)) {
	e.done.Go(func() { part(e.ctx) })
}

// preparePools makes a pool for each worker.
func (e *Engine) preparePools(ctx context.Context) error {
	e.limits.begin(ctx)
	for _, w := range e.workers {
		p, err := newPool(ctx, e, w)
		if err != nil {
			return err
		}
		e.pools[w.Queue] = p
	}
	return nil
}

// signalPools makes all pools look again.
func (e *Engine) signalPools() {
	for _, p := range e.pools {
		p.wake.Set()
	}
}

// Quit claims nothing more.
func (e *Engine) Quit() {
	for _, p := range e.pools {
		p.quit()
	}
	if e.prepared && len(e.pools) > 0 {
		e.Go(e.heartbeat.Drain)
	}
}

// Drain lets what runs finish until ctx ends, and then releases what still runs without charging an attempt. It returns an
// error if something had to be cut short.
func (e *Engine) Drain(ctx context.Context) error {
	phases := e.phases()
	return phases[len(phases)-1].stop(budget{ctx: ctx})
}

// Shutdown ends a drained Engine: it writes all results, publishes the hints that remain, and ends this owner. It returns an
// error if something could not be written.
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
				cut = append(cut, backend.Errorf(backend.ErrDeadlineExceeded, "%d tasks of queue %q were still running; they were released", n,
					p.worker.Queue))
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
	left := e.settler.flush(flushing)
	e.finisher.flush(flushing)
	cancel()
	publishing, cancel := context.WithTimeout(b.write, grace.Publish)
	defer cancel()
	e.hints.flush(publishing)
	e.endEvents.flush(publishing)
	if left > 0 {
		return backend.Errorf(backend.ErrUnavailable, "what came of %d tasks could not be written; they will run again", left)
	}
	return nil
}

// endOwner ends all parts, this owner, and the listeners.
func (e *Engine) endOwner(b budget) error {
	e.end()
	grace.Await(b.end, e.done.Wait)
	// A time of its own: if the store was too slow for the results, what is given back must not be charged as well.
	last, cancel := context.WithTimeout(b.end, retry.Timeout/2)
	defer cancel()
	e.DeferToSweeper("give claims back", e.heartbeat.Owner(), e.reconciler.giveAllBack(last))
	e.DeferToSweeper("end an owner", e.heartbeat.Owner(), e.heartbeat.Finish(last, retry.Timeout))
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
