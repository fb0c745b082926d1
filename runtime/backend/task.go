package backend

import (
	"encoding/json"
	"slices"
	"time"
)

// A Status is the state of a task.
type Status string

// The last three statuses are final: the status of a task that has one never changes again.
const (
	StatusWaiting  Status = "waiting"  // stored
	StatusPending  Status = "pending"  // a hint was sent or is about to be
	StatusRunning  Status = "running"  // claimed
	StatusRetrying Status = "retrying" // an attempt failed; the next one is due at RunAt
	StatusSuccess  Status = "success"
	StatusFailed   Status = "failed"
	StatusStopped  Status = "stopped"
)

var statuses = [...]Status{
	StatusWaiting, StatusPending, StatusRunning, StatusRetrying, StatusSuccess, StatusFailed, StatusStopped,
}

// Statuses returns all statuses.
func Statuses() []Status { return slices.Clone(statuses[:]) }

// Final reports whether a task's own run has ended.
func (s Status) Final() bool {
	return s == StatusSuccess || s == StatusFailed || s == StatusStopped
}

// A Task is the document of one task, and the only source of truth about it. Times are of the store's clock.
type Task struct {
	ID      string          `json:"id"`
	Queue   string          `json:"queue"`
	Status  Status          `json:"status"`
	Weight  int             `json:"weight"`
	Payload json.RawMessage `json:"payload,omitempty"` // empty in a Head
	// Fingerprint is that of the payload type at the submitter.
	Fingerprint string          `json:"fingerprint,omitempty"`
	Result      json.RawMessage `json:"result,omitempty"` // with StatusSuccess
	// Error is the error of the last failed attempt, or the reason why the task was stopped; nil with StatusSuccess.
	Error *TaskError `json:"error,omitempty"`

	// Progress is the last progress that a running handler has reported.
	Progress json.RawMessage `json:"progress,omitempty"`
	// Progressed is when Progress was reported; zero without Progress, in a Head, and if a program stored it that is older
	// than this field.
	Progressed time.Time `json:"progressed,omitzero"`
	// Log has the last log lines of the handler, of all attempts that have ended.
	Log []string `json:"log,omitempty"`

	// Instance is the App that runs the task, or whose attempt has ended it; IP is its address. Both are empty while the
	// task waits, and if it ended without an attempt. Stopping reports that the task runs and was requested to stop. The
	// [Store] sets all three.
	Instance string `json:"instance,omitempty"`
	IP       string `json:"ip,omitempty"`
	Stopping bool   `json:"stopping,omitempty"`
	// Attempts are the last attempts that have ended, oldest first, at most KeptAttempts. It is empty in a Head.
	Attempts []Attempt `json:"attempts,omitempty"`

	Attempt int   `json:"attempt"` // attempts started and charged
	Crashes int   `json:"crashes"` // lost owners charged to the task
	Fence   int64 `json:"fence"`   // incremented by each claim

	// MaxCrashes is the number of crashes at which the task fails, set by the last claim; 0 before the first claim.
	MaxCrashes int `json:"max_crashes,omitempty"`
	// Suspect is set while the task may have killed a process that ran it.
	Suspect *Suspect `json:"suspect,omitempty"`

	// Source is the task that this one is a subtask of. Batch identifies the call to Subtasks that made it; of other tasks
	// the submission, or it is empty. OnFailure is the effect of its failure on its siblings.
	Source    string        `json:"source,omitempty"`
	Batch     string        `json:"batch,omitempty"`
	OnFailure FailurePolicy `json:"on_failure,omitempty"`
	// DoneOf is the source whose SubtasksDone this task runs; "" for all other tasks.
	DoneOf string `json:"done_of,omitempty"`
	// RetryOf is the finished task that this one retries on request, and RetriedBy the task that retries this one.
	RetryOf   string `json:"retry_of,omitempty"`
	RetriedBy string `json:"retried_by,omitempty"`
	UniqueKey string `json:"unique_key,omitempty"`
	// Spawned reports that the task has committed subtasks. The [Store] sets it in results.
	Spawned bool `json:"spawned,omitempty"`
	// Gated reports that the task is live and committed but can't start before its source's own run has succeeded. The
	// [Store] sets it in results.
	Gated bool `json:"gated,omitempty"`
	// Uncommitted reports that the task is live and its batch of subtasks is not committed yet, so it can't start. The
	// [Store] sets it in results.
	Uncommitted bool `json:"uncommitted,omitempty"`

	// Timeout is the timeout of an attempt. 0 leaves it to the worker; a negative one has passed.
	Timeout time.Duration `json:"timeout,omitempty"`
	// Retries is how many failed attempts are followed by another. nil leaves it to the worker.
	Retries *int   `json:"retries,omitempty"`
	Trace   string `json:"trace,omitempty"` // the traceparent of the submission
	// Metadata is set by the submitter: see ValidateMetadata. It must not be modified. It is empty in a Head.
	Metadata map[string]string `json:"metadata,omitempty"`

	// Allow lists the addresses and networks whose instances may run the task, as returned by Allowance; nil allows all.
	Allow []string `json:"allow,omitempty"`

	// Times are stored in nanoseconds since 1970 and clamped to [-1<<62, 1<<62-1], the years 1823 to 2116.
	Created  time.Time `json:"created"`
	RunAt    time.Time `json:"run_at"`            // not claimed before
	Deadline time.Time `json:"deadline,omitzero"` // not claimed after
	Started  time.Time `json:"started,omitzero"`  // of the last attempt
	Ended    time.Time `json:"ended,omitzero"`    // of the task's own run
	// WrongVersionSince is when the payload first failed to decode at a worker with another fingerprint; zero after it
	// decoded.
	WrongVersionSince time.Time `json:"wrong_version_since,omitzero"`

	// Subtasks is set once the last subtask has ended.
	Subtasks *SubtaskCounts `json:"subtasks,omitempty"`
}

// Head returns the task without its large fields: Payload, Result, Progress, Log, Metadata, Attempts and the details of
// Error. It has no Progressed either.
func (t *Task) Head() Task {
	h := *t
	h.Payload, h.Result, h.Progress, h.Log, h.Metadata, h.Attempts = nil, nil, nil, nil, nil, nil
	h.Progressed = time.Time{}
	if t.Error != nil && t.Error.Details != nil {
		h.Error = &TaskError{Code: t.Error.Code, Message: t.Error.Message}
	}
	return h
}

// Size returns the approximate size of the task in memory or as JSON, in bytes.
func (t *Task) Size() int {
	const rest = 1 << 10 // the other fields
	n := rest + len(t.Payload) + len(t.Result) + len(t.Progress)
	for _, line := range t.Log {
		n += len(line)
	}
	for name, value := range t.Metadata {
		n += len(name) + len(value)
	}
	for i := range t.Attempts {
		n += 200 + len(t.Attempts[i].Message) + len(t.Attempts[i].Trace)
	}
	if t.Error != nil {
		n += len(t.Error.Message) + DetailsSize(t.Error.Details)
	}
	return n
}

// A TaskError is the reason why an attempt failed.
type TaskError struct {
	Code    Code          `json:"code"`
	Message string        `json:"message"`
	Details []ErrorDetail `json:"details,omitempty"` // empty in a Head; see ValidateSettle
}

// SubtaskCounts is the summary of a finished set of subtasks.
type SubtaskCounts struct {
	Total     int       `json:"total"`
	Succeeded int       `json:"succeeded"`
	Failed    int       `json:"failed"`
	Stopped   int       `json:"stopped"`
	Finished  time.Time `json:"finished"`
}

// A FailurePolicy is the effect of a subtask's failure on its siblings.
type FailurePolicy string

const (
	IgnoreFailures  FailurePolicy = "ignore"  // failures are counted; the default
	FailFast        FailurePolicy = "fail"    // the first failure stops the siblings
	CollectFailures FailurePolicy = "collect" // SubtasksDone receives all results and errors
)
