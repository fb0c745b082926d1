package emit

import (
	"fmt"
	"go/constant"
	"go/token"
	"go/types"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSynopsis(t *testing.T) {
	for in, want := range map[string]string{
		"":                                     "",
		"Add adds.":                            "Add adds.",
		"\n\nAdd adds\ntwo  numbers.\n\nMore.": "Add adds two numbers.",
		"Add \"adds\" `x`.\r\n\r\nMore.":       "Add \"adds\" `x`.",
		strings.Repeat("ä", 512):               strings.Repeat("ä", 512),
		strings.Repeat("ä", 513):               strings.Repeat("ä", 510) + "…",
		"x" + strings.Repeat("ä", 600):         "x" + strings.Repeat("ä", 510) + "…",
	} {
		got := synopsis(in)
		if got != want || len(got) > maxSynopsis || !utf8.ValidString(got) {
			t.Errorf("%.40q: %d bytes, %.60q…", in, len(got), got)
		}
	}
}

// The code of a text has its value, in lines that are not long.
func TestText(t *testing.T) {
	for _, s := range []string{
		"Add adds.", strings.Repeat("word ", 200), "a " + strings.Repeat("x", 300) + " b", strings.Repeat("x", 300),
		strings.Repeat("ä ö\t\"`\\ ", 40),
	} {
		code := fmt.Sprintf("%#v", text(s))
		v, err := types.Eval(token.NewFileSet(), nil, token.NoPos, code)
		if err != nil || constant.StringVal(v.Value) != s {
			t.Errorf("%q becomes %s, %v", s, code, err)
		}
		for line := range strings.Lines(code) {
			if len(line) > 110 && !strings.Contains(line, "xxx") && !strings.Contains(line, "\\") {
				t.Errorf("a line of %d bytes: %s", len(line), line)
			}
		}
	}
}
