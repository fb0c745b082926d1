package livelog

import (
	"slices"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
)

// A follower gets the lines of a task from events and from its stored log, in any order, and delivers each line once.
func TestFollowerDeliversEachLineOnce(t *testing.T) {
	stored := func(status backend.Status, fence int64, log ...string) *backend.Task {
		return &backend.Task{Status: status, Fence: fence, Log: log}
	}
	last := []string{"head"}
	for range 19 {
		last = append(last, "late")
	}
	for name, c := range map[string]struct {
		do   func(f *follower)
		want []string
	}{
		"late_event": { // it was sent before its attempt ended
			func(f *follower) {
				f.live(event{Fence: 1, Lines: []string{"head", "a"}})
				f.stored(stored(backend.StatusRetrying, 1, "head", "a", "b"))
				f.live(event{Fence: 1, First: 2, Lines: []string{"b"}})
				f.live(event{Fence: 2, Lines: []string{"head 2"}})
				f.stored(stored(backend.StatusSuccess, 2, "head", "a", "b", "head 2", "c"))
			},
			[]string{"head", "a", "b", "head 2", "c"},
		},
		"next_attempt_runs": {
			func(f *follower) {
				f.live(event{Fence: 1, Lines: []string{"head"}})
				f.stored(stored(backend.StatusRunning, 2, "head", "a"))
				f.live(event{Fence: 1, First: 1, Lines: []string{"a"}})
				f.live(event{Fence: 2, Lines: []string{"head 2", "b"}})
			},
			[]string{"head", "a", "head 2", "b"},
		},
		"more_lines_than_are_stored": {
			func(f *follower) {
				f.live(event{Fence: 1, Lines: []string{"head", "a"}})
				f.stored(stored(backend.StatusFailed, 1, last...))
			},
			slices.Concat([]string{"head", "a", "… lines omitted"}, last[1:]),
		},
		"lost_attempt": { // its lines are not stored
			func(f *follower) {
				f.stored(stored(backend.StatusRunning, 1))
				f.live(event{Fence: 1, Lines: []string{"head", "a"}})
				f.stored(stored(backend.StatusRunning, 2))
				f.live(event{Fence: 2, Lines: []string{"head 2"}})
				f.stored(stored(backend.StatusSuccess, 2, "head 2", "b"))
			},
			[]string{"head", "a", "head 2", "b"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			c.do(&follower{yield: func(lines []string) bool {
				got = append(got, lines...)
				return true
			}})
			if !slices.Equal(got, c.want) {
				t.Errorf("delivered %q, want %q", got, c.want)
			}
		})
	}
}
