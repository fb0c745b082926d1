package embedded_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
)

// A process may be killed before it is in the registry, and the process that removes it before its files are removed.
func TestStaleFilesAreRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	left := []string{path + "-run/DEAD.lock", path + "-run/DEAD.sock"}
	leave := func() {
		for _, name := range left {
			if err := os.WriteFile(name, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	wantRemoved := func(when string) {
		t.Helper()
		for _, name := range left {
			if _, err := os.Stat(name); err == nil {
				t.Errorf("%s: %s still exists", when, name)
			}
		}
	}
	first, err := openFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	leave()
	second, err := openFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	wantRemoved("after Open")
	leave()
	for _, ports := range []*backend.Ports{first, second} {
		if err := ports.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	wantRemoved("after the last Close")
}

func init() { children["leaver"] = openAndClose }

// openAndClose opens a file, and closes it when its input ends.
func openAndClose() int {
	ports, err := openFile(context.Background(), os.Getenv("AF_TEST_PATH"))
	if err == nil {
		fmt.Println("open")
		_, _ = io.Copy(io.Discard, os.Stdin)
		err = ports.Close(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func TestConcurrentClosesRemoveLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	for range 5 {
		var opened, closed sync.WaitGroup
		end := make(chan struct{})
		for range 6 {
			c := testkit.Start(t, "leaver", "AF_TEST_PATH="+path)
			opened.Go(func() {
				if _, err := c.Out.ReadString('\n'); err != nil {
					t.Error(err)
				}
			})
			closed.Go(func() {
				<-end
				c.End(t)
			})
		}
		opened.Wait()
		close(end)
		closed.Wait()
		if left, err := filepath.Glob(path + "-wal"); err != nil || len(left) > 0 {
			t.Fatalf("left behind: %v, %v", left, err)
		}
	}
}

func TestCloseToleratesRemovedLockFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	ports, err := openFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	locks, err := filepath.Glob(path + "-run/*.lock")
	if err != nil || len(locks) < 2 {
		t.Fatalf("%v, %v", locks, err)
	}
	for _, file := range locks {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	if err := ports.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
