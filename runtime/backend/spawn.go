package backend

import (
	"errors"
	"strconv"
)

// A Spawn commits a batch of subtasks.
type Spawn struct {
	Source string
	Batch  string
	Now    bool  // the subtasks may run before the source has succeeded
	Count  int   // tasks in the batch; 0 commits whatever is stored
	Fence  int64 // of the calling attempt of the source; 0 if the caller is not an attempt
}

const (
	// MaxBatches is the maximum number of batches of a source. Stores remember committed batches, so that committing one
	// again has no effect.
	MaxBatches = 10_000
	// BatchAges is the factor by which an uncommitted batch must be older than other work before Unfinished returns it.
	BatchAges = 24
)

// SubtaskID returns the id of the i-th task of a batch.
func SubtaskID(source, batch string, i int) string {
	return source + "/" + batch + "/" + strconv.Itoa(i)
}

// ErrStaleFence is wrapped by the error of a Spawn whose attempt has lost its claim on the source.
var ErrStaleFence = errors.New("the claim on the source was lost")

// ErrorStale returns the error of a Spawn with a stale fence.
func (s Spawn) ErrorStale() error {
	return Errorf(ErrAborted, "task %q no longer runs with fence %d, cannot add subtasks: %w", s.Source, s.Fence,
		ErrStaleFence).With(OutcomeAnswered)
}

// ErrorRefused returns the error of a Spawn whose source takes no more subtasks.
func (s Spawn) ErrorRefused() error {
	return Errorf(ErrFailedPrecondition, "task %q takes no more subtasks", s.Source).With(OutcomeAnswered)
}

// ErrorUncommitted returns the error of a Spawn whose source is itself an uncommitted subtask.
func (s Spawn) ErrorUncommitted() error {
	return Errorf(ErrFailedPrecondition, "task %q takes no subtasks before its own batch is committed", s.Source).
		With(OutcomeAnswered)
}

// ErrorFull returns the error of a Spawn whose source has MaxBatches batches.
func (s Spawn) ErrorFull() error {
	return Errorf(ErrResourceExhausted, "task %q has reached the limit of %d batches of subtasks: use larger batches",
		s.Source, MaxBatches).With(OutcomeAnswered)
}

// ErrorPartial returns the error of a Spawn whose stored batch has another number of tasks than s.Count.
func (s Spawn) ErrorPartial(stored int) error {
	return Errorf(ErrAborted, "batch %q of task %q has %d tasks stored, not %d: insert it again", s.Batch, s.Source,
		stored, s.Count).With(OutcomeAnswered)
}

// ErrorDiscarded returns the error of a Spawn whose batch was discarded.
func (s Spawn) ErrorDiscarded() error {
	return Errorf(ErrAborted, "batch %q of task %q was discarded: insert it again", s.Batch, s.Source).
		With(OutcomeAnswered)
}

// Stale reports whether the calling attempt has lost its claim on the source, given the source's status and fence.
// After an attempt has ended the task itself, it is not stale: goroutines of its handler may run a moment longer.
func (s Spawn) Stale(status Status, fence int64) bool {
	return s.Fence != 0 && (s.Fence != fence || status != StatusRunning && !status.Final())
}
