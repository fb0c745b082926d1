package logs

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// If the disk is full when the log is opened, Open returns an error.
func TestOpenFailsOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/dev/full", filepath.Join(dir, "x-"+time.Now().Format(day)+suffix)); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Options{Dir: dir, Name: "x", Console: io.Discard})
	if !errors.Is(err, backend.ErrResourceExhausted) || strings.Count(err.Error(), "can't write to the log") != 1 {
		t.Errorf("got %v", err)
	}
}
