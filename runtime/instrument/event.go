package instrument

import (
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A Kind is a kind of [Event].
type Kind string

// The kinds of events. After each, the fields of the Event that it has.
const (
	// TaskEnded: a task has a final status. Each end is observed by one App: the one that has stored it. It may be
	// observed twice if the store was unavailable, and is not if that App's process dies at this moment.
	//
	// Queue, Task, Status, Code, Attempt, Duration (since the submission).
	TaskEnded Kind = "task ended"

	// AttemptLost: the attempt of a task has ended without a result, since its process has died or was declared dead. The
	// App that has noticed it observes it. If the process still lives, it observes the end of the attempt, too.
	//
	// Queue, Task, Attempt, Fence, Owner, Status (what the task has become), Code (if it failed by that), Metadata (of the
	// task, with the traceparent of its submission), Duration (from the submission of the task until it was claimed).
	AttemptLost Kind = "attempt lost"

	// OwnerExpired: an instance that runs tasks is declared dead. The App that has noticed it observes it.
	//
	// Owner, Tasks (which it ran).
	OwnerExpired Kind = "owner expired"

	// JobFired: a due time of a job has submitted a task.
	//
	// Queue, Job, Task, Duration (after the due time).
	JobFired Kind = "job fired"

	// JobSkipped: a due time of a job has submitted no task.
	//
	// Queue, Job, Reason, Tasks (number of due times), Duration (after the last of them).
	JobSkipped Kind = "job skipped"

	// ModeEntered: something that the App depends on is down: a condition of App.Health. Conditions are compared once a
	// second.
	//
	// Mode, Condition, Cause.
	ModeEntered Kind = "mode entered"

	// ModeLeft: it is up again.
	//
	// Mode, Condition, Duration (since ModeEntered).
	ModeLeft Kind = "mode left"

	// Claimed: a pool has requested tasks from the store.
	//
	// Queue, Tasks (which it got), Code (if it failed), Duration (of the request with its retries).
	Claimed Kind = "claimed"

	// Settled: results of attempts were written to the store, or could not be.
	//
	// Tasks (results in the request), Backlog, Code (if it failed), Duration (of the request).
	Settled Kind = "settled"

	// LogLost: log records were lost: see [Load.LostLogs]. They are counted once a second.
	//
	// Reason, Records.
	LogLost Kind = "log lost"
)

// An Event is something that has happened. Fields that its [Kind] does not name are zero.
type Event struct {
	Kind     Kind
	Instance string // id of the App that observes

	Queue  string
	Task   string // id
	Job    string // id
	Owner  string // id of an instance, and the number of its lease
	Status backend.Status
	Code   backend.Code // "" if there is no error

	Attempt int   // number of the attempt; of an ended task, the number of those that were charged
	Fence   int64 // of the attempt

	Tasks    int
	Backlog  int           // results that are not written, including those of the event
	Duration time.Duration // not negative

	Mode      string // such as rabbitmq-down
	Condition string // the name of the condition, such as rabbitmq
	Cause     string // why it is down. May have addresses, and so many values: no attribute of a metric
	Reason    string // why a due time was skipped, or log records were lost: one of few
	Records   int64  // that were lost since the last event

	Metadata map[string]string // must not be modified
}
