package tasks

import (
	"cmp"
	"context"
	"crypto/rand"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/grace"
	"github.com/afgen/afgen/runtime/internal/heartbeat"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A pool runs the tasks of one worker. It never claims more than it has free slots for.
type pool struct {
	e        *Engine
	worker   Worker
	listener backend.Listener
	byID     bool // hints carry ids
	networks []string

	mu      sync.Mutex
	running map[claimed]*attempt
	slots   int // in use; an abandoned handler keeps its slot until it returns
	hinted  []backend.Hint
	session int  // of the listener
	poll    bool // poll: there was a hint without an id, or another reason
	urgent  bool // poll before following hints
	polled  time.Time
	idle    chan struct{}
	closing bool
	cut     bool // the drain has cancelled what runs
	busy    bool // a claim is in flight
	held    bool // a claim waits for a heartbeat or a smaller backlog

	wanted, applied Limit // see limit.go

	listening int       // the listener's window; only used by the claim loop, as the two below
	resized   time.Time // when another window was last tried
	passed    int       // how often excess hints were passed on since the window was set

	refusal atomic.Pointer[error] // why the store refuses claims, or nil
	skip    []backend.Version     // see version.go
	fitted  time.Time             // the last claim with a Fingerprint

	hintsPending bool          // the last promotion may have left ready tasks without a hint
	tryPoll      bool          // poll once many slots are free, although there are hints; set with hintsPending
	perPoll      int           // tasks that polls claim while they find enough, a moving average; see bulkClaim
	low          signal.Signal // while hintsPending is set: few hints are left, or perPoll has fallen
	quiet        atomic.Bool   // the last promotion found nothing to do
	promotable   signal.Signal // there is something to promote

	wake signal.Signal // one of the fields above has changed
	work chan *attempt // to idle goroutines
}

// claimed identifies one claim of a task: the same process may claim it again after its lease expired.
type claimed struct {
	id    string
	fence int64
}

const (
	maxClaim  = 64              // tasks per claim
	bulkClaim = 16              // tasks of a poll from which on it costs less per task than hints
	maxWindow = 4096            // unacknowledged hints
	netEvery  = 5 * time.Second // minimum polling interval, in case hints and timers fail
)

func newPool(ctx context.Context, e *Engine, w Worker) (*pool, error) {
	p := &pool{
		e: e, worker: w, byID: e.Ports.Transport.Ids(), networks: backend.AllowedBy(e.Instance.IP),
		running: map[claimed]*attempt{}, wake: signal.New(), low: signal.New(),
		promotable: signal.New(), work: make(chan *attempt),
		idle: make(chan struct{}), poll: true, polled: time.Now(),
	}
	p.worker.Max = max(w.Max, 1)
	if w.MaxCrashes <= 0 {
		p.worker.MaxCrashes = e.MaxCrashes
	}
	p.applied = e.limits.of(p.worker)
	p.wanted = p.applied
	p.listening = p.window()
	var err error
	p.listener, err = e.Ports.Transport.Listen(ctx, w.Queue, p.listening)
	return p, err
}

// window returns how many hints may be unacknowledged.
func (p *pool) window() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.windowNow()
}

// windowNow is window for callers that hold p.mu. A pool that claims nothing more leaves the hints to others.
func (p *pool) windowNow() int {
	if p.closing {
		return 0
	}
	return windowOf(p.applied.Slots())
}

func windowOf(slots int) int {
	if slots == 0 {
		return 0
	}
	return min(max(2*slots, 64), maxWindow)
}

// run claims tasks whenever slots are free and work may be ready, once handlers may use the App.
func (p *pool) run(ctx context.Context) {
	if !p.e.AwaitStart(ctx) {
		return
	}
	poll := retry.MinPoll
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		up, changed := p.e.Ports.Transport.State()
		p.applyLimit(ctx)
		p.gatherSlots()
		free, hints, ok := p.nextWork()
		if !ok {
			select {
			case <-p.wake.C():
			case <-changed: // without hints, poll sooner
				p.pollAgain()
				timer.Reset(p.pollInterval(0))
			case <-timer.C:
				p.pollAgain()
				timer.Reset(p.pollInterval(0))
			case <-ctx.Done():
				return
			}
			continue
		}
		next, full, err := p.claim(ctx, free, hints)
		p.claimEnded()
		if len(hints) == 0 {
			p.polledFor(free, full && err == nil)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if retry.Refused(err) && p.refusal.Swap(&err) == nil {
				p.e.Log.Error("store refused to claim tasks", "queue", p.worker.Queue, "error", err)
			}
			p.pollAgain()
			if !retry.Sleep(ctx, retry.Jitter(poll)) {
				return
			}
			poll = min(2*poll, retry.MaxPoll)
			continue
		case full && (len(hints) == 0 || !p.byID || !up || p.mixed()): // there may be more, without hints
			p.pollAgain()
		}
		p.refusal.Store(nil)
		poll = retry.MinPoll
		timer.Reset(p.pollInterval(next))
	}
}

// pollInterval returns the polling interval if nothing is known to be ready. It is short while the transport is down.
func (p *pool) pollInterval(next time.Duration) time.Duration {
	d := retry.Jitter(netEvery)
	if up, _ := p.e.Ports.Transport.State(); !up {
		d = retry.Jitter(retry.MaxPoll / 2)
	} else if p.mixed() {
		d = retry.Jitter(heartbeat.Every)
	}
	if p.listening != p.window() {
		d = min(d, retry.Jitter(retry.MinPoll))
	}
	if next > 0 {
		d = min(d, next)
	}
	return d
}

func (p *pool) pollAgain() {
	p.mu.Lock()
	p.poll = true
	p.mu.Unlock()
}

// pollSoon makes the pool poll before it follows hints.
func (p *pool) pollSoon() {
	p.mu.Lock()
	p.poll, p.urgent = true, true
	p.mu.Unlock()
	p.wake.Set()
}

// polledFor records how many tasks a poll has claimed. While polls claim many, this process publishes almost no hints
// for a backlog: a hint costs an update of its task and a message.
func (p *pool) polledFor(tasks int, full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.perPoll
	if p.perPoll = (p.perPoll + tasks) / 2; !full {
		p.perPoll = 0
	}
	if before >= bulkClaim && p.perPoll < bulkClaim && p.hintsPending {
		p.low.Set()
	}
}

// gatherSlots lets handlers that are about to return do so, if some have, so that one claim fills all their slots.
func (p *pool) gatherSlots() {
	for before := 0; ; {
		p.mu.Lock()
		free := p.applied.Slots() - p.slots
		p.mu.Unlock()
		if free <= before || free >= maxClaim {
			return
		}
		before = free
		runtime.Gosched()
	}
}

// nextWork reports whether a slot is free and there may be something to claim. It takes the hints to claim by.
func (p *pool) nextWork() (free int, hints []backend.Hint, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	free = min(p.applied.Slots()-p.slots, maxClaim)
	if p.closing || free <= 0 || !p.poll && len(p.hinted) == 0 {
		return 0, nil, false
	}
	if p.held = !p.e.heartbeat.CanClaim() || p.e.settler.backlog() > settleBacklog; p.held {
		return 0, nil, false
	}
	p.busy = true
	// Even if hints never end, tasks with lost hints must be found.
	overdue := p.urgent || time.Since(p.polled) >= netEvery || p.tryPoll && free >= bulkClaim
	if n := min(free, len(p.hinted)); n > 0 && !overdue {
		hints = append(hints, p.hinted[:n]...)
		p.hinted = p.hinted[n:]
		if p.hintsPending && len(p.hinted) <= lowHints(windowOf(p.applied.Slots())) {
			p.low.Set()
		}
		return free, hints, true
	}
	p.poll, p.urgent, p.tryPoll, p.polled = false, false, false, time.Now()
	return free, nil, true
}

// claimEnded records that a claim has ended.
func (p *pool) claimEnded() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy = false
	p.closeIfIdle()
}

// closeIfIdle closes idle once nothing runs and nothing can start. The caller holds p.mu.
func (p *pool) closeIfIdle() {
	if p.closing && p.slots == 0 && !p.busy {
		close(p.idle)
	}
}

// claim claims tasks and starts them.
func (p *pool) claim(ctx context.Context, free int, hints []backend.Hint) (next time.Duration, full bool, err error) {
	c := backend.Claim{
		Queue: p.worker.Queue, Owner: p.e.heartbeat.Owner(), Nonce: rand.Text(), Max: free,
		Instance: p.e.Instance.ID, IP: p.e.Instance.IP,
		FanIn: p.worker.FanIn, Networks: p.networks, MaxCrashes: p.worker.MaxCrashes,
		OwnerChecked: true, // by start
	}
	if p.e.suspects.isFree() {
		c.Suspects = 1
	}
	var byID map[string]backend.Hint
	if len(hints) > 0 {
		byID = make(map[string]backend.Hint, len(hints))
	}
	for _, h := range hints {
		if first, twice := byID[h.ID]; twice { // one is enough
			h.Redelivered = h.Redelivered || first.Redelivered
			first.Done()
		} else {
			c.IDs = append(c.IDs, h.ID)
		}
		byID[h.ID] = h
	}
	p.forVersion(&c)
	defer p.e.claims.end(p.e.claims.begin())
	var tasks []backend.Task
	begun := time.Now()
	err = retry.Do(ctx, retry.Timeout, func(ctx context.Context) (err error) {
		tasks, next, err = p.e.Ports.Store.Claim(ctx, c)
		return err
	})
	if p.e.Hooks != nil {
		p.observeClaim(begun, len(tasks), err)
	}
	if backend.CodeOf(err) == backend.ErrAborted {
		p.e.heartbeat.Lost(c.Owner)
	}
	for i := range tasks {
		if h, hinted := byID[tasks[i].ID]; hinted {
			p.start(&tasks[i], c, h)
			delete(byID, tasks[i].ID)
		} else {
			p.start(&tasks[i], c)
		}
	}
	switch {
	case retry.Refused(err) && len(hints) == 1:
		p.e.dropHint(p.worker.Queue, hints[0], err)
		return next, false, nil
	case retry.Refused(err) && len(hints) > 1:
		return p.claimSingly(ctx, hints)
	}
	if err != nil { // whether the store claimed their tasks is unknown
		p.mu.Lock()
		p.hinted = append(slices.DeleteFunc(hints, p.returned), p.hinted...)
		p.fitted = time.Time{}
		p.mu.Unlock()
		return next, false, err
	}
	for _, h := range byID {
		p.hintNotClaimed(h)
	}
	if len(byID) > 0 && len(c.Skip) > 0 {
		p.e.pollEverywhere(p.worker.Queue)
	}
	return next, len(tasks) == free, err
}

// claimSingly claims by one hint at a time after the store refused to claim by all of them. A single bad hint must
// not block the others.
func (p *pool) claimSingly(ctx context.Context, hints []backend.Hint) (next time.Duration, full bool, err error) {
	for _, h := range hints {
		_, _, e := p.claim(ctx, 1, []backend.Hint{h})
		err = cmp.Or(err, e)
	}
	return 0, false, err
}

// hintNotClaimed handles a hint whose task was not claimed. If the task runs here, the hint stays with it, so that it
// is delivered again if this process dies. Otherwise another process has the task, or it isn't due.
func (p *pool) hintNotClaimed(h backend.Hint) {
	p.mu.Lock()
	for key, a := range p.running {
		if key.id == h.ID && !a.acked && len(a.hints) == 0 {
			a.hints = append(a.hints, h)
			p.mu.Unlock()
			return
		}
	}
	p.mu.Unlock()
	if h.Redelivered {
		p.e.heartbeat.Suspect()
	}
	h.Done()
}

// abandoned returns how many abandoned handlers still run, and since when the first one was abandoned. The caller
// holds p.mu.
func (p *pool) abandoned() (n int, since time.Time) {
	for _, a := range p.running {
		if a.abandoned.IsZero() {
			continue
		}
		if n++; n == 1 || a.abandoned.Before(since) {
			since = a.abandoned
		}
	}
	return n, since
}

// quit stops claiming. The claim loop passes the hints on.
func (p *pool) quit() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return
	}
	p.closing = true
	p.closeIfIdle()
	p.wake.Set()
}

// drain waits for running tasks until ctx ends, then cancels the rest and waits a moment longer. It returns how many
// it cancelled.
func (p *pool) drain(ctx context.Context) int {
	select {
	case <-p.idle:
		return 0
	case <-ctx.Done():
	}
	p.mu.Lock()
	p.cut = true
	n := len(p.running)
	for _, a := range p.running {
		a.cancel(ErrShutdown)
	}
	p.mu.Unlock()
	grace, cancel := grace.Outlast(ctx, grace.Abandon)
	defer cancel()
	select {
	case <-p.idle:
	case <-grace.Done():
		p.mu.Lock()
		left := make([]*attempt, 0, len(p.running))
		for _, a := range p.running {
			left = append(left, a)
		}
		p.mu.Unlock()
		p.e.abandonAttempts(left)
	}
	return n
}
