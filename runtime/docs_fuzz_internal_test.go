package runtime

import (
	"testing"

	"github.com/afgen/afgen/runtime/backend"
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
