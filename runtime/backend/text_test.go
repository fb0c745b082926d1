package backend_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/afgen/afgen/runtime/backend"
)

func TestText(t *testing.T) {
	for _, s := range []string{"", "abc", "a\xffb", strings.Repeat("€", 100), "x" + strings.Repeat("€", 100),
		strings.Repeat("\xff", 100), strings.Repeat("\x80", 100)} {
		for max := 5; max < 120; max++ {
			got := backend.Text(s, max)
			if !utf8.ValidString(got) {
				t.Fatalf("%q cut to %d: %q", s, max, got)
			}
			if len(got) > max || utf8.ValidString(s) && len(s) <= max && got != s {
				t.Fatalf("%q cut to %d: %q of %d bytes", s, max, got, len(got))
			}
		}
	}
}

func TestValidID(t *testing.T) {
	for id, want := range map[string]bool{
		"a": true, "job/1": true, "ü€": true, strings.Repeat("x", backend.MaxID): true,
		"": false, "a\x00": false, "a\xff": false, strings.Repeat("x", backend.MaxID+1): false,
	} {
		if got := backend.ValidID(id); got != want {
			t.Errorf("%.20q: %v", id, got)
		}
	}
}
