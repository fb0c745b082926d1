package backend

import (
	"encoding/json"
	"slices"
	"time"
)

// A Status is where a task stands.
type Status string

// The seven statuses. The last three are final: a task that has one never changes again.
const (
	StatusWaiting  Status = "waiting"  // persisted
	StatusPending  Status = "pending"  // a hint is out or about to be
	StatusRunning  Status = "running"  // claimed
	StatusRetrying Status = "retrying" // an attempt failed, the next is due at RunAt
	StatusSuccess  Status = "success"
	StatusFailed   Status = "failed"
	StatusStopped  Status = "stopped"
)

var statuses = [...]Status{
	StatusWaiting, StatusPending, StatusRunning, StatusRetrying, StatusSuccess, StatusFailed, StatusStopped,
}

// Statuses returns the seven statuses.
func Statuses() []Status { return slices.Clone(statuses[:]) }

// Final says whether a task's own run has ended.
func (s Status) Final() bool {
	return s == StatusSuccess || s == StatusFailed || s == StatusStopped
}

// A Task is the document of one task: the only truth about it. Times are the store's.
type Task struct {
	ID      string          `json:"id"`
	Queue   string          `json:"queue"`
	Status  Status          `json:"status"`
	Weight  int             `json:"weight"`
	Payload json.RawMessage `json:"payload,omitempty"` // not in what Head returns
	// Fingerprint is that of the payload's type where the task was submitted.
	Fingerprint string          `json:"fingerprint,omitempty"`
	Result      json.RawMessage `json:"result,omitempty"` // with StatusSuccess
	// Error is that of the last attempt that failed, or why the task was stopped; nil with StatusSuccess.
	Error *TaskError `json:"error,omitempty"`

	// Progress is what a running handler has said of itself last.
	Progress json.RawMessage `json:"progress,omitempty"`
	// Log has the last lines that its handler has logged, of all attempts that came to an end.
	Log []string `json:"log,omitempty"`

	Attempt int   `json:"attempt"` // attempts begun and charged
	Crashes int   `json:"crashes"` // lost owners that are charged to it
	Fence   int64 `json:"fence"`   // raised by every claim

	// MaxCrashes is by how many crashes it fails, as its last claim said; 0 before the first claim.
	MaxCrashes int `json:"max_crashes,omitempty"`
	// Suspect is set while it may have killed the process that ran it.
	Suspect *Suspect `json:"suspect,omitempty"`

	// Source is the task whose subtask this is, Batch the call to Subtasks that made it, OnFailure what its failure means
	// for its siblings.
	Source    string        `json:"source,omitempty"`
	Batch     string        `json:"batch,omitempty"`
	OnFailure FailurePolicy `json:"on_failure,omitempty"`
	// DoneOf is the source whose SubtasksDone this task is to run; "" for every other task.
	DoneOf string `json:"done_of,omitempty"`
	// RetryOf is the finished task that this one repeats by hand, and RetriedBy the task that repeats this one.
	RetryOf   string `json:"retry_of,omitempty"`
	RetriedBy string `json:"retried_by,omitempty"`
	UniqueKey string `json:"unique_key,omitempty"`
	// Spawned reports that it has subtasks that were committed. A [Store] sets it in what it returns.
	Spawned bool `json:"spawned,omitempty"`
	// Gated reports that it lives, its batch is committed, and it can't begin before its source's own run has succeeded. A [Store]
	// sets it in what it returns.
	Gated bool `json:"gated,omitempty"`

	// Timeout is that of an attempt; 0 leaves it to the worker, and less than zero is one that has passed.
	Timeout time.Duration `json:"timeout,omitempty"`
	Trace   string        `json:"trace,omitempty"` // the traceparent with which it was submitted

	// Allow are the addresses and networks, as Allowance spells them, whose instances may run it; nil is any.
	Allow []string `json:"allow,omitempty"`

	// Times are kept in nanoseconds since 1970, from -1<<62 (in 1823) to 1<<62-1 (in 2116): what is beyond is kept as the first or
	// the last of these.
	Created  time.Time `json:"created"`
	RunAt    time.Time `json:"run_at"`            // not before
	Deadline time.Time `json:"deadline,omitzero"` // not begun after
	Started  time.Time `json:"started,omitzero"`  // the last attempt
	Ended    time.Time `json:"ended,omitzero"`    // the task's own run
	// WrongVersionSince is when the payload first did not decode, at a worker whose payload has another fingerprint; zero
	// once it did.
	WrongVersionSince time.Time `json:"wrong_version_since,omitzero"`

	// Subtasks is set once the last subtask has ended.
	Subtasks *SubtaskCounts `json:"subtasks,omitempty"`
}

// Head returns the task without what may be large: its Payload, Result, Progress and Log.
func (t *Task) Head() Task {
	h := *t
	h.Payload, h.Result, h.Progress, h.Log = nil, nil, nil, nil
	return h
}

// Size is about how many bytes the task takes in memory or as JSON.
func (t *Task) Size() int {
	const rest = 1 << 10 // the fields that are never large
	n := rest + len(t.Payload) + len(t.Result) + len(t.Progress)
	for _, line := range t.Log {
		n += len(line)
	}
	if t.Error != nil {
		n += len(t.Error.Message)
	}
	return n
}

// A TaskError is why an attempt failed.
type TaskError struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

// SubtaskCounts sums up a finished set of subtasks.
type SubtaskCounts struct {
	Total     int       `json:"total"`
	Succeeded int       `json:"succeeded"`
	Failed    int       `json:"failed"`
	Stopped   int       `json:"stopped"`
	Finished  time.Time `json:"finished"`
}

// A FailurePolicy says what the failure of a subtask means for the others.
type FailurePolicy string

const (
	IgnoreFailures  FailurePolicy = "ignore"  // they are counted; the default
	FailFast        FailurePolicy = "fail"    // the first one stops the siblings
	CollectFailures FailurePolicy = "collect" // SubtasksDone gets every result and error
)
