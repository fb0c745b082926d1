package audit

import (
	"context"
	"strings"
	"unicode/utf8"

	"github.com/afgen/afgen/runtime/backend"
)

// An Action is who makes a change and why.
type Action struct{ By, Reason string }

const (
	maxBy     = 200
	maxReason = 1000
)

// Check returns an error if a text is too long, or some stores would change it.
func (a Action) Check() error {
	if len(a.By) > maxBy || len(a.Reason) > maxReason {
		return backend.Errorf(backend.ErrInvalidArgument,
			"by %.80q of %d bytes, reason %.80q of %d bytes: at most %d and %d are allowed",
			a.By, len(a.By), a.Reason, len(a.Reason), maxBy, maxReason).With(backend.OutcomeNotSent)
	}
	for what, text := range map[string]string{"by": a.By, "reason": a.Reason} {
		if !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
			return backend.Errorf(backend.ErrInvalidArgument, "%s %+.80q is not UTF-8, or contains a NUL byte", what,
				text).With(backend.OutcomeNotSent)
		}
	}
	return nil
}

// Stopped returns the message of the error of a task that is stopped.
func (a Action) Stopped() string {
	message := a.Reason
	if message == "" {
		message = "stopped on request"
	}
	if a.By != "" {
		message += " (by " + a.By + ")"
	}
	return message
}

// Record adds a change, with who made it and its result err. A change that was not made, because it was invalid or the
// store was unavailable, is not recorded. Otherwise Record is like [Log.Add].
func (l *Log) Record(ctx context.Context, a Action, e Entry, err error) {
	e.By, e.Reason = a.By, a.Reason
	if err != nil {
		coded := backend.Coded(err)
		switch coded.Code {
		case backend.ErrInvalidArgument:
			return
		case backend.ErrUnavailable, backend.ErrDeadlineExceeded, backend.ErrCanceled:
			if coded.Outcome != backend.OutcomeUnknown {
				return
			}
		}
		e.Error = err.Error()
	}
	l.Add(ctx, e)
}
