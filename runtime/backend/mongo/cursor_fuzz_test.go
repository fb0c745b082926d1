package mongo

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/afgen/afgen/runtime/backend"
)

// Any text used as a cursor is either rejected as an invalid argument, or gives a filter that can be encoded. The
// cursor of any task gives a filter.
func FuzzCursor(f *testing.F) {
	for _, seed := range []string{"", " ", "0 0 ", "-zz 1y2p0ij32e8e7 id", "1y2p0ij32e8e8 1 x", "a b", "0 0 a b c",
		"0 0 \x00\xff"} {
		f.Add(seed, int64(1), int64(0))
	}
	f.Fuzz(func(t *testing.T, text string, created, ended int64) {
		whole := cursorOf(&document{ID: text, Created: created, Ended: ended})
		for _, sort := range []backend.TaskSort{backend.SortNewest, backend.SortOldest, backend.SortEnded} {
			for _, cursor := range []string{text, whole} {
				filter := m{}
				err := after(filter, backend.TaskQuery{Cursor: cursor, Sort: sort}, "created")
				if err != nil {
					if cursor == whole || backend.CodeOf(err) != backend.ErrInvalidArgument {
						t.Errorf("%q in order %q: %v", cursor, sort, err)
					}
					continue
				}
				if _, err := bson.Marshal(filter); err != nil {
					t.Errorf("%q in order %q: %v", cursor, sort, err)
				}
			}
		}
	})
}
