package runtime

import (
	"context"
	"iter"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A Count is a number of tasks. Its fields:
//
//	N       int
//	AtLeast bool // there are more: counting stopped at N
type Count = backend.Count

// An Attempt is an attempt of a task that has ended: see [Task]. Its fields:
//
//	Attempt  int            // its number: attempts that were not charged may share one
//	Fence    int64
//	Instance string         // the instance that ran it
//	IP       string         // of that instance
//	Started  time.Time
//	Ended    time.Time
//	Outcome  AttemptOutcome
//	Code     Code           // of its error
//	Message  string         // of its error, at most 512 bytes
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
//	UniqueKey string
//	RetryOf   string
//	IDPrefix  string
//	Payload   []PayloadMatch // all of them
type TaskFilter = backend.TaskFilter

// A PayloadMatch is a condition on a member of a payload. Its fields:
//
//	Path  string // such as "user.id", or "items.0" for the first element of an array
//	Value string // the text of a string, or the JSON of any other value
type PayloadMatch = backend.PayloadMatch

// A QueueInfo describes a queue that has tasks, limits or a worker, or had a worker.
type QueueInfo struct {
	Name string
	// Counts has the number of tasks by status. A status without tasks is missing. On servers, up to 10,000 tasks of each
	// status are counted, and only those that have not ended; see [App.History] for those that have.
	Counts map[Status]Count
	// Oldest is since when a task has been ready to run, zero if none is: the one that has been ready for longest among the
	// first ones, by age, of each weight.
	Oldest  time.Time
	Limits  Limits
	Workers int       // instances that run the queue's worker now
	Slots   int       // tasks that these may run at once
	Running int       // tasks that these run
	Served  time.Time // when a worker was last seen, to within a day; zero if none ever was
}

// Queues returns all queues, sorted by name, so that a queue with tasks and without a worker is visible. If the
// coordinator is unavailable, it returns [ErrUnavailable].
func (a *App) Queues(ctx context.Context) ([]QueueInfo, error) {
	return nil, NewError(ErrUnimplemented, "Queues")
}

// A HistoryQuery selects history for [App.History].
type HistoryQuery struct {
	Queue string        // of one queue; "" adds up all
	From  time.Time     // zero means an hour before To
	To    time.Time     // zero means now
	Step  time.Duration // the length of a HistoryPoint: whole minutes; 0 means a minute, or an hour if From is over 2 h ago
}

// A HistoryPoint is what happened to tasks in a period, added up over all instances. An instance that dies loses at
// most its last minute. Times are of the store's clock, as the instances know it.
type HistoryPoint struct {
	Start     time.Time
	Submitted int64          // by Submit and Store, subtasks and jobs included
	Started   int64          // attempts
	Succeeded int64          // tasks
	Failed    int64          // tasks, finally
	Retried   int64          // attempts that failed and are followed by another
	Returned  int64          // attempts that were not charged
	Stopped   int64          // tasks that were stopped while they ran
	Lost      int64          // attempts whose process died
	Codes     map[Code]int64 // attempts that failed, by the code of their error
	Wait      Distribution   // from when a task was due to the start of its attempt
	Run       Distribution   // of an attempt, from its start to its end
}

// A Distribution is percentiles of durations, to within 20 %.
type Distribution struct {
	Count              int64
	P50, P90, P99, Max time.Duration
}

// History returns what happened in the recent past, oldest first: of the last 2 hours by minutes, and of the last 7
// days by hours. Each instance stores its numbers once a minute.
func (a *App) History(ctx context.Context, q HistoryQuery) ([]HistoryPoint, error) {
	return nil, NewError(ErrUnimplemented, "History")
}

// FollowLog returns the log lines of a running task as its handler writes them, in parts, beginning with the stored
// lines of earlier attempts. It ends when the task has ended, or with an error when ctx ends or lines can't be read.
// While a client follows a task, its process sends the lines about five times a second; otherwise it sends none.
func (a *App) FollowLog(ctx context.Context, id string) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) { yield(nil, NewError(ErrUnimplemented, "FollowLog")) }
}

// Observer opens an App that only reads and administers. It is no instance: it can't register services or workers, is
// not announced, reports no machine, watches for no failures and fires no jobs. It opens although the disk is full or
// the embedded file is read-only. Start is needed before it is used, as for other Apps.
func Observer() AppOption { return func(s *settings) { s.observer = true } }
