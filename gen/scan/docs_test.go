package scan_test

import (
	"flag"
	"testing"

	"github.com/afgen/afgen/gen/scan"
	"github.com/afgen/afgen/internal/testkit"
)

var update = flag.Bool("update", false, "rewrite the table of types in docs/generator.md")

func TestDocumentationIsCurrent(t *testing.T) {
	testkit.Section(t, "../../docs/generator.md", "<!-- made from gen/scan/rules.go -->", "<!-- end of the table -->",
		scan.TypesMarkdown(), *update)
}
