package heartbeat

import (
	"testing"
	"time"

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

// Others use the owner's lease, which is part of its name unless it is the default.
func TestOwnerNameContainsLease(t *testing.T) {
	for _, c := range []struct {
		lease time.Duration
		want  string
	}{{DefaultLease, "AB-C-3"}, {time.Minute, "AB-C-3l60000"}, {MinLease, "AB-C-3l3000"}} {
		name := ownerName("AB-C", 3, c.lease)
		if name != c.want || InstanceOf(name) != "AB-C" || leaseOf(name, DefaultLease) != c.lease {
			t.Errorf("%v: %q of %q, %v", c.lease, name, InstanceOf(name), leaseOf(name, DefaultLease))
		}
	}
	for _, name := range []string{"", "x", "x-1", "x-1l", "x-1l-5", "x-1l0", "x-1lx", "x-1l99999999999999"} {
		if got := leaseOf(name, 7*time.Second); got != 7*time.Second {
			t.Errorf("%q: %v", name, got)
		}
	}
}
