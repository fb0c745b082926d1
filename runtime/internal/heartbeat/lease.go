package heartbeat

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// At no instant do two processes run one task with contexts that have not ended. A process that is declared dead may be alive, so
// for each kind of evidence against an owner the owner itself cancels what it runs before the failure detector of another process
// may act on it:
//
//	evidence       declared dead after                            the owner has cancelled, since
//	lease          the counter unchanged for the owner's lease    it cancels cancelAfter(lease) after its last accepted heartbeat
//	absence        the counter unchanged for absentAfter, and     others may be unable to see it (backend.ConnectionChecker), and it cancels
//	               not connected for absentFor, both at once      unseenAfter after its last accepted heartbeat
//	process lock   its process has ended                          its contexts ended with it
//
// A redelivered hint is no evidence: it only makes the failure detector look sooner. All times are measured from when the owner sent
// the heartbeat and from when the detector saw its effect, each on its own monotonic clock; inTime is the inequality that allows for
// what clocks and schedulers do. Handlers that ignore the end of their contexts are the exception; those that run in a process of
// their own (isolation=process) are killed.
const (
	// DefaultLease and MinLease are for how long an owner may be silent, by default and at least.
	DefaultLease = 10 * time.Second
	MinLease     = 3 * time.Second

	// absentAfter is for how long the counter of an owner that is not connected must have been unchanged, and absentFor for how
	// long it must have been seen to be unconnected: the notice of a connection that was closed takes a moment to arrive.
	absentAfter = 2*Every + Every/4
	absentFor   = Every / 2
	// unseenAfter is how long a process that others may be unable to see runs on without an accepted heartbeat.
	unseenAfter = 2*Every - Every/5
	// guardEvery is how late the guard may notice that others can't see this process, or cancel what it runs.
	guardEvery = Every / 4
	// clockError is by how much the rate of a clock may be wrong, in percent.
	clockError = 2
)

// cancelAfter is how long a process runs on without an accepted heartbeat.
func cancelAfter(lease time.Duration) time.Duration { return lease * 8 / 10 }

// inTime reports whether an owner that cancels what it runs so long after its last heartbeat has done so before others declare it
// dead, on clocks that are wrong by clockError in opposite directions.
func inTime(cancels, declared time.Duration) bool {
	return cancels*(100+clockError)/100+guardEvery <= declared*(100-clockError)/100
}

// CheckLease refuses a lease that is too short for the inequality, or for the heartbeats in it.
func CheckLease(lease time.Duration) *backend.Error {
	if lease < MinLease || !inTime(cancelAfter(lease), lease) {
		return backend.Errorf(backend.ErrInvalidArgument, "a lease of %v is too short: at least %v", lease, MinLease)
	}
	return nil
}

// ownerName is the name of the nth owner that an instance is. A lease other than the default is part of it, so that others go by
// the lease that this process keeps to.
func ownerName(instance string, n int, lease time.Duration) string {
	name := instance + "-" + strconv.Itoa(n)
	if lease != DefaultLease {
		name += leaseMark + strconv.FormatInt(lease.Milliseconds(), 10)
	}
	return name
}

const leaseMark = "l"

// InstanceOf returns the id of the instance that an owner is of.
func InstanceOf(owner string) string { return owner[:max(0, strings.LastIndexByte(owner, '-'))] }

// leaseOf returns the lease of an owner, or otherwise if its name doesn't say.
func leaseOf(owner string, otherwise time.Duration) time.Duration {
	_, ms, _ := strings.Cut(owner[len(InstanceOf(owner)):], leaseMark)
	if n, err := strconv.ParseInt(ms, 10, 64); err == nil && n > 0 && n <= int64(maxLease/time.Millisecond) {
		return time.Duration(n) * time.Millisecond
	}
	return otherwise
}

// maxLease bounds what a name in the store may say.
const maxLease = 24 * time.Hour

// span returns d as the clock of this process measures it.
func (h *Heartbeat) span(d time.Duration) time.Duration {
	if rate := h.ClockRate; rate > 0 {
		return time.Duration(float64(d) / rate)
	}
	return d
}

// visible is the transport's Visible. blind reports that the transport sees no instances, so that absence is no evidence.
func (h *Heartbeat) visible() (since time.Time, changed <-chan struct{}, blind bool) {
	l, ok := h.Transport.(backend.ConnectionChecker)
	if !ok {
		return time.Time{}, nil, true
	}
	since, changed = l.Visible()
	return since, changed, false
}

// deadline returns when what runs here must be cancelled unless a heartbeat is accepted before. unseen reports that others may have
// been unable to see this process since its last accepted heartbeat was sent.
func (h *Heartbeat) deadline() (at time.Time, unseen bool, changed <-chan struct{}) {
	since, changed, blind := h.visible()
	h.mu.Lock()
	defer h.mu.Unlock()
	if unseen = !blind && (since.IsZero() || since.After(h.accepted)); unseen {
		return h.accepted.Add(h.span(min(unseenAfter, cancelAfter(h.Lease)))), true, changed
	}
	return h.accepted.Add(h.span(cancelAfter(h.Lease))), false, changed
}

// Holds reports whether what an owner has claimed may run here: this process still is that owner, and others can't have declared it
// dead yet.
func (h *Heartbeat) Holds(owner string) bool {
	at, _, _ := h.deadline()
	return h.Owner() == owner && time.Now().Before(at)
}

// Guard cancels what runs here before others may declare this process dead. It waits for nothing but time, so that a store or a
// transport that hangs doesn't delay it. While others may be unable to see this process it asks for heartbeats that come faster.
func (h *Heartbeat) Guard(ctx context.Context) {
	_, _, blind := h.visible()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var noticed time.Time // that it is unseen
	for {
		at, unseen, changed := h.deadline()
		left := time.Until(at)
		if left <= 0 {
			h.Cancel()
		}
		switch {
		case !unseen:
			noticed = time.Time{}
		case noticed.IsZero():
			noticed = time.Now()
		}
		if unseen && h.overdue(noticed) {
			h.beatSoon()
		}
		if left <= 0 || !blind && left > h.span(guardEvery) {
			left = h.span(guardEvery)
		}
		timer.Reset(left)
		select {
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// overdue reports whether a heartbeat should be sent out of turn, since no one was for half a period, or after a moment.
func (h *Heartbeat) overdue(after time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sent.Before(after) || time.Since(h.sent) >= h.span(Every/2)
}

// beatSoon asks for a heartbeat out of turn.
func (h *Heartbeat) beatSoon() {
	h.hurry.Set()
}
