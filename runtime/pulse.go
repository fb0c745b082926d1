package runtime

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A pulse shows that this process lives, and looks whether others do.
//
// It raises a counter in the store every second. Whoever sees the counter of another stand still for a lease, on its own
// monotonic clock, convicts it; two beats are enough where a hint of one of its tasks came back from the transport, as
// it does when a process dies, and none where the store knows that the process has ended. No wall clocks are compared. A
// process whose beats are not accepted stops its own runs before others may convict it, and judges nobody: what keeps it
// from beating may keep others, too. One that has been convicted goes on as a new owner. Every fifth beat it audits what
// the store thinks it runs against what it runs.
type pulse struct {
	e     *engine
	lease time.Duration

	mu       sync.Mutex
	name     string // the owner this process is now
	born     int    // owners so far
	count    int64
	accepted time.Time // the last beat
	refusal  error     // of the last beat
	missed   time.Time // the first beat of those that were refused lately
	since    time.Time // when beats began to be accepted
	adrift   map[claimed]bool

	suspects map[string]time.Time // ids of tasks whose owners may be dead, since when

	watched map[string]watch // only look uses it, and looked
	looked  time.Time        // when it last saw all counters
	audits  chan struct{}
	alarms  chan struct{} // has an element when a suspicion is new
}

// A watch is an owner's counter and since when it has been that.
type watch struct {
	count int64
	since time.Time
}

const (
	beatEvery  = time.Second
	auditEvery = 5 // beats
	// suspectAfter is for how long an owner's counter must have stood still where there is a reason to suspect it: two
	// beats, and some.
	suspectAfter = 2*beatEvery + beatEvery/4
	// suspectEvery is how often counters are looked at for so long after a suspicion: a beat's time between two looks would
	// add up to two beats more until a process that was killed is convicted.
	suspectEvery = beatEvery / 4
	// ackAfter is how long a hint is kept unacknowledged: it is an alarm, and brokers have their patience too.
	ackAfter = time.Minute
	// maxCrashes is how many owners a task may lose before it fails as poison.
	maxCrashes = 3
)

func newPulse(e *engine) *pulse {
	p := &pulse{e: e, lease: e.app.settings.lease, audits: make(chan struct{}, 1), alarms: make(chan struct{}, 1), watched: map[string]watch{}, suspects: map[string]time.Time{}}
	p.rename()
	return p
}

// rename makes this process a new owner.
func (p *pulse) rename() {
	p.born++
	p.count = 0
	p.name = p.e.app.instance.ID + "-" + strconv.Itoa(p.born)
	p.adrift = map[claimed]bool{}
}

func (p *pulse) owner() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.name
}

// healthy says whether a claim made now could be kept.
func (p *pulse) healthy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.accepted) < p.lease/2
}

// cutOff says whether the store has taken no beat for a lease.
func (p *pulse) cutOff() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.accepted.IsZero() && time.Since(p.accepted) > p.lease
}

// begin beats for the first time. An App doesn't start without its store, unless it was told to: then it claims nothing
// until a beat is accepted.
func (p *pulse) begin(ctx context.Context) error {
	err := p.e.ask(ctx, p.beat)
	if err != nil && p.e.ports.MayBeAway && ctx.Err() == nil && away(err) {
		p.heard(err)
		return nil
	}
	p.since = time.Now()
	return err
}

// finish ends this owner, so that nobody waits a lease for what it may have left. Claims whose replies were lost go back
// uncharged: only what can't be written counts as a crash.
func (p *pulse) finish(ctx context.Context) {
	p.mu.Lock()
	p.count++ // one more: whether the last one arrived is not known
	name, count := p.name, p.count
	p.mu.Unlock()
	err := p.e.repeat(ctx, func(ctx context.Context) error {
		owned, err := p.e.store.Owned(ctx, name)
		if err != nil || len(owned) == 0 {
			return err
		}
		settles := make([]backend.Settle, len(owned))
		for i, o := range owned {
			settles[i] = giveBack(o)
		}
		_, err = p.e.store.Settle(ctx, settles)
		return err
	})
	p.e.leave("give claims back", name, err)
	var freed []Task
	err = p.e.repeat(ctx, func(ctx context.Context) (err error) {
		if err = p.e.store.Beat(ctx, name, count); err == nil {
			freed, err = p.e.store.Judge(ctx, name, count, maxCrashes)
		}
		return err
	})
	p.e.leave("end an owner", name, err)
	if len(freed) > 0 {
		p.e.log.Warn("tasks were left behind; they go on elsewhere", "tasks", len(freed))
	}
}

// run beats, and nothing in it waits for anything but a beat: a process that is slow at the rest is not dead.
func (p *pulse) run(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		opCtx, cancel := context.WithTimeout(ctx, p.lease/4)
		err := p.beat(opCtx)
		cancel()
		if ctx.Err() == nil {
			p.heard(err)
		}
		p.checkLease()
		p.giveUp()
		p.e.signalPools() // they may have waited for a beat to be accepted
	}
}

// look audits and judges.
func (p *pulse) look(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	var deaths <-chan struct{}
	if w, ok := p.e.store.(backend.Witness); ok {
		deaths = w.Deaths()
	}
	var hurry <-chan time.Time
	var alarmed time.Time
	for n := 1; ; { // beats: begin was the first
		select {
		case <-tick.C:
			n++
		case <-p.alarms:
			if alarmed = time.Now(); hurry == nil {
				p.judge(ctx) // from now on at the latest the suspect's counter is watched
				hurry = time.After(suspectEvery)
			}
			continue
		case <-hurry:
			p.judge(ctx)
			if hurry = nil; time.Since(alarmed) < suspectAfter+beatEvery {
				hurry = time.After(suspectEvery)
			}
			continue
		case <-p.audits:
			p.audit(ctx)
			continue
		case <-deaths:
			p.judge(ctx)
			continue
		case <-ctx.Done():
			return
		}
		if n%auditEvery == 0 {
			p.audit(ctx)
		}
		p.judge(ctx)
	}
}

// beat raises the counter. A conviction is no error: this process goes on under another name.
func (p *pulse) beat(ctx context.Context) error {
	p.mu.Lock()
	p.count++
	name, count := p.name, p.count
	p.mu.Unlock()
	sent := time.Now()
	err := p.e.store.Beat(ctx, name, count)
	if CodeOf(err) == ErrAborted {
		p.convicted(name)
		return nil
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.name == name {
		// Counted from before it was sent: a judge may have seen it right then.
		p.accepted = sent
	}
	return nil
}

// convicted stops what runs under a name that has been convicted, and takes another.
func (p *pulse) convicted(name string) {
	p.mu.Lock()
	if p.name != name {
		p.mu.Unlock()
		return
	}
	p.rename()
	p.mu.Unlock()
	p.e.log.Error("this process was taken for dead; what it runs is stopped", "owner", name)
	p.e.cancelRuns(func(*attempt) error { return ErrLeaseLost })
}

// checkLease stops all runs before others may take this process for dead.
func (p *pulse) checkLease() {
	p.mu.Lock()
	late := time.Since(p.accepted) > p.lease*8/10
	p.mu.Unlock()
	if late {
		p.e.cancelRuns(func(*attempt) error { return ErrLeaseLost })
	}
}

// suspect notes that the hint of a task that runs elsewhere was delivered again: its owner may be dead.
func (p *pulse) suspect(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.suspects) >= maxWindow {
		return
	}
	p.suspects[id] = time.Now()
	select {
	case p.alarms <- struct{}{}:
	default:
	}
}

// suspected says whether an owner whose counter stands still since then runs a task by which it is suspected. Who has beaten
// after a suspicion isn't meant by it: the task has come to him from whoever was. Suspicions are forgotten after a lease: by
// then whoever was meant has been judged.
func (p *pulse) suspected(ctx context.Context, owner string, since time.Time) bool {
	p.mu.Lock()
	for id, since := range p.suspects {
		if time.Since(since) > p.lease {
			delete(p.suspects, id)
		}
	}
	none := len(p.suspects) == 0
	p.mu.Unlock()
	if none {
		return false
	}
	owned, err := p.e.store.Owned(ctx, owner)
	if err != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(owned, func(o backend.Owned) bool {
		at, ok := p.suspects[o.ID]
		return ok && since.Sub(at) < beatEvery // a beat that was under way may have been seen later
	})
}

// giveUp settles the attempts whose handlers have not returned long after their contexts ended, and acknowledges the
// hints of those that run for long.
func (p *pulse) giveUp() {
	var long []*attempt
	p.e.eachRun(func(a *attempt) {
		if time.Since(a.begun) > ackAfter {
			long = append(long, a)
		}
		switch {
		case a.ctx.Err() == nil:
		case a.endedAt.IsZero():
			a.endedAt = time.Now()
		case time.Since(a.endedAt) >= graceAfterCancel:
			a.abandon()
		}
	})
	for _, a := range long {
		a.acknowledge()
	}
}

func (p *pulse) auditNow() {
	select {
	case p.audits <- struct{}{}:
	default:
	}
}

// audit compares what the store thinks this process runs with what it runs.
func (p *pulse) audit(ctx context.Context) {
	owner := p.owner()
	before := map[claimed]bool{}
	p.e.eachRun(func(a *attempt) { before[a.key()] = true })
	opCtx, cancel := context.WithTimeout(ctx, p.lease/4)
	defer cancel()
	owned, err := p.e.store.Owned(opCtx, owner)
	if err != nil || owner != p.owner() {
		return
	}
	theirs := map[claimed]backend.Owned{}
	for _, o := range owned {
		theirs[claimed{o.ID, o.Fence}] = o
	}
	here := p.e.settler.unwritten()
	p.e.eachRun(func(a *attempt) {
		o, ok := theirs[a.key()]
		switch {
		case ok && o.Stopping:
			a.cancel(ErrTaskStopped)
		case !ok && before[a.key()] && !here[a.key()]:
			a.cancel(ErrLeaseLost) // the fence has moved on
		}
		here[a.key()] = true
	})
	p.release(theirs, here)
}

// release gives back claims of which this process knows nothing, since the reply was lost: those that were adrift at the
// audit before, too.
func (p *pulse) release(theirs map[claimed]backend.Owned, here map[claimed]bool) {
	p.mu.Lock()
	adrift := map[claimed]bool{}
	var lost []backend.Owned
	for key, o := range theirs {
		switch {
		case here[key]:
		case p.adrift[key]:
			lost = append(lost, o)
		default:
			adrift[key] = true
		}
	}
	p.adrift = adrift
	p.mu.Unlock()
	for _, o := range lost {
		a := &attempt{p: &pool{e: p.e}, task: &Task{ID: o.ID, Queue: o.Queue, Fence: o.Fence}}
		p.e.settler.add(settlement{giveBack(o), a})
	}
}

// giveBack settles a claim that nothing runs here.
func giveBack(o backend.Owned) backend.Settle {
	to := backend.StatusWaiting
	if o.Stopping {
		to = backend.StatusStopped
	}
	return backend.Settle{ID: o.ID, Fence: o.Fence, To: to}
}

// judge convicts the owners whose counters have stood still for a lease, and those that the store knows to be dead. After
// an outage of the store the watch starts afresh, so that nobody is convicted for it.
func (p *pulse) judge(ctx context.Context) {
	opCtx, cancel := context.WithTimeout(ctx, p.lease/4)
	defer cancel()
	counts, err := p.e.store.Owners(opCtx)
	now := time.Now()
	if err != nil || now.Sub(p.looked) > p.lease/2 || !p.healthy() {
		clear(p.watched) // also where this process, or a call of it, has hung, or can't beat: others may have been unable to
	}
	if err != nil {
		return
	}
	p.looked = now
	for name := range p.watched {
		if _, ok := counts[name]; !ok {
			delete(p.watched, name)
		}
	}
	dead := p.dead(opCtx, counts)
	for name, count := range counts {
		w, ok := p.watched[name]
		if !ok || w.count != count {
			w = watch{count, now}
			p.watched[name] = w
		}
		still := now.Sub(w.since)
		switch {
		case name == p.owner():
		case slices.Contains(dead, name), still >= p.lease, still >= suspectAfter && p.suspected(opCtx, name, w.since):
			p.convict(opCtx, name, count)
		}
	}
}

// dead asks a store that is a witness which of the other owners' processes have ended.
func (p *pulse) dead(ctx context.Context, counts map[string]int64) []string {
	w, ok := p.e.store.(backend.Witness)
	if !ok {
		return nil
	}
	var others []string
	for name := range counts {
		if name != p.owner() {
			others = append(others, name)
		}
	}
	if len(others) == 0 {
		return nil
	}
	dead, err := w.Dead(ctx, others)
	if err != nil {
		p.e.log.Debug("whose process has ended is not known", "error", err)
	}
	return dead
}

// convict ends an owner whose counter is still count, and sees to the tasks that it ran.
func (p *pulse) convict(ctx context.Context, name string, count int64) {
	freed, err := p.e.store.Judge(ctx, name, count, maxCrashes)
	if err != nil {
		return // next second again
	}
	delete(p.watched, name)
	if len(freed) > 0 {
		p.e.log.Warn("a process is dead; its tasks go on elsewhere", "owner", name, "tasks", len(freed))
	}
	p.e.moved(p.e.ctx, freed)
}

// eachRun calls fn for every attempt that runs here.
func (e *engine) eachRun(fn func(*attempt)) {
	for _, p := range e.pools {
		p.mu.Lock()
		for _, a := range p.running {
			fn(a)
		}
		p.mu.Unlock()
	}
}

// cancelRuns cancels every attempt that runs here.
func (e *engine) cancelRuns(cause func(*attempt) error) {
	e.eachRun(func(a *attempt) { a.cancel(cause(a)) })
}
