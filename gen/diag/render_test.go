package diag_test

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/gen/diag"
)

// render renders one diagnostic whose file has the given text.
func render(t *testing.T, d diag.Diagnostic, text string) string {
	t.Helper()
	var b strings.Builder
	src := func(string) ([]byte, error) { return []byte(text), nil }
	if err := diag.Render(&b, diag.List{d}, src, ""); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRender(t *testing.T) {
	root := t.TempDir()
	file := filepath.Join(root, "shop", "calc.go")
	text := strings.Repeat("\n", 11) + "//af:rpc name=calc timout=5s\ntype Calc struct{}\n"
	list := diag.List{
		{Code: diag.UnknownKey, Pos: diag.Pos{File: file, Line: 12, Column: 20}, Width: 6,
			Message: `//af:rpc has no key "timout"`,
			Hint:    `did you mean "timeout"? It takes name, timeout, concurrency and client.`},
		{Code: diag.NoMethods, Pos: diag.Pos{File: file, Line: 13, Column: 6}, Width: 4,
			Message: "service Calc has no methods"},
	}
	reads := 0
	src := func(name string) ([]byte, error) {
		reads++
		if name != file {
			t.Errorf("asked for %s", name)
		}
		return []byte(text), nil
	}
	var b strings.Builder
	if err := diag.Render(&b, list, src, root); err != nil {
		t.Fatal(err)
	}
	want := `shop/calc.go:12:20: AF0105: //af:rpc has no key "timout"
  12 | //af:rpc name=calc timout=5s
     |                    ^^^^^^
  hint: did you mean "timeout"? It takes name, timeout, concurrency and client.
shop/calc.go:13:6: AF0206: service Calc has no methods
  13 | type Calc struct{}
     |      ^^^^
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
	if reads != 1 {
		t.Errorf("the file was read %d times", reads)
	}
}

func TestRenderUnderlines(t *testing.T) {
	for _, c := range []struct {
		name          string
		line          string
		column, width int
		want          string // the excerpt
	}{
		{"width_zero", "abc", 2, 0, "  1 | abc\n    |  ^\n"},       // counts as one
		{"width_past_end", "abc", 2, 99, "  1 | abc\n    |  ^^\n"}, // stops there
		{"end_of_line", "abc", 4, 1, "  1 | abc\n    |    ^\n"},
		{"past_end_of_line", "abc", 40, 3, "  1 | abc\n    |    ^\n"},
		{"empty_line", "", 1, 1, "  1 |\n    | ^\n"},
		{"no_column", "abc", 0, 1, "  1 | abc\n"},
		{"huge_column_and_width", "abc", 1 << 62, 1 << 62, "  1 | abc\n    |    ^\n"},
		{"tabs_before", "\tx\ty", 4, 1, "  1 | \tx\ty\n    | \t \t^\n"},
		{"tab_inside", "a\tb", 1, 3, "  1 | a\tb\n    | ^\t^\n"},
		{"tab_alone", "a\tb", 2, 1, "  1 | a\tb\n    |  ^\n"},
		{"carriage_return", "abc\r", 1, 3, "  1 | abc\n    | ^^^\n"},
		{"columns_are_bytes", "größe x", 9, 1, "  1 | größe x\n    |       ^\n"},
		{"column_inside_character", "größe x", 4, 1, "  1 | größe x\n    |   ^\n"},
		{"wide_characters", "日本 x", 8, 1, "  1 | 日本 x\n    |      ^\n"},
		{"combining_marks", "e\u0301 x", 5, 1, "  1 | e\u0301 x\n    |   ^\n"},
		{"combining_mark_alone", "e\u0301x", 2, 2, "  1 | e\u0301x\n    |  ^\n"},
		// Escapes are as wide as they look.
		{"escape_width", "a\x1bb", 3, 1, "  1 | a\\x1bb\n    |      ^\n"},
		{"escape_alone", "a\x1bb", 2, 1, "  1 | a\\x1bb\n    |  ^^^^\n"},
		{"not_utf8", "a\xff\xfeb", 4, 1, "  1 | a\\xff\\xfeb\n    |          ^\n"},
		{"direction_overrides", "a\u202eb", 5, 1, "  1 | a\\u202eb\n    |        ^\n"},
		{"private_use", "\U0010fffdb", 5, 1, "  1 | \\U0010fffdb\n    |           ^\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := diag.Diagnostic{Code: "AF0101", Pos: diag.Pos{File: "a.go", Line: 1, Column: c.column}, Width: c.width,
				Message: "m"}
			_, got, _ := strings.Cut(render(t, d, c.line+"\nnext\n"), "\n")
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRenderCutsLongLines(t *testing.T) {
	long := func(n int) string { return strings.Repeat("0123456789", n) }
	for _, c := range []struct {
		name          string
		line          string
		column, width int
		under         string // the underlined text
	}{
		{"at_the_start", "PLACE" + long(30), 1, 5, "PLACE"},
		{"in_the_middle", long(30) + "PLACE" + long(30), 301, 5, "PLACE"},
		{"at_the_end", long(30) + "PLACE", 301, 5, "PLACE"},
		{"after_the_end", long(30), 301, 5, ""},
		{"wider_than_cut", long(10) + long(30), 101, 300, long(12)[:114-15]},
		{"after_tabs", strings.Repeat("\t", 40) + "PLACE", 41, 5, "PLACE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := diag.Diagnostic{Code: "AF0101", Pos: diag.Pos{File: "a.go", Line: 7, Column: c.column}, Width: c.width,
				Message: "m"}
			lines := strings.Split(render(t, d, strings.Repeat("\n", 6)+c.line), "\n")
			shown, carets := lines[1], lines[2]
			if n := len(shown); n > len("  7 | ")+120 {
				t.Errorf("%d columns: %s", n, shown)
			}
			if !strings.Contains(shown, "...") {
				t.Errorf("no ... in %s", shown)
			}
			from, to := strings.Index(carets, "^"), strings.LastIndex(carets, "^")+1
			if c.under == "" {
				if from != len(shown) || to != from+1 {
					t.Errorf("not at the end:\n%s\n%s", shown, carets)
				}
			} else if got := shown[from:to]; got != c.under {
				t.Errorf("under %q:\n%s\n%s", got, shown, carets)
			}
		})
	}
}

func TestRenderKeepsLinesThatFit(t *testing.T) {
	line := strings.Repeat("x", 120)
	d := diag.Diagnostic{Code: "AF0101", Pos: diag.Pos{File: "a.go", Line: 1, Column: 1}, Message: "m"}
	if got := render(t, d, line); !strings.Contains(got, " | "+line+"\n") {
		t.Errorf("cut:\n%s", got)
	}
}

func TestRenderWithoutSource(t *testing.T) {
	unreadable := func(string) ([]byte, error) { return nil, fs.ErrNotExist }
	for _, c := range []struct {
		name string
		pos  diag.Pos
		src  func(string) ([]byte, error)
		want string
	}{
		{"no_place", diag.Pos{}, unreadable, "AF0503: m\n  hint: h\n"},
		{"no_line", diag.Pos{File: "a.go"}, unreadable, "a.go: AF0503: m\n  hint: h\n"},
		{"no_column", diag.Pos{File: "a.go", Line: 2}, unreadable, "a.go:2: AF0503: m\n  hint: h\n"},
		{"unreadable_file", diag.Pos{File: "a.go", Line: 2, Column: 3}, unreadable, "a.go:2:3: AF0503: m\n  hint: h\n"},
		{"no_source", diag.Pos{File: "a.go", Line: 2, Column: 3}, nil, "a.go:2:3: AF0503: m\n  hint: h\n"},
		{"line_after_last", diag.Pos{File: "a.go", Line: 2, Column: 1},
			func(string) ([]byte, error) { return []byte("one\n"), nil }, "a.go:2:1: AF0503: m\n  hint: h\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b strings.Builder
			list := diag.List{{Code: diag.NotLoaded, Pos: c.pos, Message: "m", Hint: "h"}}
			if err := diag.Render(&b, list, c.src, ""); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, b.String()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestFilesAreRelativeToDirectory(t *testing.T) {
	root := t.TempDir()
	for _, c := range []struct{ name, file, rel, want string }{
		{"inside", filepath.Join(root, "a", "b.go"), root, "a/b.go"},
		{"directly_inside", filepath.Join(root, "b.go"), root, "b.go"},
		{"outside", filepath.Join(root, "b.go"), filepath.Join(root, "a"), filepath.ToSlash(filepath.Join(root, "b.go"))},
		{"sibling_with_same_prefix", filepath.Join(root, "ab", "c.go"), filepath.Join(root, "a"),
			filepath.ToSlash(filepath.Join(root, "ab", "c.go"))},
		{"no_directory", filepath.Join(root, "b.go"), "", filepath.ToSlash(filepath.Join(root, "b.go"))},
		{"relative", filepath.Join("a", "b.go"), root, "a/b.go"},
		{"no_file", "", root, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := diag.JSON(&b, diag.List{{Code: "AF0101", Pos: diag.Pos{File: c.file}}}, c.rel); err != nil {
				t.Fatal(err)
			}
			if want := `"file": "` + c.want + `"`; !strings.Contains(b.String(), want) {
				t.Errorf("want %s in %s", want, b.String())
			}
		})
	}
}

func TestRenderIndentsLongMessages(t *testing.T) {
	d := diag.Diagnostic{Code: diag.NotLoaded, Message: "go list failed:\r\n\tno module\n", Hint: "run\ngo mod tidy"}
	want := "AF0503: go list failed:\n    \tno module\n  hint: run\n        go mod tidy\n"
	if d := cmp.Diff(want, render(t, d, "")); d != "" {
		t.Error(d)
	}
}

func TestRenderEscapesUnprintable(t *testing.T) {
	evil := "\x1b]0;owned\a\x00\x7f\u009b31m\u202e\u2066\u200b\ufeff\xc3(\r"
	d := diag.Diagnostic{Code: "AF0101", Pos: diag.Pos{File: "a" + evil + ".go", Line: 1, Column: 2}, Message: evil,
		Hint: evil}
	got := render(t, d, evil+"\n")
	if !utf8.ValidString(got) {
		t.Errorf("not UTF-8: %q", got)
	}
	for _, r := range got {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("unescaped %q in %q", r, got)
		}
	}
}

func TestErrorsOfWriter(t *testing.T) {
	list := diag.List{{Code: "AF0101", Message: "m"}}
	if err := diag.Render(full{}, list, nil, ""); !errors.Is(err, errFull) {
		t.Errorf("Render: %v", err)
	}
	if err := diag.JSON(full{}, list, ""); !errors.Is(err, errFull) {
		t.Errorf("JSON: %v", err)
	}
}

var errFull = errors.New("disk full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestJSON(t *testing.T) {
	for _, c := range []struct {
		name string
		list diag.List
		want string
	}{
		{"empty", nil, "[]\n"},
		{"all_fields", diag.List{{Code: "AF0302", Pos: diag.Pos{File: "a.go", Line: 3, Column: 7}, Width: 4,
			Message: "a <b> \x1b", Hint: "h"}},
			`[
  {
    "code": "AF0302",
    "file": "a.go",
    "line": 3,
    "column": 7,
    "width": 4,
    "message": "a <b> \u001b",
    "hint": "h"
  }
]
`},
		{"zero_fields", diag.List{{Code: "AF0901"}},
			`[
  {
    "code": "AF0901",
    "file": "",
    "line": 0,
    "column": 0,
    "width": 1,
    "message": "",
    "hint": ""
  }
]
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := diag.JSON(&b, c.list, ""); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, b.String()); d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzRender(f *testing.F) {
	f.Add("//af:rpc timout=5s", 10, 6)
	f.Add("\t\xff\u0301日\x1b", 2, 3)
	f.Add(strings.Repeat("\t日x", 80), 200, 20)
	f.Fuzz(func(t *testing.T, line string, column, width int) {
		d := diag.Diagnostic{Code: "AF0101", Pos: diag.Pos{File: "a.go", Line: 1, Column: column}, Width: width, Message: "m"}
		got := render(t, d, line)
		for _, r := range got {
			if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
				t.Fatalf("unescaped %q in %q", r, got)
			}
		}
		if line != "" && line[0] != '\n' && column > 0 && !strings.Contains(got, "^") {
			t.Fatalf("no caret in %q", got)
		}
	})
}
