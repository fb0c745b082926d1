package embedded_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

// Removing the file under a running process is logged.
func TestRemovedFileIsLogged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "af")
	lines := make(chan string, 100)
	log := slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) { lines <- string(b); return len(b), nil }),
		nil))
	ports, err := embedded.File(filepath.Join(dir, "af.db")).Open(t.Context(), backend.Env{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer ports.Close(context.Background())
	if err := os.RemoveAll(dir); runtime.GOOS == "windows" && err != nil {
		t.Skip("the system doesn't remove open files: ", err)
	} else if err != nil {
		t.Fatal(err)
	}
	deadline := time.After(time.Minute)
	for {
		select {
		case line := <-lines:
			if strings.Contains(line, "removed or replaced while in use") {
				return
			}
		case <-deadline:
			t.Fatal("nothing was logged")
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
