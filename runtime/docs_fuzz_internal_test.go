package runtime

import (
	"testing"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/jobs"
	"github.com/afgen/afgen/runtime/internal/pages"
)

// FuzzLimitsDoc checks that any stored document either is rejected or results in a valid number of slots.
func FuzzLimitsDoc(f *testing.F) {
	for _, seed := range []string{`{}`, `{"paused":true,"max":3}`, `{"max":-1}`,
		`{"at":{"1.2.3.4":9223372036854775807,"":-5}}`, `null`, `{"max":1e9}`} {
		f.Add([]byte(seed), "1.2.3.4")
	}
	f.Fuzz(func(t *testing.T, value []byte, ip string) {
		l, err := decodeLimits(backend.Doc{Name: limitsPrefix + "q", Revision: 3, Value: value})
		if err != nil {
			if CodeOf(err) != ErrDataLoss {
				t.Errorf("rejected with %v", err)
			}
			return
		}
		if n := l.at(ip, 10).Slots(); n < 0 || n > maxWorkers || l.Paused && n != 0 {
			t.Errorf("%d slots by %s", n, value)
		}
	})
}

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
			if CodeOf(err) != ErrDataLoss {
				t.Errorf("rejected with %v", err)
			}
			return
		}
		for _, order := range []FireSort{FiresLatest, FiresOldest} {
			fires := keyedFires(map[string]jobs.History{"j": h}, FireQuery{Sort: order})
			if _, _, err := pages.Of(fires, pages.Query{Cursor: cursor, Limit: int(size)}, keyedFire.by); err != nil &&
				CodeOf(err) != ErrInvalidArgument {
				t.Fatal(err)
			}
			seen, at := 0, ""
			for {
				page, next, err := pages.Of(fires, pages.Query{Cursor: at, Limit: int(size) + 1}, keyedFire.by)
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
