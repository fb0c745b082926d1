package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// features is the number of rows in the table of docs/parity.md, so that no row is dropped unnoticed.
const features = 35

var (
	testName = regexp.MustCompile("`([a-z0-9_/]+)\\.((?:Test|Example|Fuzz)\\w*)((?:/[^`]+)?)`")
	fence    = regexp.MustCompile("(?ms)^```.*?^```")
)

// All tests named in docs/parity.md exist, and each feature has a test on each backend.
func TestParityNamesTestsThatExist(t *testing.T) {
	text := read(t, "docs/parity.md")
	known, suites := map[string]names{}, namesIn(t, "internal/conform", "internal/apptest")
	for _, m := range testName.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		dir, ok := known[m[1]]
		if !ok {
			dir = namesIn(t, m[1])
			known[m[1]] = dir
		}
		if !dir.funcs[m[2]] {
			t.Errorf("%s: %s does not declare %s", m[0], m[1], m[2])
		}
		for _, part := range strings.Split(m[3], "/")[1:] {
			if !dir.strings[part] && !suites.strings[part] {
				t.Errorf("%s: no subtest is called %q", m[0], part)
			}
		}
	}
	tables := strings.Split(text, "\n## ")
	rows := tableOf(tables[0])
	if len(rows) != features {
		t.Errorf("%d features, want %d", len(rows), features)
	}
	for _, cells := range rows {
		if len(cells) != 4 {
			t.Errorf("%d cells: %s", len(cells), cells)
			continue
		}
		if !link.MatchString(cells[1]) {
			t.Errorf("no link: %s", cells[0])
		}
		if !testName.MatchString(cells[2] + cells[3]) {
			t.Errorf("no test: %s", cells[0])
		}
		for _, cell := range cells[2:] {
			if !testName.MatchString(cell) && !strings.HasPrefix(cell, "no backend") && !strings.HasPrefix(cell, "none yet") {
				t.Errorf("neither a test nor a reason: %s: %q", cells[0], cell)
			}
		}
	}
	for _, cells := range tableOf(tables[len(tables)-1]) {
		if len(cells) != 2 || !testName.MatchString(cells[1]) && !strings.HasPrefix(cells[1], "none yet") {
			t.Errorf("no test of a failure: %s", cells)
		}
	}
}

// tableOf returns the cells of the last table in a text, without its head.
func tableOf(text string) (rows [][]string) {
	for line := range strings.Lines(text) {
		if cells, ok := strings.CutPrefix(strings.TrimSpace(line), "| "); ok {
			rows = append(rows, strings.Split(strings.TrimSuffix(cells, " |"), " | "))
		} else if strings.HasPrefix(line, "|---") {
			rows = nil
		}
	}
	return rows
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// names holds the functions that test files declare, and their string literals, which include the names of subtests.
type names struct{ funcs, strings map[string]bool }

// namesIn parses the test files of directories. In the suites, which tests of other packages run, it parses all
// files.
func namesIn(t *testing.T, dirs ...string) names {
	t.Helper()
	found := names{map[string]bool{}, map[string]bool{}}
	for _, dir := range dirs {
		pattern := "*_test.go"
		if dir == "internal/conform" || dir == "internal/apptest" {
			pattern = "*.go" // suites
		}
		files, err := filepath.Glob(filepath.Join(root, dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					if n.Recv == nil {
						found.funcs[n.Name.Name] = true
					}
				case *ast.BasicLit:
					if s, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil {
						found.strings[s] = true
					}
				}
				return true
			})
		}
	}
	return found
}
