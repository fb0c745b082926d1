package limits

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
		l, err := decode(backend.Doc{Name: prefix + "q", Revision: 3, Value: value})
		if err != nil {
			if backend.CodeOf(err) != backend.ErrDataLoss {
				t.Errorf("rejected with %v", err)
			}
			return
		}
		if n := l.For(ip, 10).Slots(); n < 0 || n > MaxWorkers || l.Paused && n != 0 {
			t.Errorf("%d slots by %s", n, value)
		}
	})
}
