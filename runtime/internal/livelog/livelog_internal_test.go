package livelog

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
)

// window has the last lines of an attempt.
type window struct{ count, kept int }

func (w window) After(n int) (lines []string, first int) {
	for i := max(n, w.count-w.kept); i < w.count; i++ {
		lines = append(lines, fmt.Sprint(i))
	}
	return lines, w.count - len(lines)
}

// Lines that are dropped between two events, or that were sent, did not arrive and are dropped, are lost, each once.
// Those that were dropped before the task was followed are not.
func TestLostLinesAreCountedOnce(t *testing.T) {
	var lines window
	s := NewSender(struct{ backend.Coordinator }{}, func(string) (Lines, int64) { return lines, 1 })
	for i, step := range []struct {
		count int // lines of the attempt
		next  int // the line that a follower wants; -1 if none tells
		lost  int64
	}{
		{100, 0, 0},    // followed from here on
		{105, -1, 0},   // sends 5
		{130, -1, 5},   // 20 of 25 are kept
		{130, 105, 5},  // none of these arrived: sends 20 again
		{140, 105, 15}, // 10 of them are dropped
		{140, 105, 15},
		{141, -1, 15},
	} {
		lines = window{step.count, 20}
		if step.next >= 0 {
			text, err := json.Marshal(want{"id", min(int64(i), 1), step.next})
			if err != nil {
				t.Fatal(err)
			}
			s.Heard(text)
		}
		if s.due(); s.Lost() != step.lost {
			t.Errorf("step %d: %d lines are lost, want %d", i, s.Lost(), step.lost)
		}
	}
	if (*Sender)(nil).Lost() != 0 {
		t.Error("a nil Sender has lost lines")
	}
}
