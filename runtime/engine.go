package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/child"
	"github.com/afgen/afgen/runtime/internal/heartbeat"
	"github.com/afgen/afgen/runtime/internal/pipe"
	"github.com/afgen/afgen/runtime/internal/pubsub"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// An engine runs the tasks of an App: it submits, claims, runs, settles and looks after what others have left undone.
// It is written against the ports and knows nothing of what is behind them.
//
// Each background part is one goroutine with one job, started by start and ended by stop:
//
//   - a pool for each worker claims tasks into free slots and runs them (pool.go, poolhints.go, attempt.go);
//   - the settler writes what came of them, in batches, until the store has taken it (settler.go);
//   - the finisher stops or opens the subtasks of what has ended, and finishes their sets (finisher.go);
//   - endNews tells other processes what has ended (endnews.go);
//   - the heartbeat shows that this process is alive, and detects others that are not (package heartbeat);
//   - the reconciler compares what the store says this process runs with what it runs (reconcile.go);
//   - the sweeper does what an interrupted process has left undone (sweeper.go);
//   - the limiter reads how many tasks the pools may run (limits.go);
//   - as process 1 it reaps what others have left behind (package child);
//   - the registry says that this App is there, and nodes what machine it is on (registry.go, nodes.go);
//   - versions knows which other versions of its workers there are (versions.go);
//   - the scheduler fires jobs (scheduler.go).
type engine struct {
	app        *App
	log        *slog.Logger
	ports      *backend.Ports
	store      backend.Store
	pools      map[string]*pool
	waits      waits
	heartbeat  *heartbeat.Heartbeat
	reconciler *reconciler
	requests   *retry.Requester // of callers, to the store
	bus        *pubsub.Bus
	settler    *settler
	finisher   *finisher
	endNews    *endNews
	claims     claimsInFlight
	suspects   suspectSlot
	sched      *scheduler

	limits   *limiter
	registry *registry
	versions *versions
	looks    looks
	nodes    *nodes
	finals   finals
	children pipe.Children

	ctx  context.Context // of the background parts
	end  context.CancelFunc
	done sync.WaitGroup

	started bool
	hints   hints
	lost    atomic.Int64

	badHints atomic.Int64 // dropped
}

// hints are what is to be published, by queue: ids where the transport carries them, else only that there is something.
type hints struct {
	mu     sync.Mutex
	queues map[string][]string
	some   chan struct{}
	sent   chan struct{} // closed when all are published, or could not be; made by flush
}

const (
	maxInsertBytes = 16 << 20         // an Insert, unless one task alone is larger
	opTimeout      = 10 * time.Second // of one operation of the engine's own on the store
	hintBacklog    = 4096             // hints of a queue not yet published
)

func newEngine(a *App) *engine {
	e := &engine{
		app: a, log: a.log, ports: a.ports, store: a.ports.Store,
		pools: map[string]*pool{},
		hints: hints{queues: map[string][]string{}, some: make(chan struct{}, 1)},
		looks: looks{queues: map[string]bool{}, some: make(chan struct{}, 1)},
	}
	e.ctx, e.end = context.WithCancel(context.Background())
	e.waits.ids = map[string][]chan struct{}{}
	e.bus = pubsub.New(e.ctx, a.ports.Coordinator, a.log, opTimeout)
	e.heartbeat = newHeartbeat(e)
	e.reconciler = newReconciler(e)
	e.requests = retry.NewRequester(e.ctx, e.heartbeat.StoreLost)
	e.settler = newSettler(e)
	e.finisher = newFinisher(e)
	e.endNews = newEndNews(e)
	e.limits = newLimiter(e)
	e.registry = newRegistry(e)
	e.versions = newVersions(e)
	e.nodes = newNodes(e)
	e.sched = newScheduler(e)
	e.waits.also = e.sched.tasksEnded
	return e
}

// start begins to run tasks. ctx bounds the starting only. After an error stop undoes what has begun.
func (e *engine) start(ctx context.Context, workers []WorkerSpec) error {
	if err := e.heartbeat.Start(ctx); err != nil {
		return err
	}
	e.limits.begin(ctx)
	for _, w := range workers {
		p, err := newPool(ctx, e, e.isolated(w))
		if err != nil {
			return err
		}
		e.pools[w.Name] = p
	}
	e.started = true
	e.registry.begin(ctx)
	e.versions.begin(ctx)
	e.heartbeat.Renew(ctx)
	e.background(e.heartbeat.Run)
	e.background(e.heartbeat.Guard)
	e.background(e.heartbeat.Detect)
	e.background(e.reconciler.run)
	e.background(e.settler.run)
	for range finishers {
		e.background(e.finisher.run)
	}
	e.background(e.endNews.run)
	e.background(e.sweep)
	e.background(child.Reap)
	e.background(e.publish)
	e.background(e.bus.Subscribe(topicEnded, e.waits.news))
	e.background(e.limits.run)
	e.background(e.registry.run)
	e.background(e.versions.run)
	e.background(e.spreadLooks)
	e.background(e.bus.Subscribe(topicWorkers, e.versions.heard))
	e.background(e.nodes.run)
	e.background(e.bus.Subscribe(topicLimits, func(json.RawMessage) { e.limits.lookNow() }))
	e.background(e.bus.Subscribe(topicStop, func(json.RawMessage) { e.reconciler.now() }))
	for _, p := range e.pools {
		e.background(func(ctx context.Context) {
			if e.app.awaitStart(ctx) { // a handler may use the App
				p.claimLoop(ctx)
			}
		})
		e.background(p.listen)
		e.background(p.dispatch)
	}
	e.background(e.bus.Subscribe(topicLook, e.lookAgain))
	return e.startJobs(ctx, workers)
}

func newHeartbeat(e *engine) *heartbeat.Heartbeat {
	return heartbeat.New(heartbeat.Config{
		Store: e.store, Transport: e.ports.Transport, Log: e.log, Instance: e.app.instance.ID, Lease: e.app.settings.lease,
		ClockRate: e.ports.ClockRate, MaxCrashes: e.app.settings.maxCrashes, AllowUnavailable: e.ports.AllowUnavailable,
		Request:     func(ctx context.Context, op func(context.Context) error) error { return e.requests.Do(ctx, op) },
		Unavailable: func(message string, err error) { e.logAway(message, err) },
		Available: func(message string, err error, args ...any) {
			e.log.Log(e.ctx, e.levelOf(err, slog.LevelInfo), message, args...)
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

// background runs a part until the engine's context ends.
func (e *engine) background(part func(context.Context)) {
	e.done.Go(func() { part(e.ctx) })
}

// signalPools lets all pools look again.
func (e *engine) signalPools() {
	for _, p := range e.pools {
		p.signal()
	}
}

// quit claims nothing more, and says so.
func (e *engine) quit() {
	e.sched.end()
	for _, p := range e.pools {
		p.quit()
	}
	e.registry.quit()
	if e.started && len(e.pools) > 0 {
		e.background(e.heartbeat.Drain)
	}
}

// drain lets what runs finish until ctx ends, and then releases what still runs without charging an attempt. It returns an
// error if something had to be cut short.
func (e *engine) drain(ctx context.Context) error {
	var mu sync.Mutex
	var cut []error
	var wg sync.WaitGroup
	for _, p := range e.pools {
		wg.Go(func() {
			if n := p.drain(ctx); n > 0 {
				mu.Lock()
				defer mu.Unlock()
				cut = append(cut, Errorf(ErrDeadlineExceeded, "%d tasks of queue %q were still running; they were released", n, p.spec.Name))
			}
		})
	}
	wg.Wait()
	return errors.Join(cut...)
}

// stop ends a drained engine: it writes the results of everything, publishes the hints that remain, and ends this owner. It
// returns an error if something could not be written. Each phase ends at the latest at its time after ctx has.
func (e *engine) stop(ctx context.Context) error {
	var cut []error
	writing, cancel := outlast(ctx, writeMost)
	defer cancel()
	ending, cancel := outlast(ctx, endMost)
	defer cancel()
	await(writing, e.children.Close)
	if e.started {
		flushing, cancel := writing, func() {}
		if _, ok := ctx.Deadline(); !ok {
			flushing, cancel = context.WithTimeout(writing, opTimeout)
		}
		left := e.settler.flush(flushing)
		e.finisher.flush(flushing)
		cancel()
		if left > 0 {
			cut = append(cut, Errorf(ErrUnavailable, "what came of %d tasks could not be written; they will run again", left))
		}
	}
	if e.started {
		publishing, cancel := context.WithTimeout(writing, publishMost)
		e.hints.flush(publishing)
		e.endNews.flush(publishing)
		cancel()
	}
	e.end()
	await(ending, func() {
		e.sched.wait()
		e.done.Wait()
	})
	// A time of its own: where the store was too slow for the results, what is given back must not be charged besides.
	last, cancel := context.WithTimeout(ending, opTimeout/2)
	defer cancel()
	e.leave("give claims back", e.heartbeat.Owner(), e.reconciler.giveAllBack(last))
	e.leave("end an owner", e.heartbeat.Owner(), e.heartbeat.Finish(last, opTimeout))
	closing, cancel := outlast(ctx, closedMost)
	defer cancel()
	closing, cancel = context.WithTimeout(closing, opTimeout/2)
	defer cancel()
	closed := make(chan error, len(e.pools))
	for _, p := range e.pools {
		go func() { closed <- closeWithin(closing, "the listener of queue "+p.spec.Name, p.listener.Close) }()
	}
	for range e.pools {
		cut = append(cut, <-closed)
	}
	return errors.Join(cut...)
}

const (
	topicEnded = "af.ended"
	topicStop  = "af.stop"
)

// wake hints that tasks of a queue may be ready. It never waits; what it drops the dispatcher hints.
func (e *engine) wake(queue string, ids []string) {
	e.app.process.Wake(queue, ids)
}

// wakeFor is wake for tasks that were submitted with ctx: in a transaction of the submitter's it waits for the commit.
func (e *engine) wakeFor(ctx context.Context, queue string, ids []string) {
	if tx := backend.TxFrom(ctx); tx != nil {
		tx.AfterCommit(func() { e.wake(queue, ids) })
		return
	}
	e.wake(queue, ids)
}

// add keeps hints to be published. Those beyond hintBacklog are dropped.
func (h *hints) add(queue string, ids []string, byID bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	waiting := h.queues[queue]
	if byID {
		waiting = append(waiting, ids[:min(len(ids), max(0, hintBacklog-len(waiting)))]...)
	}
	h.queues[queue] = waiting
}

func (h *hints) signal() {
	select {
	case h.some <- struct{}{}:
	default:
	}
}

// take returns what has to be published, in exchange for what it returned before and is published. If it is nothing, a
// flush has ended.
func (h *hints) take(published map[string][]string) map[string][]string {
	clear(published)
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.queues) == 0 {
		if h.sent != nil {
			close(h.sent)
			h.sent = nil
		}
		return published
	}
	queues := h.queues
	h.queues = published
	return queues
}

// flush waits until all hints have been published, or ctx ends.
func (h *hints) flush(ctx context.Context) {
	h.mu.Lock()
	if h.sent == nil {
		h.sent = make(chan struct{})
	}
	sent := h.sent
	h.mu.Unlock()
	h.signal()
	select {
	case <-sent:
	case <-ctx.Done():
	}
}

// publish sends hints: what has come together while those before were sent. What could not be sent is sent again once the
// transport is back, or after a pause: who owes these hints may have noted that they were sent.
func (e *engine) publish(ctx context.Context) {
	pause, queues := retry.MinPoll, map[string][]string{}
	for {
		queues = e.hints.take(queues)
		if len(queues) == 0 {
			select {
			case <-e.hints.some:
				continue
			case <-ctx.Done():
				return
			}
		}
		failed := false
		_, changed := e.ports.Transport.State()
		for queue, ids := range queues {
			if len(ids) == 0 && e.ports.Transport.Ids() {
				continue // the dispatcher knows which
			}
			_, err := e.ports.Transport.Hint(ctx, queue, ids)
			if err == nil || ctx.Err() != nil {
				continue
			}
			e.log.Debug("hints not sent", "queue", queue, "error", err)
			if code := CodeOf(err); code == ErrUnavailable || code == ErrDeadlineExceeded {
				e.hints.add(queue, ids, e.ports.Transport.Ids())
				failed = true
			}
		}
		if !failed {
			pause = retry.MinPoll
			continue
		}
		timer := time.NewTimer(retry.Jitter(pause))
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		pause = min(2*pause, retry.MaxPoll)
	}
}
