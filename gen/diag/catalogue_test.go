package diag_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/gen/diag"
)

// constants returns the values of all constants in codes.go, in source order.
func constants(t *testing.T) []diag.Code {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var codes []diag.Code
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			for _, v := range spec.Values {
				code, err := strconv.Unquote(v.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				codes = append(codes, diag.Code(code))
			}
		}
		return true
	})
	return codes
}

func TestCatalogueHasAllCodes(t *testing.T) {
	var table []diag.Code
	for _, e := range diag.Entries() {
		table = append(table, e.Code)
	}
	if d := cmp.Diff(constants(t), table); d != "" {
		t.Errorf("codes.go (-) and the catalogue (+) differ:\n%s", d)
	}
	if !slices.IsSorted(table) {
		t.Error("the catalogue is not sorted")
	}
	if n := len(slices.Compact(slices.Clone(table))); n != len(table) {
		t.Error("a code occurs twice")
	}
}

func TestEntriesAreComplete(t *testing.T) {
	code := regexp.MustCompile(`^AF\d{4}$`)
	for _, e := range diag.Entries() {
		t.Run(string(e.Code), func(t *testing.T) {
			if !code.MatchString(string(e.Code)) {
				t.Errorf("%q is not AF and four digits", e.Code)
			}
			if e.Title == "" || strings.ContainsAny(e.Title, ".\n") {
				t.Errorf("title %q is not a phrase", e.Title)
			}
			if !strings.HasSuffix(e.Explanation, ".") {
				t.Errorf("explanation %q doesn't end in a period", e.Explanation)
			}
			for line := range strings.Lines(e.Explanation) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 105 {
					t.Errorf("%d columns: %s", n, line)
				}
			}
			if e.Code != diag.Internal &&
				!(strings.HasPrefix(e.Example, "before:\n") && strings.Contains(e.Example, "\nafter:\n")) {
				t.Errorf("example %q has no before or after", e.Example)
			}
		})
	}
}

func TestLookup(t *testing.T) {
	for _, e := range diag.Entries() {
		got, ok := diag.Lookup(e.Code)
		if d := cmp.Diff(e, got); !ok || d != "" {
			t.Errorf("%s: %v\n%s", e.Code, ok, d)
		}
	}
	for _, code := range []diag.Code{"", "AF0000", "AF01", "AF0199", "AF9999", "af0101"} {
		if e, ok := diag.Lookup(code); ok {
			t.Errorf("%q: %v", code, e)
		}
	}
}

func TestEntriesReturnsACopy(t *testing.T) {
	diag.Entries()[0].Title = "changed"
	if e := diag.Entries()[0]; e.Title == "changed" {
		t.Error("the catalogue was modified")
	}
}

func TestEntryString(t *testing.T) {
	e, _ := diag.Lookup(diag.RepeatedKey)
	want := `AF0107: key given twice

Each key has one value. If the last one won, it could hide an outdated one. Keep the intended value.

before:
    //af:rpc timeout=5s timeout=10s
after:
    //af:rpc timeout=10s
`
	if d := cmp.Diff(want, e.String()); d != "" {
		t.Error(d)
	}
	internal, _ := diag.Lookup(diag.Internal)
	if s := internal.String(); !strings.HasSuffix(s, "names.\n") {
		t.Errorf("an entry without an example ends in %q", s)
	}
}
