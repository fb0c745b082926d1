package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
)

const fileEnv = "AF_TEST_FILE"

func init() { children["files"] = useUpFiles }

// useUpFiles opens the backend with more and more file descriptors left, starting with none, until that succeeds. Then
// it reads with none left.
func useUpFiles() int {
	ctx, path := context.Background(), os.Getenv(fileEnv)
	wrong := 0
	complain := func(format string, args ...any) {
		wrong++
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}
	explained := func(err error) {
		code := backend.CodeOf(err)
		text := err.Error()
		if code != backend.ErrUnavailable && code != backend.ErrResourceExhausted || !strings.Contains(text, "open files") &&
			!strings.Contains(text, "open no more files") {
			complain("with no files left: %v", err)
		}
	}
	ports, err := openFile(ctx, path) // afterwards the Go runtime has opened its own files
	if err == nil {
		err = ports.Close(ctx)
	}
	if err == nil {
		err = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 128, Max: 128})
	}
	if err != nil {
		complain("%v", err)
		return 2
	}
	var held []*os.File
	hold := func() {
		for {
			f, err := os.Open(os.DevNull)
			if err != nil {
				if !errors.Is(err, syscall.EMFILE) {
					complain("%v", err)
				}
				return
			}
			held = append(held, f)
		}
	}
	hold()
	failures := 0
	for ; len(held) > 0; failures++ {
		if ports, err = openFile(ctx, path); err == nil {
			break
		}
		explained(err)
		_ = held[len(held)-1].Close()
		held = held[:len(held)-1]
	}
	if err != nil || failures < 3 {
		complain("%d failures, then %v", failures, err)
		return 1
	}
	hold()
	if _, err := ports.Store.List(ctx, backend.TaskQuery{}); err == nil {
		complain("reading succeeded without file descriptors")
	} else {
		explained(err)
	}
	for _, f := range held {
		_ = f.Close()
	}
	if _, err := ports.Store.List(ctx, backend.TaskQuery{}); err != nil {
		complain("with files again: %v", err)
	}
	if err := ports.Close(ctx); err != nil {
		complain("%v", err)
	}
	return min(wrong, 1)
}

// Running out of file descriptors is reported as such, and not as a missing permission.
func TestLimitOfOpenFiles(t *testing.T) {
	cmd := testkit.Command("files", fileEnv+"="+filepath.Join(t.TempDir(), "af.db"))
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
}
