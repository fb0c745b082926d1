package admin

import (
	"time"

	af "github.com/afgen/afgen/runtime"
)

const (
	// pollsWithin is within how much time a worker finds a due task whose wake-up message was lost.
	pollsWithin = 6 * time.Second
	// deadlineSoon is how long before its deadline a waiting task is warned about.
	deadlineSoon = time.Minute
	// silentSoon is after how long without a heartbeat, which is sent every second, a finding mentions it.
	silentSoon = 4 * time.Second
	mostPlaces = 20
)

// rules applies the rules to facts and returns what holds, the answer first: at least one finding.
func rules(f *facts) []Finding {
	t := &f.task
	switch {
	case t.Status.Final():
		return []Finding{f.ended()}
	case t.Status == af.StatusRunning:
		return runningRules(f)
	}
	c := f.claimers()
	var found []Finding
	add := func(holds bool, rule func(*claimers) Finding) {
		if holds {
			found = append(found, rule(&c))
		}
	}
	overdue := !t.Deadline.IsZero() && !t.Deadline.After(f.now)
	listed := !f.unlisted
	add(t.Uncommitted, f.uncommitted)
	add(t.Gated, f.gated)
	add(overdue, f.deadlinePassed)
	add(f.undecoded(), f.version)
	add(t.RunAt.After(f.now), f.notDue)
	add(len(f.down) > 0 && f.stopsTasks(), f.unavailable)
	add(f.limits.Paused, f.paused)
	add(listed && len(f.workers) == 0, f.noWorker)
	add(listed && len(f.workers) > 0 && len(c.live) == 0, f.allDraining)
	add(len(c.live) > 0 && len(c.allowed) == 0, f.notAllowed)
	add(len(c.fitting) > 0 && len(c.limited) == len(c.fitting), f.limitZero)
	unlimited := len(c.fitting) - len(c.limited)
	add(!f.limits.Paused && unlimited > 0 && len(c.refusing) == unlimited, f.notClaiming)
	add(!f.limits.Paused && len(c.claiming) > 0 && f.isBusy(&c), f.busy)
	add(t.Suspected(), f.suspect)
	if len(found) == 0 {
		lost := listed && f.now.Sub(f.dueSince()) > pollsWithin
		add(lost, f.hintLost)
		add(!lost, f.due)
	}
	add(!overdue && !t.Deadline.IsZero() && t.Deadline.Sub(f.now) <= deadlineSoon, f.deadline)
	return found
}

func runningRules(f *facts) (found []Finding) {
	if f.task.Stopping {
		found = append(found, f.stopping())
	}
	if !f.present {
		return append(found, f.lost())
	}
	return append(found, f.running())
}

// undecoded reports whether the task waits for a worker of its version.
func (f *facts) undecoded() bool {
	if f.task.WrongVersionSince.IsZero() || f.unlisted {
		return false
	}
	for _, w := range f.workers {
		if !w.Draining && w.Fingerprint == f.task.Fingerprint && allowed(f.task.Allow, w.Instance.IP) {
			return false
		}
	}
	return true
}

func (f *facts) stopsTasks() bool {
	for i := range f.down {
		for _, s := range f.down[i].Stops {
			if s == "tasks" {
				return true
			}
		}
	}
	return false
}

// isBusy reports whether no slot is free, or other tasks take the free ones.
func (f *facts) isBusy(c *claimers) bool {
	free := c.slots - c.taken
	return free <= 0 || f.ahead != nil && f.ahead.N >= free
}

// dueSince returns since when the task could run, as far as that is known.
func (f *facts) dueSince() time.Time {
	since := f.task.RunAt
	for _, at := range []time.Time{f.task.Created, f.limits.Changed} {
		if at.After(since) {
			since = at
		}
	}
	if n := len(f.task.Attempts); n > 0 && f.task.Attempts[n-1].Ended.After(since) {
		since = f.task.Attempts[n-1].Ended
	}
	return since
}
