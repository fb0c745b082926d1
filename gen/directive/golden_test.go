package directive_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/directive"
	"github.com/afgen/afgen/internal/testkit"
)

var update = flag.Bool("update", false, "rewrite docs/afgen.md and the files in testdata")

// golden compares got with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.ReplaceAll(string(want), "\r\n", "\n"), got); d != "" {
		t.Errorf("%s (review the difference and run with -update):\n%s", name, d)
	}
}

func TestHelp(t *testing.T) { golden(t, "help.txt", directive.Help()) }

// The list of directives in docs/afgen.md is generated.
func TestMarkdown(t *testing.T) {
	begin, end := "<!-- directives: made by go test ./gen/directive -update -->", "<!-- /directives -->"
	testkit.Section(t, "../../docs/afgen.md", begin, end, directive.Markdown(), *update)
}

// TestMessages compares the output for each line of testdata/lines.txt with testdata/messages.txt.
func TestMessages(t *testing.T) {
	lines, err := os.ReadFile(filepath.Join("testdata", "lines.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(lines)) {
		line = strings.TrimRight(line, "\r\n")
		d, is, problems := directive.Scan(line, diag.Pos{File: "a.go", Line: 1, Column: 1})
		if d != nil {
			problems = append(problems, check(d)...)
		}
		problems.Sort()
		switch {
		case !is:
			b.WriteString("no directive: " + line + "\n")
		case len(problems) == 0:
			b.WriteString("directive:    " + line + "\n")
		}
		src := func(string) ([]byte, error) { return []byte(line), nil }
		if err := diag.Render(&b, problems, src, ""); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "messages.txt", b.String())
}

// check returns the problems of a directive's values.
func check(d *directive.Directive) diag.List {
	_, problems := options(d)
	return problems
}

// options returns the values of a directive and their problems.
func options(d *directive.Directive) (v any, problems diag.List) {
	switch d.Name {
	case "rpc":
		v, problems = d.RPC()
	case "method":
		v, problems = d.Method()
	case "worker":
		v, problems = d.Worker()
	}
	return v, problems
}
