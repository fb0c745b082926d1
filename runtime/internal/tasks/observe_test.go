package tasks

import (
	"testing"

	"github.com/afgen/afgen/runtime/backend"
)

// The previous attempt's trace is that of the last one that was charged or has a trace. What is stored is not trusted.
func TestPreviousTrace(t *testing.T) {
	const of = "00-0af7651916cd43dd8448eb211c80319c-"
	const a, b = of + "b7ad6b7169203331-01", of + "00f067aa0ba902b7-01"
	const failed, returned, lost = backend.AttemptFailed, backend.AttemptReturned, backend.AttemptLost
	for _, c := range []struct {
		name     string
		fence    int64
		attempts []backend.Attempt
		want     string
	}{
		{"first", 1, nil, ""},
		{"failed", 2, []backend.Attempt{{Fence: 1, Outcome: failed, Trace: a}}, a},
		{"last_of_two", 3, []backend.Attempt{{Fence: 1, Outcome: failed, Trace: a},
			{Fence: 2, Outcome: returned, Trace: b}}, b},
		{"returned_unobserved", 4, []backend.Attempt{{Fence: 1, Outcome: failed, Trace: a}, {Fence: 2, Outcome: returned},
			{Fence: 3, Outcome: returned}}, a},
		{"failed_unobserved", 3, []backend.Attempt{{Fence: 1, Outcome: failed, Trace: a}, {Fence: 2, Outcome: failed}}, ""},
		{"lost", 3, []backend.Attempt{{Fence: 1, Outcome: failed, Trace: a}, {Fence: 2, Outcome: lost}}, ""},
		{"not_stored", 3, []backend.Attempt{{Fence: 1, Outcome: failed, Trace: a}}, ""},
		{"gap", 4, []backend.Attempt{{Fence: 1, Outcome: failed, Trace: a}, {Fence: 3, Outcome: returned}}, ""},
		{"invalid", 2, []backend.Attempt{{Fence: 1, Outcome: failed, Trace: "\x1b[2J"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := previousTrace(&backend.Task{Fence: c.fence, Attempts: c.attempts}); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
