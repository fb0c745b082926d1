package backend

import (
	"fmt"
	"time"
)

// A Suspect is what is known of a task that may have killed the processes that ran it. It is replaced, never modified.
type Suspect struct {
	// Losses is how many owners were lost in a row while they ran it.
	Losses int `json:"losses"`
	// For is how long the last of them had lived with it.
	For time.Duration `json:"for"`
	// Cleared is 0 while the task is suspected. Once it has run for longer than Test in a process that was lost with another
	// suspect, that one is charged and this one is not suspected any more; Cleared then counts such losses.
	Cleared int `json:"cleared,omitempty"`
	// Owner is the last of the lost owners, and Charged tells whether its loss was charged to the task.
	Owner   string `json:"owner,omitempty"`
	Charged bool   `json:"charged,omitempty"`
}

// Test returns for how long the task must run, with no other suspect beside it, until it isn't suspected any more.
func (s *Suspect) Test() time.Duration { return 2 * s.For }

// Suspected reports whether the task may have killed its last owner. A process runs one such task at a time.
func (t *Task) Suspected() bool { return t.Suspect != nil && t.Suspect.Cleared == 0 }

const (
	// heartbeat is how often an owner is heard.
	heartbeat = time.Second
	// leastSuspicion is what a process must have lived with a task at least. What takes less is a matter of how busy the
	// machine was.
	leastSuspicion = 200 * time.Millisecond
	// suspectWait and maxSuspectWait are how long a suspect waits after its first loss, doubled with each, and at most.
	suspectWait    = time.Second
	maxSuspectWait = 5 * time.Minute
)

// A Loss is what an owner's death means for the tasks that it ran (row 7). It is decided once, from all of them, and then
// applied to each: a store that can't do that at once keeps the Loss.
//
// The rule: who is lost makes suspects of all that ran there, and charges none of them. Only if exactly one of them had been a
// suspect before, and was not cleared, that one is charged; those that were cleared stay so then, as often as it takes to
// fail a task. So a task that kills its process fails after one loss more than MaxCrashes, and alone.
type Loss struct {
	Owner      string
	Alive      time.Time // when the owner was last known to be alive
	Dead       time.Time // by when it must have died
	Charged    string    // the task that is charged; "" if none is
	MaxCrashes int       // of a task whose claim didn't name it
	Void       bool      // nothing is charged or suspected: the owner was draining, or has turned out to be alive
}

// NewLoss decides what the loss of an owner means for the tasks that it ran. heard is when the owner's counter last rose,
// zero if that isn't known, and at is when it was declared dead: both by the store's clock, as Started is.
func NewLoss(owner string, ran []Task, heard, at time.Time, maxCrashes int) Loss {
	l := Loss{Owner: owner, Alive: heard, Dead: at, MaxCrashes: maxCrashes}
	for i := range ran {
		if ran[i].Started.After(l.Alive) {
			l.Alive = ran[i].Started // it lived when it claimed
		}
	}
	if soon := l.Alive.Add(heartbeat); !heard.IsZero() && soon.Before(at) {
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

// clears reports whether the owner is known to have lived with a suspect for long enough.
func (l *Loss) clears(t *Task) bool {
	return t.Suspect != nil && (t.Suspect.Cleared > 0 || l.Alive.Sub(t.Started) >= t.Suspect.Test())
}

// Free ends the owner's claim on a task, which waits or has failed then, and returns for how long it may not be claimed.
// Ended and RunAt are for the store to set.
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
			t.Error = &TaskError{Code: ErrInternal, Message: fmt.Sprintf("%d processes were lost while they ran it", t.Crashes)}
			return 0
		}
	}
	return min(suspectWait<<min(s.Losses-1, 30), maxSuspectWait)
}

// Refund takes back what the loss of an owner has counted against a task, and reports whether there was anything. A final
// task stays as it is.
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
