package heartbeat

import (
	"context"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
)

// For each kind of evidence and every valid lease, the owner cancels its tasks before others may act.
func TestOwnerCancelsInTime(t *testing.T) {
	for _, lease := range []time.Duration{MinLease, 4 * time.Second, DefaultLease, time.Minute, time.Hour} {
		if err := CheckLease(lease); err != nil {
			t.Errorf("%v: %v", lease, err)
		}
		if !inTime(cancelAfter(lease), lease) {
			t.Errorf("a lease of %v: cancelled after %v", lease, cancelAfter(lease))
		}
	}
	if !inTime(unseenAfter, absentAfter) {
		t.Errorf("absence: cancelled after %v, declared dead after %v", unseenAfter, absentAfter)
	}
	if !inTime(0, absentFor) {
		t.Errorf("absence: a closed connection is noticed up to %v later, and others wait %v", guardEvery, absentFor)
	}
	for _, lease := range []time.Duration{-1, 0, time.Second, MinLease - 1} {
		if err := CheckLease(lease); backend.CodeOf(err) != backend.ErrInvalidArgument {
			t.Errorf("%v: %v", lease, err)
		}
	}
}

// Others use the owner's lease, which is part of its name. Owners of earlier versions have neither mark, or only a lease,
// and cancel later when they may be invisible.
func TestOwnerNameContainsLease(t *testing.T) {
	for _, lease := range []time.Duration{DefaultLease, time.Minute, MinLease, 10 * time.Second} {
		name := ownerName("AB-C", 3, lease)
		if InstanceOf(name) != "AB-C" || LeaseOf(name) != lease || absentAfterOf(name) != absentAfter {
			t.Errorf("%v: %q of %q, %v, %v", lease, name, InstanceOf(name), LeaseOf(name), absentAfterOf(name))
		}
	}
	for _, name := range []string{"", "x", "x-1", "x-1l", "x-1l-5", "x-1l0", "x-1lx", "x-1l99999999999999"} {
		if got := LeaseOf(name); got != 10*time.Second {
			t.Errorf("%q: a lease of %v", name, got)
		}
	}
	for _, name := range []string{"", "x", "a-1", "AB-Ca-3l60000", "x-1l3000", "x-1la"} {
		const unseenAfter = 2*Every - Every/5 // of earlier versions
		if got := absentAfterOf(name); !inTime(unseenAfter, got) {
			t.Errorf("%q: absent after %v", name, got)
		}
	}
}

// A process whose connection to the transport is lost right after a heartbeat was due has time for another one. With the
// default lease, heartbeats that hang are repeated often enough to survive an election of 12 s.
func TestOwnerHasTimeForMoreHeartbeats(t *testing.T) {
	if left := unseenAfter - busyEvery - guardEvery/2; left < Every/2 {
		t.Errorf("only %v for a heartbeat after the connection is lost", left)
	}
	const election = 12 * time.Second
	for _, lease := range []time.Duration{DefaultLease, time.Minute} {
		if least := Every + election + Timeout(lease); cancelAfter(lease) <= least {
			t.Errorf("a lease of %v: cancelled after %v, want more than %v", lease, cancelAfter(lease), least)
		}
	}
	if tries := cancelAfter(MinLease) / (Every + Timeout(MinLease)); tries < 1 {
		t.Errorf("the shortest lease has time for %d heartbeats that hang", tries)
	}
}

// connected is a transport that is connected since a time, or not at all if that is zero.
type connected struct {
	backend.Transport
	since time.Time
}

func (c *connected) Absent(context.Context, []string) ([]string, error) { return nil, nil }
func (c *connected) Visible() (time.Time, <-chan struct{})              { return c.since, nil }

var _ backend.ConnectionChecker = (*connected)(nil)

// Whatever the process claims may run, however old its last heartbeat is, and whether or not others see it. Otherwise it
// would claim a task and release it at once, as often as the store allows.
func TestProcessClaimsOnlyWhatMayRun(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const step = 10 * time.Millisecond
		for _, lease := range []time.Duration{MinLease, DefaultLease} {
			for _, rate := range []float64{0, .98, 1.02} {
				for _, transport := range []*connected{nil, {}, {since: time.Now()}, {since: time.Now().Add(time.Hour)}} {
					cfg := Config{Instance: "me", Lease: lease, ClockRate: rate}
					if transport != nil {
						cfg.Transport = transport
					}
					h := New(cfg)
					claimed := 0
					for age := time.Duration(0); age < 2*lease; age += step {
						h.accepted = time.Now().Add(-age)
						if h.CanClaim() {
							claimed++
							if !h.Holds(h.Owner()) {
								t.Fatalf("lease %v, clock rate %v, transport %+v: claims what may not run, %v after a heartbeat",
									lease, rate, transport, age)
							}
						}
					}
					if claimed < int(Every/step) {
						t.Errorf("lease %v, clock rate %v, transport %+v: claims for %v only", lease, rate, transport,
							time.Duration(claimed)*step)
					}
				}
			}
		}
	})
}
