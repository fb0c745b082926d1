package heartbeat

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// No two processes ever run one task with live contexts at the same time. A process that is declared dead may be
// alive, so for each kind of evidence against an owner, the owner cancels its tasks before another process's failure
// detector may act:
//
//	evidence      declared dead after                          before that, the owner has cancelled:
//	lease         the counter unchanged for the owner's lease  cancelAfter(lease) after its last accepted heartbeat
//	absence       the counter unchanged for absentAfter and    unseenAfter after its last accepted heartbeat, because
//	              disconnected for absentFor, both at once     others may not see it (backend.ConnectionChecker)
//	process lock  its process has ended                        its contexts ended with it
//
// A redelivered hint is no evidence: it only makes the failure detector look sooner. The owner counts from sending
// the heartbeat, and the detector from seeing its effect, each on its own monotonic clock. inTime is the inequality
// that allows for clock and scheduler errors. Handlers that ignore cancellation are the exception; those that run in
// their own process (isolation=process) are killed.
//
// An outage of the store cancels nothing if it is shorter than cancelAfter(lease), less a period and the timeout of a
// heartbeat that is under way when it ends. With the default lease that covers the election of a primary by MongoDB's
// default timeouts, which takes up to 12 s after a kill.
const (
	// DefaultLease and MinLease are the default and the minimum of an owner's lease.
	DefaultLease = 20 * time.Second
	MinLease     = 3 * time.Second

	// absentAfter is how long the counter of a disconnected owner must be unchanged, and absentFor how long the owner
	// must be disconnected. The notice of a closed connection takes a moment to arrive.
	absentAfter = Every + 3*Every/5
	absentFor   = Every / 2
	// unseenAfter is how long a process that may be invisible to others continues without a successful heartbeat.
	unseenAfter = Every + Every/4
	// busyEvery is the interval of heartbeats while tasks run, if others may declare this process absent. It leaves as
	// much of unseenAfter for one more heartbeat as a connection can be lost after the last one.
	busyEvery = Every / 2
	// guardEvery bounds how late the guard notices that this process is invisible, or cancels its tasks.
	guardEvery = Every / 4
	// clockError is the maximum error of a clock's rate, in percent.
	clockError = 2

	// maxTimeout bounds one heartbeat, so that several fit into any usual lease.
	maxTimeout = 2 * time.Second
)

// Timeout returns the timeout of a heartbeat, and of other operations that are repeated until they succeed.
func Timeout(lease time.Duration) time.Duration { return min(maxTimeout, lease/4) }

// cancelAfter is how long a process continues without a successful heartbeat.
func cancelAfter(lease time.Duration) time.Duration { return lease * 8 / 10 }

// inTime reports whether an owner that cancels after the duration cancels has done so before others declare it dead,
// with clocks that are wrong by clockError in opposite directions.
func inTime(cancels, declared time.Duration) bool {
	return cancels*(100+clockError)/100+guardEvery <= declared*(100-clockError)/100
}

// CheckLease returns an error if a lease is too short for the inequality or for its heartbeats.
func CheckLease(lease time.Duration) *backend.Error {
	if lease < MinLease || !inTime(cancelAfter(lease), lease) {
		return backend.Errorf(backend.ErrInvalidArgument, "lease %v is too short, want at least %v", lease, MinLease)
	}
	return nil
}

// ownerName returns the name of an instance's nth owner. It contains the lease, so that others use this process's.
func ownerName(instance string, n int, lease time.Duration) string {
	return instance + "-" + strconv.Itoa(n) + absentMark + leaseMark + strconv.FormatInt(lease.Milliseconds(), 10)
}

const (
	leaseMark = "l"
	// absentMark is in the names of owners that cancel unseenAfter their last heartbeat. Those of earlier versions
	// continued for longer.
	absentMark = "a"

	// unmarkedLease and unmarkedAbsentAfter apply to owners of earlier versions. Those had a mark for another lease
	// than the default, and none for absence.
	unmarkedLease       = 10 * time.Second
	unmarkedAbsentAfter = 2*Every + Every/4
)

// InstanceOf returns the instance id of an owner.
func InstanceOf(owner string) string { return owner[:max(0, strings.LastIndexByte(owner, '-'))] }

// LeaseOf returns the lease of an owner, which is in its name.
func LeaseOf(owner string) time.Duration {
	_, ms, _ := strings.Cut(owner[len(InstanceOf(owner)):], leaseMark)
	if n, err := strconv.ParseInt(ms, 10, 64); err == nil && n > 0 && n <= int64(maxLease/time.Millisecond) {
		return time.Duration(n) * time.Millisecond
	}
	return unmarkedLease
}

// absentAfterOf returns how long the owner's counter must be unchanged until absence is evidence.
func absentAfterOf(owner string) time.Duration {
	marks, _, _ := strings.Cut(owner[len(InstanceOf(owner)):], leaseMark)
	if strings.HasSuffix(marks, absentMark) {
		return absentAfter
	}
	return unmarkedAbsentAfter
}

// maxLease bounds the lease in a name from the store.
const maxLease = 24 * time.Hour

// span returns d as measured by this process's clock.
func (h *Heartbeat) span(d time.Duration) time.Duration {
	if rate := h.ClockRate; rate > 0 {
		return time.Duration(float64(d) / rate)
	}
	return d
}

// visible is the transport's Visible. blind reports that the transport sees no instances, so absence isn't evidence.
func (h *Heartbeat) visible() (since time.Time, changed <-chan struct{}, blind bool) {
	l, ok := h.Transport.(backend.ConnectionChecker)
	if !ok {
		return time.Time{}, nil, true
	}
	since, changed = l.Visible()
	return since, changed, false
}

// deadline returns when running tasks must be cancelled unless a heartbeat succeeds before. unseen reports that this
// process may have been invisible to others since it sent its last successful heartbeat.
func (h *Heartbeat) deadline() (at time.Time, unseen bool, changed <-chan struct{}) {
	since, changed, blind := h.visible()
	h.mu.Lock()
	defer h.mu.Unlock()
	if unseen = !blind && (since.IsZero() || since.After(h.accepted)); unseen {
		return h.accepted.Add(h.span(min(unseenAfter, cancelAfter(h.Lease)))), true, changed
	}
	return h.accepted.Add(h.span(cancelAfter(h.Lease))), false, changed
}

// Holds reports whether tasks claimed by owner may run here: this process is still that owner, and others can't have
// declared it dead yet.
func (h *Heartbeat) Holds(owner string) bool {
	at, _, _ := h.deadline()
	return h.Owner() == owner && time.Now().Before(at)
}

// Guard cancels running tasks before others may declare this process dead. It waits only for time, so a store or
// transport that hangs doesn't delay it. While this process may be invisible, Guard requests more frequent
// heartbeats.
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

// overdue reports whether to send an extra heartbeat: the last one was sent before after, or half a period ago.
func (h *Heartbeat) overdue(after time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sent.Before(after) || time.Since(h.sent) >= h.span(Every/2)
}

// beatSoon requests an extra heartbeat.
func (h *Heartbeat) beatSoon() {
	h.hurry.Set()
}
