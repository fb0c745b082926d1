package embedded

import (
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

func listerOf(cursor string, sort backend.TaskSort) error {
	_, err := newLister(backend.TaskQuery{Cursor: cursor, Sort: sort})
	return err
}

// FuzzCursor checks that any text is either rejected as an invalid argument or accepted, and that the cursor of any
// task is accepted.
func FuzzCursor(f *testing.F) {
	for _, seed := range []string{"", " ", "0 0", "-zz 1y2p0ij32e8e7", "1y2p0ij32e8e8 1", "a b c",
		"1y2p0ij32e8e7 -1y2p0ij32e8e8", "\x00 \xff"} {
		f.Add(seed, int64(1), int64(0))
	}
	f.Fuzz(func(t *testing.T, text string, seq, ended int64) {
		r := &backend.Task{Created: time.Unix(0, seq)}
		if ended != 0 {
			r.Ended = time.Unix(0, ended)
		}
		for _, sort := range []backend.TaskSort{backend.SortNewest, backend.SortOldest, backend.SortEnded} {
			if err := listerOf(text, sort); err != nil &&
				backend.CodeOf(err) != backend.ErrInvalidArgument {
				t.Errorf("%q in order %q: %v", text, sort, err)
			}
			if err := listerOf(cursorOf(r), sort); err != nil {
				t.Errorf("%q of a task in order %q: %v", cursorOf(r), sort, err)
			}
		}
	})
}
