package embedded_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

func init() { children["submitter"] = submitAndStay }

func submission(id string) []backend.NewTask {
	return []backend.NewTask{{Task: backend.Task{ID: id, Queue: "q", Status: backend.StatusPending, Payload: []byte("1")}}}
}

func ports(ctx context.Context, file, id string) (*backend.Ports, error) {
	return embedded.File(file).Open(ctx, backend.Env{Instance: backend.Instance{ID: id},
		Logger: slog.New(slog.DiscardHandler)})
}

// submitAndStay submits a task without a hint and waits to be killed.
func submitAndStay() int {
	ctx := context.Background()
	p, err := ports(ctx, os.Getenv("AF_TEST_FILE"), "submitter")
	if err == nil {
		_, err = p.Store.Insert(ctx, submission("killed"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("submitted")
	select {}
}

// The end of a process that has submitted a task, but was closed or killed before it sent a hint, wakes the listeners.
func TestEndOfSubmitterWakesListeners(t *testing.T) {
	file := filepath.Join(t.TempDir(), "af.db")
	ctx := t.Context()
	worker, err := ports(ctx, file, "worker")
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Close(context.WithoutCancel(ctx))
	l, err := worker.Transport.Listen(ctx, "q", 64)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	settle := func() { // a new peer wakes the listener, too
		for {
			within, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
			_, err := l.Next(within, 64)
			cancel()
			if err != nil {
				return
			}
		}
	}
	woken := func(t *testing.T) {
		t.Helper()
		within, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		start := time.Now()
		if _, err := l.Next(within, 64); err != nil {
			t.Errorf("the listener was not woken: %v after %v", err, time.Since(start))
		}
	}
	t.Run("closed", func(t *testing.T) {
		p, err := ports(ctx, file, "closed")
		if err != nil {
			t.Fatal(err)
		}
		settle()
		if _, err := p.Store.Insert(ctx, submission("closed")); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
		woken(t)
	})
	t.Run("killed", func(t *testing.T) {
		child := testkit.Start(t, "submitter", "AF_TEST_FILE="+file)
		child.Says(t, "submitted")
		settle()
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		woken(t)
	})
}
