//go:build unix

package runtime_test

import (
	"context"
	"os"
	"syscall"
	"testing"

	"github.com/afgen/afgen/runtime/backend/memory"
)

func TestRunDrainsOnSIGTERM(t *testing.T) {
	app := open(t, memory.New())
	registerCalc(app, &calc{double})
	done := make(chan error, 1)
	go func() { done <- app.Run(context.Background()) }()
	if _, err := waitCall(t, app); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}
