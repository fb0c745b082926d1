package backend

import "time"

// A Count is a number of tasks.
type Count struct {
	N       int  `json:"n"`
	AtLeast bool `json:"at_least,omitempty"` // there are more: counting stopped at N
}

// QueueCounts are the tasks of one queue.
type QueueCounts struct {
	Queue string
	// Counts has the number of tasks by status; a status without tasks is missing. A store that would have to count final
	// tasks leaves out final statuses, and counts up to MaxTotal tasks of the others.
	Counts map[Status]Count
	// Oldest is when a task has been due since: of the ready tasks with the same weight the first one by creation counts,
	// and of these the one that has been due for longest. It is zero if no task is ready. A task is ready if it is due,
	// its gate is open, and its deadline has not passed.
	Oldest time.Time
}

// An Adjustment changes a task that has not ended.
type Adjustment struct {
	ID     string
	Now    bool // make it due now, if it waits and its gate is open; a task that is due already stays as it is
	Weight *int // its weight from now on; that of a running task counts when it waits again
}

// ErrorRefused returns the error of an Adjust of a task that has ended, or of a running one with Now.
func (a Adjustment) ErrorRefused(s Status) error {
	return Errorf(ErrFailedPrecondition, "task %q is %s", a.ID, s).With(OutcomeAnswered)
}

// ErrorGated returns the error of an Adjust with Now of a task whose gate is closed.
func (a Adjustment) ErrorGated() error {
	return Errorf(ErrFailedPrecondition, "task %q waits for its source to succeed", a.ID).With(OutcomeAnswered)
}

// ErrorNotDeletable returns the error of a Delete of a task that is live, a part of another task's tree, or has live
// descendants. what completes "task … …".
func ErrorNotDeletable(id, what string) error {
	return Errorf(ErrFailedPrecondition, "task %q %s", id, what).With(OutcomeAnswered)
}

// What completes ErrorNotDeletable.
const (
	NotEnded     = "has not ended"
	TreeNotEnded = "has subtasks that have not ended"
	PartOfTree   = "is part of another task's tree: delete the root"
)
