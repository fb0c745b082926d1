package runtime

import "github.com/afgen/afgen/runtime/backend"

// A Count is a number of tasks. Its fields:
//
//	N       int  // tasks that were counted
//	AtLeast bool // there are more: counting stopped at N
type Count = backend.Count

// An Attempt is an attempt of a task that has ended: see [Task]. Its fields:
//
//	Attempt  int            // its number: attempts that were not charged may share one
//	Fence    int64          // of its claim
//	Instance string         // the instance that ran it
//	IP       string         // of that instance
//	Started  time.Time      // by the store's clock
//	Ended    time.Time      // by the store's clock
//	Outcome  AttemptOutcome // how it has ended
//	Code     Code           // of its error
//	Message  string         // of its error, at most 512 bytes
//	Trace    string         // the traceparent of its span if that was sampled; else ""
type Attempt = backend.Attempt

// An AttemptOutcome is how an attempt has ended. Its values are [AttemptSucceeded], [AttemptFailed], [AttemptStopped],
// [AttemptReturned] and [AttemptLost].
type AttemptOutcome = backend.AttemptOutcome

// The outcomes of attempts.
const (
	AttemptSucceeded AttemptOutcome = backend.AttemptSucceeded
	AttemptFailed    AttemptOutcome = backend.AttemptFailed   // with an error, whether or not another attempt follows
	AttemptStopped   AttemptOutcome = backend.AttemptStopped  // on request
	AttemptReturned  AttemptOutcome = backend.AttemptReturned // not charged: snoozed, or released at shutdown
	AttemptLost      AttemptOutcome = backend.AttemptLost     // its process died
)

// A TaskFilter is the conditions of a [TaskQuery] that no index serves. Its fields:
//
//	Text      string         // part of the message of the task's error, whatever the case of letters
//	Instance  string         // runs on this instance, or did last
//	UniqueKey, RetryOf string // of the task; the task that it retries
//	IDPrefix  string         // the beginning of its id
//	Payload   []PayloadMatch // all of them
//	Metadata  map[string]string // names and values that it has, among others
type TaskFilter = backend.TaskFilter

// A PayloadMatch is a condition on a member of a payload. Its fields:
//
//	Path  string // such as "user.id", or "items.0" for the first element of an array
//	Value string // the text of a string, or the JSON of any other value
type PayloadMatch = backend.PayloadMatch
