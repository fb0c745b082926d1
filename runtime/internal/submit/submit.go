// Package submit makes tasks of the payloads and options with which they are submitted.
package submit

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/jobs"
	"github.com/afgen/afgen/runtime/internal/tasks"
)

// MaxWeight is the largest weight of a task; the smallest is -MaxWeight.
const MaxWeight = 1000

// maxName bounds an id or a key that a user chooses, in bytes.
const maxName = 255

// A Submission describes tasks of one queue. Package runtime documents the fields.
type Submission struct {
	Queue       string
	Fingerprint string // of the payload's type
	Weight      int    // the worker's
	Payloads    []json.RawMessage
	Stored      bool
	Source      string
	IsSubtasks  bool
	Trace       string
	Metadata    map[string]string
	Options     Options
}

// Options are the options of tasks. Nil and zero fields mean the worker's defaults.
type Options struct {
	ID        string
	UniqueKey string
	Batch     string
	Weight    *int
	RunAt     time.Time
	Delay     time.Duration
	Deadline  time.Time
	Timeout   time.Duration
	Retries   *int
	OnFailure backend.FailurePolicy
	Created   bool // the submitter must know which tasks it has stored
}

// Check returns an error, without an Outcome, if the submission is not valid.
func (s *Submission) Check() *backend.Error {
	for _, p := range s.Payloads {
		if len(p) > backend.MaxMessage {
			return backend.Errorf(backend.ErrResourceExhausted, "a payload for queue %q is %d bytes; at most %d are allowed",
				s.Queue, len(p), backend.MaxMessage)
		}
	}
	if err := backend.ValidateMetadata(s.Metadata); err != nil {
		return backend.Coded(err)
	}
	o := &s.Options
	for what, text := range map[string]string{"TaskID": o.ID, "UniqueKey": o.UniqueKey, "Batch": o.Batch} {
		if len(text) > maxName {
			return invalid("%s is %d bytes; at most %d are allowed", what, len(text), maxName)
		}
		if !utf8.ValidString(text) { // JSON and some stores would change it
			return invalid("%s %+q is not UTF-8", what, text)
		}
		if strings.IndexByte(text, 0) >= 0 {
			return invalid("%s %q contains a NUL byte", what, text)
		}
	}
	if strings.HasSuffix(o.ID, tasks.DoneSuffix) {
		return invalid("TaskID %q: ids that end in %s are reserved for SubtasksDone", o.ID,
			tasks.DoneSuffix)
	}
	if strings.HasPrefix(o.ID, jobs.TaskPrefix) {
		return invalid("TaskID %q: ids that begin with %s are reserved for jobs", o.ID, jobs.TaskPrefix)
	}
	if w := o.Weight; w != nil && (*w < -MaxWeight || *w > MaxWeight) {
		return invalid("weight %d out of range [-%d, %[2]d]", *w, MaxWeight)
	}
	if n := o.Retries; n != nil && (*n < 0 || *n > backend.MaxRetries) {
		return invalid("retries %d out of range [0, %d]", *n, backend.MaxRetries)
	}
	switch {
	case o.Delay < 0:
		return invalid("the delay %v is negative", o.Delay)
	case o.Delay > 0 && !o.RunAt.IsZero():
		return invalid("RunAt and Delay can't be combined")
	}
	switch o.OnFailure {
	case "", backend.IgnoreFailures, backend.FailFast, backend.CollectFailures:
	default:
		return invalid("unknown failure policy %q", o.OnFailure)
	}
	if s.IsSubtasks && (o.ID != "" || o.UniqueKey != "") {
		return invalid("Subtasks does not support TaskID and UniqueKey")
	}
	if s.IsSubtasks && o.Created {
		return invalid("Subtasks does not support Created")
	}
	if s.IsSubtasks && s.Source == "" {
		return invalid("Subtasks: the id of the source is empty")
	}
	return nil
}

func invalid(format string, args ...any) *backend.Error {
	return backend.Errorf(backend.ErrInvalidArgument, format, args...)
}

// Start describes the submission to instruments.
func (s *Submission) Start() instrument.Start {
	start := instrument.Start{Queue: s.Queue, Tasks: len(s.Payloads), Task: s.Options.ID, Source: s.Source}
	for _, p := range s.Payloads {
		start.Size += len(p)
	}
	return start
}

// Task returns the task of a payload. id is its id, unless the options have one.
func (s *Submission) Task(i int, id string) backend.NewTask {
	o := &s.Options
	t := backend.Task{
		ID: id, Queue: s.Queue, Status: backend.StatusPending, Weight: s.Weight, Payload: s.Payloads[i],
		Fingerprint: s.Fingerprint, UniqueKey: o.UniqueKey, RunAt: o.RunAt, Deadline: o.Deadline, Timeout: o.Timeout,
		Retries: o.Retries, Source: s.Source, OnFailure: o.OnFailure, Trace: s.Trace, Metadata: s.Metadata,
	}
	if o.ID != "" {
		t.ID = o.ID
	}
	if o.Created {
		t.Batch = rand.Text()
	}
	if o.Weight != nil {
		t.Weight = *o.Weight
	}
	if s.Stored || !o.RunAt.IsZero() || o.Delay > 0 || s.IsSubtasks {
		t.Status = backend.StatusWaiting
	}
	return backend.NewTask{Task: t, Delay: o.Delay, Gated: s.IsSubtasks}
}

// Subtasks returns the tasks of a batch of subtasks.
func (s *Submission) Subtasks(batch string) []backend.NewTask {
	all := make([]backend.NewTask, len(s.Payloads))
	for i := range s.Payloads {
		all[i] = s.Task(i, backend.SubtaskID(s.Source, batch, i))
		all[i].Task.Batch = batch
	}
	return all
}

// Batch returns the name of a batch of subtasks. It is the same when a handler runs again: calls counts the calls of
// the running handler of the source, or is nil outside of it. The caller must call undo if it fails, so that a repeated
// call in the same run has the same name: the failed call may have stored the batch.
func (s *Submission) Batch(calls *atomic.Int64) (batch string, undo func()) {
	undo = func() {}
	switch {
	case s.Options.Batch != "":
		return "k-" + s.Options.Batch, undo
	case calls != nil:
		n := calls.Add(1)
		return strconv.FormatInt(n, 10), func() { calls.CompareAndSwap(n, n-1) }
	}
	return rand.Text(), undo
}

// A submitError is the error of a submission that may have stored its task.
type submitError struct {
	error
	id string
}

func (e *submitError) Unwrap() error { return e.error }

// WithID returns the error of an insert with the id of the task that it may have stored.
func WithID(err error, tasks []backend.NewTask) error {
	if err != nil && len(tasks) == 1 && backend.Coded(err).Outcome == backend.OutcomeUnknown {
		return &submitError{err, tasks[0].Task.ID}
	}
	return err
}

// IDOf returns the id that [WithID] has added to an error, or "".
func IDOf(err error) string {
	if e, ok := errors.AsType[*submitError](err); ok {
		return e.id
	}
	return ""
}
