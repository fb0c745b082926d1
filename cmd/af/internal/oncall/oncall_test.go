package oncall_test

import (
	"flag"
	"path/filepath"
	"testing"

	"github.com/afgen/afgen/cmd/af/internal/oncall"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

var update = flag.Bool("update", false, "write the answers to docs/operations.md")

// The night on one file. Package overservers has it on servers.
func TestNightOnFile(t *testing.T) {
	document, err := filepath.Abs(filepath.FromSlash("../../../../docs/operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	const file = ".af/af.db"
	oncall.Play(t, embedded.File(file), []string{"-file", file}, document, *update)
}
