// Package heartbeat shows that this process is alive, and detects processes that are not.
//
// # Heartbeats
//
// A process that runs tasks is an owner in the store. Every second it raises the owner's counter ([Heartbeat.Run]). It stops
// what it runs before others may declare it dead, if its heartbeats are not accepted ([Heartbeat.Guard]); lease.go has the
// times and why they suffice. An owner that has been declared dead continues under another name.
//
// # The failure detector
//
// A process that sees the counter of another owner unchanged for a lease, on its own monotonic clock, declares it dead
// ([Heartbeat.Detect]). About two heartbeats are enough if the transport doesn't see that instance any more, and none if the
// store knows that the process has ended. No wall clocks are compared. A process whose own heartbeats are not accepted
// declares no other dead: what keeps it from beating may keep others, too.
//
// # Use
//
// [Heartbeat.Start] comes before the first claim. Then [Heartbeat.Run], [Heartbeat.Guard] and [Heartbeat.Detect] run, each on
// a goroutine of its own, until their context ends. [Heartbeat.Drain] comes with the shutdown and [Heartbeat.Finish] ends the
// owner. What must follow from a heartbeat elsewhere are functions of the [Config].
package heartbeat

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A Config is what a Heartbeat needs. All fields but ClockRate, AllowUnavailable and MaxCrashes are required.
type Config struct {
	Store     backend.Store
	Transport backend.Transport
	Log       *slog.Logger
	Instance  string        // id of this instance
	Lease     time.Duration // at least [MinLease]
	ClockRate float64       // of this process's clock, for tests; 0 is 1
	// MaxCrashes is for tasks whose claims didn't name theirs.
	MaxCrashes int
	// AllowUnavailable lets Start succeed while the store is unavailable.
	AllowUnavailable bool

	// Request runs an operation on the store for a caller (see retry.Requester).
	Request func(ctx context.Context, op func(context.Context) error) error
	// Unavailable logs that something failed because of the store and will be tried again.
	Unavailable func(message string, err error)
	// Available logs that the store accepts again what failed before with err.
	Available func(message string, err error, args ...any)

	// Cancel cancels everything that runs here: the lease is lost, or about to be.
	Cancel func()
	// Reconcile asks for a comparison of what the store says this process runs with what it runs.
	Reconcile func()
	// Moved handles tasks of an owner that was declared dead.
	Moved func(tasks []backend.Task)
	// Beaten is called after each heartbeat, accepted or not.
	Beaten func()
	// Refunded is called after suspicions of tasks were taken back.
	Refunded func()
}

// A Heartbeat is the owner that this process is. Its methods are safe for concurrent use.
type Heartbeat struct {
	Config

	mu       sync.Mutex
	name     string // the owner this process is now
	owners   int    // so far
	count    int64
	sent     time.Time // the last heartbeat
	accepted time.Time // when the last heartbeat that was accepted was sent
	refusal  error     // of the last heartbeat
	missed   time.Time // the first of the heartbeats refused lately
	since    time.Time // when heartbeats began to be accepted
	refunds  []string  // names under which this process was declared dead although it is alive

	detector detector
	refund   signal.Signal // set when refunds has
	alarms   signal.Signal // set when a hint was delivered again
	hurry    signal.Signal // set when a heartbeat is wanted out of turn
}

// Every is the time between two heartbeats.
const Every = time.Second

// New returns a Heartbeat that has not started.
func New(cfg Config) *Heartbeat {
	h := &Heartbeat{
		Config:   cfg,
		detector: detector{watched: map[string]watch{}},
		refund:   signal.New(), alarms: signal.New(), hurry: signal.New(),
	}
	h.nextOwner()
	return h
}

// nextOwner makes this process a new owner.
func (h *Heartbeat) nextOwner() {
	h.owners++
	h.count = 0
	h.name = ownerName(h.Instance, h.owners, h.Lease)
}

// Owner returns the name of the owner that this process is now.
func (h *Heartbeat) Owner() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.name
}

// CanClaim reports whether a claim made now could be kept.
func (h *Heartbeat) CanClaim() bool {
	if _, unseen, _ := h.deadline(); unseen && !h.storeFast() {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.accepted) < h.span(h.Lease/2)
}

// storeFast reports whether the store is quick to accept heartbeats. If it isn't, a late heartbeat says little about its
// sender.
func (h *Heartbeat) storeFast() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.accepted) < Every+Every/2
}

// StoreLost reports whether the store has accepted no heartbeat for a lease.
func (h *Heartbeat) StoreLost() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.accepted.IsZero() && time.Since(h.accepted) > h.Lease
}

// Start sends the first heartbeat. It fails if the store doesn't accept it, unless the App may start without: then nothing
// is claimed until a heartbeat is accepted.
func (h *Heartbeat) Start(ctx context.Context) error {
	err := h.Request(ctx, h.beat)
	if err != nil && h.AllowUnavailable && ctx.Err() == nil && retry.Unavailable(err) {
		h.note(err)
		return nil
	}
	h.since = time.Now()
	return err
}

// Renew sends another heartbeat if Start was long ago, so that the counter is young when tasks are claimed: a hint that was
// delivered again after the end of another process would make its owner a suspect.
func (h *Heartbeat) Renew(ctx context.Context) {
	h.mu.Lock()
	late := !h.accepted.IsZero() && time.Since(h.accepted) > suspectEvery
	h.mu.Unlock()
	if !late {
		return
	}
	opCtx, cancel := context.WithTimeout(ctx, h.Lease/4)
	defer cancel()
	if err := h.beat(opCtx); err != nil && ctx.Err() == nil {
		h.note(err)
	}
}

// Drain tells the store that this process shuts down: if it is killed before that is over, no crash is charged. It returns
// when the store knows, or ctx ends.
func (h *Heartbeat) Drain(ctx context.Context) {
	for {
		opCtx, cancel := context.WithTimeout(ctx, h.Lease/4)
		err := h.Store.Drain(opCtx, h.Owner())
		cancel()
		if err == nil || backend.CodeOf(err) == backend.ErrAborted || !retry.Sleep(ctx, retry.Jitter(retry.MinPoll)) {
			return
		}
	}
}

// Finish ends this owner, so that no other process waits a lease for what it may have left. What it still owns counts as
// lost. It returns the error of the store.
func (h *Heartbeat) Finish(ctx context.Context, timeout time.Duration) error {
	h.mu.Lock()
	h.count++ // one more: whether the last one arrived is not known
	name, count := h.name, h.count
	h.mu.Unlock()
	var freed []backend.Task
	err := retry.Do(ctx, timeout, func(ctx context.Context) (err error) {
		if err = h.Store.Beat(ctx, name, count); err == nil {
			freed, err = h.Store.ExpireOwner(ctx, name, count, h.MaxCrashes)
		}
		return err
	})
	if len(freed) > 0 {
		h.Log.Warn("tasks were left behind; they go on elsewhere", "tasks", len(freed))
	}
	return err
}

// Run sends heartbeats until ctx ends. Nothing in it waits for anything but a heartbeat: a process that is slow at the rest
// is not dead.
func (h *Heartbeat) Run(ctx context.Context) {
	tick := time.NewTicker(h.span(Every))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-h.hurry.C():
		case <-ctx.Done():
			return
		}
		opCtx, cancel := context.WithTimeout(ctx, h.Lease/4)
		err := h.beat(opCtx)
		cancel()
		if ctx.Err() == nil {
			h.note(err)
		}
		h.Beaten()
	}
}

// beat raises the counter. To have been declared dead is no error: this process continues as another owner.
func (h *Heartbeat) beat(ctx context.Context) error {
	h.mu.Lock()
	h.count++
	name, count, sent := h.name, h.count, time.Now()
	h.sent = sent
	h.mu.Unlock()
	err := h.Store.Beat(ctx, name, count)
	if backend.CodeOf(err) == backend.ErrAborted {
		h.Lost(name)
		return nil
	}
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.name == name {
		// Counted from before it was sent: a failure detector may have seen it right then.
		h.accepted = sent
	}
	return nil
}

// Lost cancels what runs here if name is the owner that this process is, since it has been declared dead, and makes this
// process another owner.
func (h *Heartbeat) Lost(name string) {
	h.mu.Lock()
	if h.name != name {
		h.mu.Unlock()
		return
	}
	h.nextOwner()
	h.refunds = append(h.refunds, name)
	h.mu.Unlock()
	h.Log.Error("this process was taken for dead; what it runs is stopped", "owner", name)
	h.Cancel()
	h.beatSoon() // nothing is claimed before the new owner is known
	h.refund.Set()
	h.Reconcile()
}

// refundTasks takes back what was counted against tasks when this process was declared dead: they didn't kill it.
func (h *Heartbeat) refundTasks(ctx context.Context) {
	h.mu.Lock()
	names := h.refunds
	h.mu.Unlock()
	for _, name := range names {
		opCtx, cancel := context.WithTimeout(ctx, h.Lease/4)
		err := h.Store.Refund(opCtx, name)
		cancel()
		if err != nil {
			return // again in a second
		}
		h.mu.Lock()
		h.refunds = slices.DeleteFunc(slices.Clone(h.refunds), func(n string) bool { return n == name })
		h.mu.Unlock()
		h.Refunded()
	}
}

// note keeps the outcome of a heartbeat, and logs the first of several that were not accepted and the first that is again.
func (h *Heartbeat) note(err error) {
	h.mu.Lock()
	before := h.refusal
	if h.refusal = err; err == nil && before != nil {
		h.since = time.Now()
	} else if err != nil && before == nil {
		h.missed = time.Now()
	}
	missed := h.missed
	h.mu.Unlock()
	switch {
	case err != nil && before == nil:
		h.Unavailable("a beat was not accepted; nothing is claimed until one is", err)
	case err == nil && before != nil:
		h.Available("beats are accepted again", before, "after", time.Since(missed).Round(time.Millisecond))
	}
}

// Condition reports whether the store accepts the heartbeats of this process.
func (h *Heartbeat) Condition() backend.Condition {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := backend.Condition{
		Name: "beats", Mode: "not-claiming", Stops: []backend.Stopped{backend.StopsTasks},
		Works: "calls; submitting, where the store answers at all",
		Lost:  "no task is begun until the store takes a sign of life of this process; after most of a lease what runs is stopped",
		Up:    true, Since: h.since,
	}
	if time.Since(h.accepted) >= h.Lease/2 {
		c.Up, c.Since, c.Cause = false, h.missed, "no beat is accepted"
		if h.refusal != nil {
			c.Cause += ": " + h.refusal.Error()
		}
	}
	return c
}
