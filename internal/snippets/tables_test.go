package snippets

import (
	"go/ast"
	"go/parser"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/directive"
)

var span = regexp.MustCompile("`([^`]+)`")

// cells returns the code in the last column of the tables of a migration page: afgen's equivalents of what another
// system has. It leaves out code without parentheses: names, keys and values.
func cells(t *testing.T, page string) (found []snippet) {
	t.Helper()
	eachSpan(t, page, func(line int, text string) {
		if strings.HasPrefix(text, "//") || !strings.Contains(text, "(") {
			return
		}
		if x, err := parser.ParseExpr(text); err == nil {
			if _, ok := x.(*ast.CallExpr); !ok {
				text = "_ = " + text
			}
		}
		found = append(found, snippet{page: page, line: line, text: text})
	})
	return found
}

// eachSpan calls fn with each piece of code in the last column of the tables of a migration page, and with its line.
func eachSpan(t *testing.T, page string, fn func(line int, text string)) {
	t.Helper()
	if !strings.HasPrefix(filepath.Base(page), "migrate-") {
		return
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		row, ok := strings.CutPrefix(line, "| ")
		if !ok {
			continue
		}
		columns := strings.Split(strings.TrimSuffix(strings.TrimSpace(row), " |"), " | ")
		for _, m := range span.FindAllStringSubmatch(columns[len(columns)-1], -1) {
			fn(n, m[1])
		}
	}
}

// Directives in the tables are correct.
func TestMigrationsNameExistingDirectives(t *testing.T) {
	found := 0
	for _, page := range pages(t) {
		eachSpan(t, page, func(line int, text string) {
			if !strings.HasPrefix(text, "//af:") {
				return
			}
			found++
			if _, is, problems := directive.Scan(text, diag.Pos{File: page, Line: line}); !is || len(problems) > 0 {
				t.Errorf("%s:%d: %s: %v", page, line, text, problems)
			}
		})
	}
	if found < 10 {
		t.Errorf("found only %d directives", found)
	}
}
