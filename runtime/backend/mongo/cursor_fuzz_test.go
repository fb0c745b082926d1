package mongo

import (
	"testing"

	"github.com/afgen/afgen/runtime/backend"
)

// Any text used as a cursor is either rejected as an invalid argument, or accepted. The cursor of any task is read as it
// was written.
func FuzzCursor(f *testing.F) {
	for _, seed := range []string{"", " ", "0 0 ", "-zz 1y2p0ij32e8e7 id", "1y2p0ij32e8e8 1 x", "a b", "0 0 a b c",
		"0 0 \x00\xff"} {
		f.Add(seed, int64(1), int64(0))
	}
	f.Fuzz(func(t *testing.T, text string, created, ended int64) {
		whole := cursorOf(&document{ID: text, Created: created, Ended: ended})
		for _, cursor := range []string{text, whole} {
			c, err := parseCursor(cursor)
			switch {
			case err != nil && (cursor == whole || backend.CodeOf(err) != backend.ErrInvalidArgument):
				t.Errorf("%q: %v", cursor, err)
			case err == nil && cursor == whole && (c == nil || c.ended != ended || c.created != created || c.id != text):
				t.Errorf("%q: %v", cursor, c)
			}
		}
	})
}
