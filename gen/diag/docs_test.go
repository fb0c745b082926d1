package diag_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/gen/diag"
)

var update = flag.Bool("update", false, "rewrite docs/diagnostics.md")

func TestDocumentationIsCurrent(t *testing.T) {
	const file = "../../docs/diagnostics.md"
	if *update {
		if err := os.WriteFile(file, []byte(diag.Markdown()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.ReplaceAll(string(page), "\r\n", "\n"), diag.Markdown()); d != "" {
		t.Errorf("%s is out of date; go test ./gen/diag -update rewrites it:\n%s", file, d)
	}
}
