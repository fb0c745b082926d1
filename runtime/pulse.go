package runtime

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// A pulse shows that this process lives, and looks whether others do.
//
// It raises a counter in the store every second. A process that sees the counter of another unchanged for a lease, on its own
// monotonic clock, declares it dead; about two heartbeats are enough if the transport doesn't see that instance any more, and none
// if the store knows that the process has ended. No wall clocks are compared. A process whose heartbeats are not accepted cancels
// its own runs before others may declare it dead (lease.go), and judges no others: what keeps it from beating may keep others, too.
// One that has been declared dead continues as a new owner. Every fifth heartbeat it audits what the store thinks it runs against
// what it runs.
type pulse struct {
	e     *engine
	lease time.Duration

	mu       sync.Mutex
	name     string // the owner this process is now
	born     int    // owners so far
	count    int64
	sent     time.Time         // the last beat
	accepted time.Time         // when the last beat that was accepted was sent
	refusal  error             // of the last beat
	missed   time.Time         // the first beat of those that were refused lately
	since    time.Time         // when beats began to be accepted
	adrift   map[claimed]int64 // claims that were missing here at the last audit, and the number of the next claim when first missed

	refunds []string // names under which this process was declared dead, though it lives

	watched map[string]watch // only look uses it, and looked
	looked  time.Time        // when it last saw all counters
	audits  chan struct{}
	alarms  chan struct{} // has an element when a hint was delivered again
	hurry   chan struct{} // has an element when a heartbeat is wanted out of turn
}

// A watch is an owner's counter, since when it has been that, and since when its instance has been absent with it.
type watch struct {
	count  int64
	since  time.Time
	absent time.Time // zero while it isn't
}

const (
	beatEvery  = time.Second
	auditEvery = 5 // beats
	// suspectEvery is how often counters are read after a hint was delivered again, or while one of them is unchanged: a period
	// between two looks would add up to two more until a process that was killed is declared dead.
	suspectEvery = beatEvery / 4
	// ackAfter is how long a hint is kept unacknowledged: it is an alarm, and brokers have their patience too.
	ackAfter = time.Minute
)

func newPulse(e *engine) *pulse {
	p := &pulse{e: e, lease: e.app.settings.lease, audits: make(chan struct{}, 1), alarms: make(chan struct{}, 1), hurry: make(chan struct{}, 1), watched: map[string]watch{}}
	p.rename()
	return p
}

// rename makes this process a new owner.
func (p *pulse) rename() {
	p.born++
	p.count = 0
	p.name = ownerName(p.e.app.instance.ID, p.born, p.lease)
	p.adrift = map[claimed]int64{}
}

func (p *pulse) owner() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.name
}

// healthy reports whether a claim made now could be kept.
func (p *pulse) healthy() bool {
	if _, unseen, _ := p.deadline(); unseen && !p.brisk() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.accepted) < p.span(p.lease/2)
}

// brisk says whether the store is quick to take beats: where it isn't, a beat that is late says little about who sent it.
func (p *pulse) brisk() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.accepted) < beatEvery+beatEvery/2
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
	err := p.e.requests.Do(ctx, p.beat)
	if err != nil && p.e.ports.AllowUnavailable && ctx.Err() == nil && away(err) {
		p.heard(err)
		return nil
	}
	p.since = time.Now()
	return err
}

// renew beats again where starting has taken long since begin, so that the counter is young when tasks are claimed: a hint
// that has come back from somebody else's end would make its owner a suspect.
func (p *pulse) renew(ctx context.Context) {
	p.mu.Lock()
	late := !p.accepted.IsZero() && time.Since(p.accepted) > suspectEvery
	p.mu.Unlock()
	if !late {
		return
	}
	opCtx, cancel := context.WithTimeout(ctx, p.lease/4)
	defer cancel()
	if err := p.beat(opCtx); err != nil && ctx.Err() == nil {
		p.heard(err)
	}
}

// drain has the store know that this process shuts down: should it be killed before that is over, nothing is charged.
func (p *pulse) drain(ctx context.Context) {
	for {
		opCtx, cancel := context.WithTimeout(ctx, p.lease/4)
		err := p.e.store.Drain(opCtx, p.owner())
		cancel()
		if err == nil || CodeOf(err) == ErrAborted || !retry.Sleep(ctx, retry.Jitter(retry.MinPoll)) {
			return
		}
	}
}

// finish ends this owner, so that nobody waits a lease for what it may have left. Claims whose replies were lost go back
// uncharged: only what can't be written counts as a crash.
func (p *pulse) finish(ctx context.Context) {
	p.mu.Lock()
	p.count++ // one more: whether the last one arrived is not known
	name, count := p.name, p.count
	p.mu.Unlock()
	err := retry.Do(ctx, opTimeout, func(ctx context.Context) error {
		owned, err := p.e.store.Owned(ctx, name)
		if err != nil || len(owned) == 0 {
			return err
		}
		settles := make([]backend.Settle, len(owned))
		for i, o := range owned {
			settles[i] = giveBack(o)
		}
		return p.e.settleAll(ctx, settles)
	})
	p.e.leave("give claims back", name, err)
	var freed []Task
	err = retry.Do(ctx, opTimeout, func(ctx context.Context) (err error) {
		if err = p.e.store.Beat(ctx, name, count); err == nil {
			freed, err = p.e.store.ExpireOwner(ctx, name, count, p.e.app.settings.maxCrashes)
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
	tick := time.NewTicker(p.span(beatEvery))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-p.hurry:
		case <-ctx.Done():
			return
		}
		opCtx, cancel := context.WithTimeout(ctx, p.lease/4)
		err := p.beat(opCtx)
		cancel()
		if ctx.Err() == nil {
			p.heard(err)
		}
		p.giveUp()
		p.e.signalPools() // they may have waited for a beat to be accepted
	}
}

// beat raises the counter. A conviction is no error: this process goes on under another name.
func (p *pulse) beat(ctx context.Context) error {
	p.mu.Lock()
	p.count++
	name, count, sent := p.name, p.count, time.Now()
	p.sent = sent
	p.mu.Unlock()
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
	p.refunds = append(p.refunds, name)
	p.mu.Unlock()
	p.e.log.Error("this process was taken for dead; what it runs is stopped", "owner", name)
	p.e.cancelRuns(func(*attempt) error { return ErrLeaseLost })
	p.beatSoon() // nothing is claimed before the new owner is heard
	p.auditNow()
}

// refund takes back what was counted against tasks when this process was declared dead: they didn't kill it.
func (p *pulse) refund(ctx context.Context) {
	p.mu.Lock()
	names := p.refunds
	p.mu.Unlock()
	for _, name := range names {
		opCtx, cancel := context.WithTimeout(ctx, p.lease/4)
		err := p.e.store.Refund(opCtx, name)
		cancel()
		if err != nil {
			return // next second again
		}
		p.mu.Lock()
		p.refunds = slices.DeleteFunc(slices.Clone(p.refunds), func(n string) bool { return n == name })
		p.mu.Unlock()
		for _, pool := range p.e.pools { // what was suspected may run together with anything again
			pool.lookSoon()
		}
	}
}
