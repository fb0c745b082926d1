package backend_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/runtime/backend"
)

func TestNewAttempt(t *testing.T) {
	now := time.Now()
	task := &backend.Task{Attempt: 3, Fence: 5, Instance: "i", IP: "10.0.0.1", Started: now}
	want := backend.Attempt{Attempt: 3, Fence: 5, Instance: "i", IP: "10.0.0.1", Started: now, Ended: now.Add(time.Second),
		Outcome: backend.AttemptLost}
	got := backend.NewAttempt(task, now.Add(time.Second), backend.AttemptLost, nil)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	long := &backend.TaskError{Code: backend.ErrInternal, Message: strings.Repeat("€", 1000)}
	got = backend.NewAttempt(task, now, backend.AttemptFailed, long)
	if got.Code != backend.ErrInternal || len(got.Message) > backend.MaxAttemptMessage || !utf8.ValidString(got.Message) {
		t.Errorf("code %s, message of %d bytes", got.Code, len(got.Message))
	}
}

func TestOutcomeOf(t *testing.T) {
	want := map[backend.Status]backend.AttemptOutcome{
		backend.StatusSuccess: backend.AttemptSucceeded, backend.StatusFailed: backend.AttemptFailed,
		backend.StatusRetrying: backend.AttemptFailed, backend.StatusStopped: backend.AttemptStopped,
		backend.StatusWaiting: backend.AttemptReturned,
	}
	for status, outcome := range want {
		if got := backend.OutcomeOf(status); got != outcome {
			t.Errorf("%s: %s, want %s", status, got, outcome)
		}
	}
}

// Attempts that were returned before are not changed, since callers may keep them.
func TestAppendAttempt(t *testing.T) {
	var all []backend.Attempt
	var kept [][]backend.Attempt
	for i := range 2 * backend.KeptAttempts {
		all = backend.AppendAttempt(all, backend.Attempt{Attempt: i})
		kept = append(kept, all)
		backend.AppendAttempt(all, backend.Attempt{Attempt: -1})
	}
	for i, attempts := range kept {
		if len(attempts) != min(i+1, backend.KeptAttempts) {
			t.Errorf("%d attempts after %d", len(attempts), i+1)
		}
		for j, a := range attempts {
			if want := max(0, i+1-backend.KeptAttempts) + j; a.Attempt != want {
				t.Errorf("attempt %d after %d is %d, want %d", j, i+1, a.Attempt, want)
			}
		}
	}
}
