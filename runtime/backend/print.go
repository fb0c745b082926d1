package backend

import (
	"log/slog"
	"strconv"
)

// How tasks and their errors print, with %v and in logs: without payloads, results, progress and details, which may
// hold secrets and are large.

// Err returns the error as an [*Error] with its details and OutcomeAnswered, or nil if e is nil. [Detail] reads the
// details.
func (e *TaskError) Err() error {
	if e == nil {
		return nil
	}
	return &Error{Code: e.Code, Message: e.Message, Outcome: OutcomeAnswered, Details: e.Details}
}

// String returns the code and the message, or "" if e is nil.
func (e *TaskError) String() string {
	if e == nil {
		return ""
	}
	return (&Error{Code: e.Code, Message: e.Message}).Error()
}

// LogValue implements [slog.LogValuer] with the code and the message, like the text of an [Error].
func (e *TaskError) LogValue() slog.Value {
	if e == nil {
		return slog.AnyValue(nil)
	}
	return slog.StringValue(e.String())
}

// String returns the task's id, queue, status, attempt and error.
func (t Task) String() string {
	s := "task " + t.ID + " of queue " + strconv.Quote(t.Queue) + ": " + string(t.Status) + ", attempt " +
		strconv.Itoa(t.Attempt)
	if t.Error != nil {
		s += ", " + t.Error.String()
	}
	return s
}

// LogValue implements [slog.LogValuer] with the group id, queue, status and attempt, and error if there is one.
func (t Task) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.String("id", t.ID), slog.String("queue", t.Queue), slog.String("status", string(t.Status)),
		slog.Int("attempt", t.Attempt),
	}
	if t.Error != nil {
		attrs = append(attrs, slog.String("error", t.Error.String()))
	}
	return slog.GroupValue(attrs...)
}
