package backend

import "time"

// KeptAttempts is how many attempts Task.Attempts has at most, the last ones.
const KeptAttempts = 10

// An Attempt is an attempt of a task that has ended. Times are of the store's clock.
type Attempt struct {
	Attempt  int            `json:"attempt"` // as Task.Attempt was while it ran
	Fence    int64          `json:"fence"`
	Instance string         `json:"instance,omitempty"` // "" if it was claimed by a version that did not tell
	IP       string         `json:"ip,omitempty"`
	Started  time.Time      `json:"started"`
	Ended    time.Time      `json:"ended"`
	Outcome  AttemptOutcome `json:"outcome"`
	Code     Code           `json:"code,omitempty"`    // of its error
	Message  string         `json:"message,omitempty"` // of its error, at most MaxAttemptMessage bytes
	// Trace is the traceparent of its span, from Settle.Trace. It is "" without an instrument, if the span was not
	// sampled, and if the attempt was lost. It comes from another process: check it before use.
	Trace string `json:"trace,omitempty"`
}

// MaxAttemptMessage is the limit of Attempt.Message, in bytes.
const MaxAttemptMessage = 512

// An AttemptOutcome is how an attempt has ended.
type AttemptOutcome string

const (
	AttemptSucceeded AttemptOutcome = "success"
	AttemptFailed    AttemptOutcome = "failed"   // with an error, whether or not another attempt follows
	AttemptStopped   AttemptOutcome = "stopped"  // on request
	AttemptReturned  AttemptOutcome = "returned" // not charged: snoozed, released at shutdown, payload of another version
	AttemptLost      AttemptOutcome = "lost"     // its process died or was declared dead
)

// OutcomeOf returns the outcome of an attempt that was settled.
func OutcomeOf(settled Status) AttemptOutcome {
	switch settled {
	case StatusSuccess:
		return AttemptSucceeded
	case StatusStopped:
		return AttemptStopped
	case StatusWaiting:
		return AttemptReturned
	default:
		return AttemptFailed
	}
}

// NewAttempt returns the attempt that runs a task, as it has ended. t is the task while it runs. why is the error that
// the task gets by it, or nil: a task that is returned only gets one with PayloadWrongVersion, and one that is lost
// only if it fails. The store sets Trace.
func NewAttempt(t *Task, ended time.Time, outcome AttemptOutcome, why *TaskError) Attempt {
	a := Attempt{Attempt: t.Attempt, Fence: t.Fence, Instance: t.Instance, IP: t.IP, Started: t.Started, Ended: ended,
		Outcome: outcome}
	if why != nil {
		a.Code, a.Message = why.Code, Text(why.Message, MaxAttemptMessage)
	}
	return a
}

// AppendAttempt returns the attempts of a task with another one.
func AppendAttempt(attempts []Attempt, a Attempt) []Attempt {
	if n := len(attempts) + 1 - KeptAttempts; n > 0 {
		attempts = attempts[n:]
	}
	return append(attempts[:len(attempts):len(attempts)], a)
}
