package jobs_test

import (
	"testing"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/jobs"
	"github.com/afgen/afgen/runtime/internal/pages"
)

// FuzzFireDoc checks that any stored history of a job either is rejected or lists its fires in order and once, for all
// page sizes.
func FuzzFireDoc(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `{"n":2,"fires":[{"due":60,"n":1,"at":61},{"due":120,"skip":"missed","more":4,"n":2,"at":121}]}`,
		`{"n":-1,"fires":[{"due":-9223372036854775808,"n":-9223372036854775808,"at":9223372036854775807},` +
			`{"task":"t","n":1}]}`,
		`{"fires":[{"at":1,"n":1},{"at":1,"n":1}]}`,
	} {
		f.Add([]byte(seed), uint8(1), "")
	}
	f.Fuzz(func(t *testing.T, value []byte, size uint8, cursor string) {
		h, err := jobs.DecodeHistory("j", value)
		if err != nil {
			if backend.CodeOf(err) != backend.ErrDataLoss {
				t.Errorf("rejected with %v", err)
			}
			return
		}
		fires := jobs.Fires(map[string]jobs.History{"j": h}, jobs.FireQuery{})
		for _, key := range []func(jobs.Fire) string{jobs.Fire.Latest, jobs.Fire.Oldest} {
			if _, _, err := pages.Of(fires, pages.Query{Cursor: cursor, Limit: int(size)}, key); err != nil &&
				backend.CodeOf(err) != backend.ErrInvalidArgument {
				t.Fatal(err)
			}
			seen, at := 0, ""
			for {
				page, next, err := pages.Of(fires, pages.Query{Cursor: at, Limit: int(size) + 1}, key)
				if err != nil {
					t.Fatal(err)
				}
				if seen += len(page); next == "" {
					break
				}
				if next <= at {
					t.Fatalf("cursor %q after %q", next, at)
				}
				at = next
			}
			if seen != len(fires) {
				t.Errorf("listed %d of %d fires in pages of %d", seen, len(fires), int(size)+1)
			}
		}
	})
}
