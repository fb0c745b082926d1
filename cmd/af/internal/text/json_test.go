package text_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/afgen/afgen/cmd/af/internal/text"
)

// Lines indents as encoding/json does.
func TestLinesIndent(t *testing.T) {
	for _, value := range []string{
		`{}`, `[]`, ` [ ] `, `{"a": {} ,"b":[ ]}`, `7`, `"a\"{[,:"`, `null`, `[1,2.5e3,true]`, `{"a":[{"b":[[]]},"c"],"d":{"e":null}}`,
		"\n{\t\"a\"\r:1}\n",
	} {
		var want bytes.Buffer
		if err := json.Indent(&want, bytes.TrimSpace([]byte(value)), "", "  "); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(slices.Collect(text.Lines([]byte(value))), "\n"); got != want.String() {
			t.Errorf("%s:\n%s\nwant\n%s", value, got, want.String())
		}
	}
}

func TestLinesOfText(t *testing.T) {
	got := slices.Collect(text.Lines([]byte("{\"a\":\x1b[2J\r\nb\xff\n")))
	if want := []string{"{\"a\":\ufffd[2J", "b\ufffd"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Deep JSON is indented to a bounded width, and lines that are not taken are not made.
func TestLinesOfDeepJSON(t *testing.T) {
	value := []byte(strings.Repeat("[", 9999) + strings.Repeat("]", 9999))
	n, widest := 0, 0
	for line := range text.Lines(value) {
		n, widest = n+1, max(widest, len(line))
	}
	if n != 2*9998+1 || widest > 70 {
		t.Errorf("%d lines, the widest of %d bytes", n, widest)
	}
	for range text.Lines(value) {
		break
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		s     string
		width int
		want  []string
	}{
		{"", 10, []string{""}},
		{"one two  three", 0, []string{"one two three"}},
		{"one two three", 7, []string{"one two", "three"}},
		{"one two three", 8, []string{"one two", "three"}},
		{"one overlong two", 5, []string{"one", "overlong", "two"}},
		{"a\nb\x1bc", 10, []string{"a b\ufffdc"}},
		{"日本 日本 日本", 9, []string{"日本 日本", "日本"}},
	} {
		if got := text.Wrap(c.s, c.width); !slices.Equal(got, c.want) {
			t.Errorf("Wrap(%q, %d) = %q, want %q", c.s, c.width, got, c.want)
		}
	}
}
