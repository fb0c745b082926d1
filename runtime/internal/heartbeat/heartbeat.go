// Package heartbeat extends this process's lease and detects dead processes.
//
// # Heartbeats
//
// A process that runs tasks is an owner in the store. Every second it raises the owner's counter ([Heartbeat.Run]),
// and twice as often while tasks run, if a lost connection to the transport could be held against it.
// If its heartbeats fail, it cancels its running tasks before other processes may declare it dead
// ([Heartbeat.Guard]); lease.go has the times and the proof. After its owner was declared dead, a process continues
// as a new owner.
//
// # The failure detector
//
// If the counter of another owner is unchanged for a lease, on the observer's monotonic clock, the observer declares
// that owner dead ([Heartbeat.Detect]). If the transport no longer sees the owner's instance, about two heartbeats
// suffice, and if the store knows that the process has ended, none. No wall clocks are compared. A process whose own
// heartbeats fail declares no owner dead, because the cause may affect other processes, too.
//
// # Use
//
// Call [Heartbeat.Start] before the first claim. Then run [Heartbeat.Run], [Heartbeat.Guard] and [Heartbeat.Detect],
// each on its own goroutine, until their context ends. At shutdown call [Heartbeat.Drain], and at the end
// [Heartbeat.Finish], which removes the owner. The functions of the [Config] are called back on changes.
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

// A Config configures a Heartbeat. All fields except ClockRate, AllowUnavailable and MaxCrashes are required.
type Config struct {
	Store     backend.Store
	Transport backend.Transport
	Log       *slog.Logger
	Instance  string        // id of this instance
	Lease     time.Duration // at least [MinLease]
	ClockRate float64       // rate of this process's clock, for tests; 0 means 1
	// MaxCrashes applies to tasks whose claims didn't set it.
	MaxCrashes int
	// AllowUnavailable makes Start succeed while the store is unavailable.
	AllowUnavailable bool

	// Request runs a store operation for a caller (see retry.Requester).
	Request func(ctx context.Context, op func(context.Context) error) error
	// Unavailable logs a failed store operation that will be retried.
	Unavailable func(message string, err error)
	// Available logs that an operation that failed with err succeeds again.
	Available func(message string, err error, args ...any)

	// Busy reports whether this process runs tasks.
	Busy func() bool
	// Cancel cancels all running tasks: the lease is lost or about to expire.
	Cancel func()
	// Reconcile requests a comparison of the store's view of this process's tasks with the running ones.
	Reconcile func()
	// Moved handles the tasks of an owner that was declared dead.
	Moved func(owner string, tasks []backend.Task)
	// Beaten is called after each heartbeat, successful or not.
	Beaten func()
	// Refunded is called after crashes were refunded to tasks.
	Refunded func()
}

// A Heartbeat is this process's owner. Its methods are safe for concurrent use.
type Heartbeat struct {
	Config

	mu       sync.Mutex
	name     string // the current owner
	owners   int    // number of owners until now
	count    int64
	sent     time.Time // the last heartbeat
	accepted time.Time // when the last successful heartbeat was sent
	refusal  error     // error of the last heartbeat
	missed   time.Time // the first of the latest failed heartbeats
	since    time.Time // when heartbeats began to succeed
	refunds  []string  // owners that were declared dead although this process is alive
	leaving  bool      // this process is shutting down, and the store has not confirmed that it knows

	detector detector
	refund   signal.Signal // refunds isn't empty
	alarms   signal.Signal // a hint was redelivered
	hurry    signal.Signal // an extra heartbeat is requested
}

// Every is the interval of heartbeats.
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
	h.accepted = time.Time{} // nothing is claimed before the store knows the new owner
	h.name = ownerName(h.Instance, h.owners, h.Lease)
}

// Owner returns the name of the current owner.
func (h *Heartbeat) Owner() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.name
}

// CanClaim reports whether this process may claim tasks now. Otherwise it may after a heartbeat has succeeded. Tasks that
// it claims then may run: if their contexts were cancelled at once ([Heartbeat.Holds]), it would release and claim them
// again and again.
func (h *Heartbeat) CanClaim() bool {
	at, _, _ := h.deadline()
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Before(at) && time.Since(h.accepted) < h.span(h.Lease/2)
}

// storeFast reports whether the store accepts heartbeats quickly. Otherwise a late heartbeat says little about its
// sender.
func (h *Heartbeat) storeFast() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.accepted) < Every+Every/2
}

// StoreLost reports whether no heartbeat has succeeded for a lease.
func (h *Heartbeat) StoreLost() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.accepted.IsZero() && time.Since(h.accepted) > h.Lease
}

// Start sends the first heartbeat and returns its error. With AllowUnavailable it ignores an unavailable store; then
// nothing is claimed until a heartbeat succeeds.
func (h *Heartbeat) Start(ctx context.Context) error {
	err := h.Request(ctx, h.beat)
	if err != nil && h.AllowUnavailable && ctx.Err() == nil && retry.Unavailable(err) {
		h.recordOutcome(err)
		return nil
	}
	h.since = time.Now()
	return err
}

// Renew sends another heartbeat if Start was long ago, so that the counter is fresh when tasks are claimed. Otherwise
// a redelivered hint of another process's task would make this owner a suspect.
func (h *Heartbeat) Renew(ctx context.Context) {
	h.mu.Lock()
	late := !h.accepted.IsZero() && time.Since(h.accepted) > suspectEvery
	h.mu.Unlock()
	if !late {
		return
	}
	opCtx, cancel := context.WithTimeout(ctx, Timeout(h.Lease))
	defer cancel()
	if err := h.beat(opCtx); err != nil && ctx.Err() == nil {
		h.recordOutcome(err)
	}
}

// Drain tells the store that this process is shutting down, so that no crash is charged if it is killed meanwhile. It
// returns when the store has confirmed it or ctx ends; then Finish tries again.
func (h *Heartbeat) Drain(ctx context.Context) {
	h.setLeaving(true)
	for {
		opCtx, cancel := context.WithTimeout(ctx, Timeout(h.Lease))
		err := h.Store.Drain(opCtx, h.Owner())
		cancel()
		if err == nil {
			h.setLeaving(false)
		}
		if err == nil || backend.CodeOf(err) == backend.ErrAborted || !retry.Sleep(ctx, retry.Jitter(retry.MinPoll)) {
			return
		}
	}
}

func (h *Heartbeat) setLeaving(leaving bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leaving = leaving
}

// Finish removes this owner, so that other processes don't wait for its lease to expire. Tasks that it still owns
// count as lost, but nothing is charged to them after Drain. It returns the store's error.
func (h *Heartbeat) Finish(ctx context.Context, timeout time.Duration) error {
	h.mu.Lock()
	h.count++ // one more, because the last one may have arrived
	name, count, leaving := h.name, h.count, h.leaving
	h.mu.Unlock()
	var freed []backend.Task
	err := retry.Do(ctx, timeout, func(ctx context.Context) (err error) {
		err = h.Store.Beat(ctx, name, count)
		if err == nil && leaving {
			err = h.Store.Drain(ctx, name)
		}
		if err == nil {
			freed, err = h.Store.ExpireOwner(ctx, name, count, h.MaxCrashes)
		}
		return err
	})
	if len(freed) > 0 {
		h.Log.Warn("tasks still running at shutdown, other instances take over", "tasks", len(freed))
	}
	return err
}

// Run sends heartbeats until ctx ends. It blocks on nothing else, so a process that is slow in other ways isn't dead.
func (h *Heartbeat) Run(ctx context.Context) {
	tick := time.NewTicker(h.span(busyEvery))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if !h.due() {
				continue
			}
		case <-h.hurry.C():
		case <-ctx.Done():
			return
		}
		opCtx, cancel := context.WithTimeout(ctx, Timeout(h.Lease))
		err := h.beat(opCtx)
		cancel()
		if ctx.Err() == nil {
			h.recordOutcome(err)
		}
		h.Beaten()
	}
}

// due reports whether to send a heartbeat at a tick.
func (h *Heartbeat) due() bool {
	if _, _, blind := h.visible(); !blind && h.Busy() {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.sent) >= h.span(Every-busyEvery/2)
}

// beat raises the counter. If the owner was declared dead, it returns nil: this process continues as a new owner.
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
		// Counted from before it was sent, since a failure detector may have seen the counter at that moment.
		h.accepted = sent
	}
	return nil
}

// Lost handles that the owner name was declared dead. If it is the current owner, Lost cancels the running tasks and
// makes this process a new owner.
func (h *Heartbeat) Lost(name string) {
	h.mu.Lock()
	if h.name != name {
		h.mu.Unlock()
		return
	}
	h.nextOwner()
	h.missed = time.Now()
	h.refunds = append(h.refunds, name)
	h.mu.Unlock()
	h.Log.Error("lease lost, cancelling running tasks", "owner", name)
	h.Cancel()
	h.beatSoon()
	h.refund.Set()
	h.Reconcile()
}

// refundTasks refunds the crashes that were charged when this process was declared dead, because it didn't crash.
func (h *Heartbeat) refundTasks(ctx context.Context) {
	h.mu.Lock()
	names := h.refunds
	h.mu.Unlock()
	for _, name := range names {
		opCtx, cancel := context.WithTimeout(ctx, Timeout(h.Lease))
		err := h.Store.Refund(opCtx, name)
		cancel()
		if err != nil {
			return // retried in a second
		}
		h.mu.Lock()
		h.refunds = slices.DeleteFunc(slices.Clone(h.refunds), func(n string) bool { return n == name })
		h.mu.Unlock()
		h.Refunded()
	}
}

// recordOutcome records the outcome of a heartbeat. It logs the first of several failures and the first success after
// them.
func (h *Heartbeat) recordOutcome(err error) {
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
		h.Unavailable("heartbeat failed, not claiming until one succeeds", err)
	case err == nil && before != nil:
		h.Available("heartbeats succeed again", before, "after", time.Since(missed).Round(time.Millisecond))
	}
}

// Condition reports whether the store accepts this process's heartbeats.
func (h *Heartbeat) Condition() backend.Condition {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := backend.Condition{
		Name: "beats", Mode: "not-claiming", Stops: []backend.Stopped{backend.StopsTasks},
		Works: "calls; submitting, if the store answers",
		Lost: "no task starts until the store accepts a heartbeat of this process; " +
			"before the lease expires, running tasks are cancelled",
		Up: true, Since: h.since,
	}
	if time.Since(h.accepted) >= h.Lease/2 {
		c.Up, c.Since, c.Cause = false, h.missed, "no heartbeat is accepted"
		if h.refusal != nil {
			c.Cause += ": " + h.refusal.Error()
		}
	}
	return c
}
