package backend

import (
	"fmt"
	"time"
)

// A Suspect is evidence that a task may have killed the processes that ran it. It is immutable.
type Suspect struct {
	// Losses is the number of owners in a row that were lost while they ran the task.
	Losses int `json:"losses"`
	// For is how long the last of them had run the task.
	For time.Duration `json:"for"`
	// Cleared is 0 while the task is suspected. A task that has run for longer than Test in a process that was lost
	// together with another suspect is cleared, and the other one is charged. Cleared counts such losses.
	Cleared int `json:"cleared,omitempty"`
	// Owner is the last lost owner. Charged reports whether its loss was charged to the task.
	Owner   string `json:"owner,omitempty"`
	Charged bool   `json:"charged,omitempty"`
}

// Test returns how long the task must run, without another suspect in the same process, until it is no longer
// suspected.
func (s *Suspect) Test() time.Duration { return 2 * s.For }

// Suspected reports whether the task may have killed its last owner. A process runs at most one such task at a time.
func (t *Task) Suspected() bool { return t.Suspect != nil && t.Suspect.Cleared == 0 }

const (
	// heartbeat is the interval of owners' heartbeats.
	heartbeat = time.Second
	// leastSuspicion is the minimum of Suspect.For. Shorter durations depend on how busy the machine was.
	leastSuspicion = 200 * time.Millisecond
	// suspectWait is how long a suspect waits after its second loss. It doubles with each loss, up to maxSuspectWait.
	// After the first loss it doesn't wait, because few processes are killed by a task.
	suspectWait    = time.Second
	maxSuspectWait = 5 * time.Minute
)

// A Loss is the effect of an owner's death on the tasks that it ran (row 7). It is decided once, from all of these
// tasks, and then applied to each. A store that can't apply it atomically must store the Loss.
//
// When an owner is lost, all of its tasks become suspects and none is charged. Only if exactly one of them was a
// suspect before and is not cleared, that one is charged. Cleared tasks then stay cleared, at most as many times as it
// takes to fail a task. So a task that kills its process fails after MaxCrashes+1 losses, and no other task fails with
// it.
type Loss struct {
	Owner      string
	Alive      time.Time // when the owner was last known to be alive
	Dead       time.Time // when it must have died at the latest
	Charged    string    // the task that is charged; "" if there is none
	MaxCrashes int       // for tasks whose claim didn't set it
	Void       bool      // no task is charged or suspected, since the owner was draining or is alive
}

// NewLoss decides the effect of the loss of an owner on the tasks that it ran. lastBeat is when the owner's counter
// last rose, or zero if unknown, and at is when it was declared dead. Both are of the store's clock, as is Started.
func NewLoss(owner string, ran []Task, lastBeat, at time.Time, maxCrashes int) Loss {
	l := Loss{Owner: owner, Alive: lastBeat, Dead: at, MaxCrashes: maxCrashes}
	for i := range ran {
		if ran[i].Started.After(l.Alive) {
			l.Alive = ran[i].Started // it was alive when it claimed
		}
	}
	if soon := l.Alive.Add(heartbeat); !lastBeat.IsZero() && soon.Before(at) {
		l.Dead = soon
	}
	suspects := 0
	for i := range ran {
		if ran[i].Suspected() && !l.clears(&ran[i]) {
			suspects++
			l.Charged = ran[i].ID
		}
	}
	if suspects != 1 {
		l.Charged = ""
	}
	return l
}

// clears reports whether the owner is known to have run a suspect for long enough.
func (l *Loss) clears(t *Task) bool {
	return t.Suspect != nil && (t.Suspect.Cleared > 0 || l.Alive.Sub(t.Started) >= t.Suspect.Test())
}

// Free ends the owner's claim on a task: it changes t, which then waits or has failed, and returns for how long t may
// not be claimed. The store sets Ended and RunAt.
func (l *Loss) Free(t *Task) (wait time.Duration) {
	t.Status = StatusWaiting
	t.Attempt--
	if l.Void {
		return 0
	}
	var s Suspect
	if t.Suspect != nil {
		s = *t.Suspect
	}
	most := t.MaxCrashes
	if most == 0 {
		most = l.MaxCrashes
	}
	if l.Charged != "" && l.Charged != t.ID && l.clears(t) && s.Cleared < most {
		s.Cleared++
		t.Suspect = &s
		return 0
	}
	s.Losses++
	s.For = max(l.Dead.Sub(t.Started), leastSuspicion)
	s.Cleared = 0
	s.Owner, s.Charged = l.Owner, l.Charged == t.ID
	t.Suspect = &s
	if s.Charged {
		t.Crashes++
		if t.Crashes >= most {
			t.Status = StatusFailed
			t.Error = &TaskError{Code: ErrInternal, Message: fmt.Sprintf("%d processes died while running the task", t.Crashes)}
			return 0
		}
	}
	if s.Losses == 1 {
		return 0
	}
	return min(suspectWait<<min(s.Losses-2, 30), maxSuspectWait)
}

// Refund reverts the effect of the loss of an owner on a task. It returns false if there was none. Final tasks are not
// changed.
func (t *Task) Refund(owner string) bool {
	if t.Status.Final() || t.Suspect == nil || t.Suspect.Owner != owner {
		return false
	}
	s := *t.Suspect
	if s.Charged {
		t.Crashes--
	}
	s.Losses--
	s.Owner, s.Charged = "", false
	t.Suspect = &s
	if s.Losses <= 0 {
		t.Suspect = nil
	}
	return true
}
