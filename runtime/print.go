package runtime

import (
	"fmt"
	"log/slog"
)

// String returns the task's id, queue and attempt.
func (r *Running) String() string {
	if r == nil {
		return ""
	}
	return fmt.Sprintf("task %s of queue %q, attempt %d", r.ID, r.Queue, r.Attempt)
}

// LogValue implements [slog.LogValuer] with the group id, queue and attempt.
func (r *Running) LogValue() slog.Value {
	if r == nil {
		return slog.AnyValue(nil)
	}
	return slog.GroupValue(slog.String("id", r.ID), slog.String("queue", r.Queue), slog.Int("attempt", r.Attempt))
}

// String returns the counts.
func (s Subtasks) String() string {
	return fmt.Sprintf("%d subtasks: %d succeeded, %d failed, %d stopped", s.Total, s.Succeeded, s.Failed, s.Stopped)
}

// LogValue implements [slog.LogValuer] with the counts as the group total, succeeded, failed and stopped.
func (s Subtasks) LogValue() slog.Value {
	return slog.GroupValue(slog.Int("total", s.Total), slog.Int("succeeded", s.Succeeded), slog.Int("failed", s.Failed),
		slog.Int("stopped", s.Stopped))
}
