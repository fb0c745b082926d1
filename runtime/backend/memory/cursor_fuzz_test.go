package memory

import (
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// FuzzCursor checks that any text is either rejected as an invalid argument or parsed into a cursor that is written
// back unchanged. The cursor of any task is parsed as it was written.
func FuzzCursor(f *testing.F) {
	for _, seed := range []string{"", " ", "0 x", "-zz 1y2p0ij32e8e7", "1y2p0ij32e8e8 x", "1y2p0ij32e8e7 a b",
		"0 \x00\xff"} {
		f.Add(seed, int64(1))
	}
	f.Fuzz(func(t *testing.T, text string, at int64) {
		c, err := parseCursor(text)
		if err != nil && backend.CodeOf(err) != backend.ErrInvalidArgument {
			t.Errorf("%q: %v", text, err)
		}
		if again, err2 := parseCursor(c.String()); err == nil && text != "" && (err2 != nil || again != c) {
			t.Errorf("%q is read as %v, then as %v, %v", text, c, again, err2)
		}
		if text == "" {
			return
		}
		r := &record{}
		r.ID, r.Created, r.Ended = text, time.Unix(0, at), time.Unix(0, at)
		for _, sort := range []backend.TaskSort{backend.SortNewest, backend.SortEnded} {
			if c, err := parseCursor(cursorOf(&r.Task, sort).String()); err != nil || c != cursorOf(&r.Task, sort) {
				t.Errorf("the cursor of a task: %v, %v", c, err)
			}
		}
	})
}
