package suggest_test

import (
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/suggest"
)

func TestNearest(t *testing.T) {
	directives := []string{"rpc", "method", "skip", "worker", "schedule"}
	keys := []string{"name", "max", "timeout", "retries", "backoff", "weight", "isolation", "client"}
	for _, c := range []struct {
		word  string
		among []string
		want  string // "" for none
	}{
		{"rcp", directives, "rpc"},
		{"RPC", directives, "rpc"},
		{"rpc", directives, "rpc"},
		{"rp", directives, "rpc"},
		{"metod", directives, "method"},
		{"wroker", directives, "worker"},
		{"workers", directives, "worker"},
		{"Shedule", directives, "schedule"},
		{"skpi", directives, "skip"},
		{"service", directives, ""},
		{"x", directives, ""},
		{"", directives, ""},
		{"rpc", nil, ""},
		{"timout", keys, "timeout"},
		{"timeuot", keys, "timeout"},
		{"retry", keys, ""},
		{"retrys", keys, "retries"},
		{"mxa", keys, "max"},
		{"wieght", keys, "weight"},
		{"isolate", keys, "isolation"},
		{"número", []string{"numéro"}, "numéro"},
		{"ab", []string{"ax", "ay"}, "ax"},         // the first of two alike
		{"abcd", []string{"abce", "acbd"}, "abce"}, // one change, one exchange
		{strings.Repeat("x", 1<<20), keys, ""},
	} {
		got, ok := suggest.Nearest(c.word, c.among)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("Nearest(%.20q) = %q, %v; want %q", c.word, got, ok, c.want)
		}
	}
}
