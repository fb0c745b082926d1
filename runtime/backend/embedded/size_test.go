package embedded_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

const secret = "a payload that must not be readable"

// fill inserts tasks with large payloads, ends them and, if purge is set, purges them.
func fill(t *testing.T, ports *backend.Ports, tasks int, purge bool) {
	t.Helper()
	ctx := t.Context()
	for i := range tasks {
		n := aTask()
		n.Task.ID = fmt.Sprint("filled-", i)
		n.Task.Payload = fmt.Appendf(nil, "%q", bytes.Repeat([]byte(secret), 2000))
		if _, err := ports.Store.Insert(ctx, []backend.NewTask{n}); err != nil {
			t.Fatal(err)
		}
		if _, err := ports.Store.Stop(ctx, backend.Stop{ID: n.Task.ID, Reason: secret}); err != nil {
			t.Fatal(err)
		}
	}
	if !purge {
		return
	}
	if n, err := ports.Store.Purge(ctx, backend.Retention{Age: 1}, tasks); err != nil || n != tasks {
		t.Fatalf("purged %d, %v", n, err)
	}
}

// sizeAndSecrets returns the size of a file and how often it contains the secret.
func sizeAndSecrets(t *testing.T, path string) (size, secrets int) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return len(text), bytes.Count(text, []byte(secret))
}

// Purged data can't be read in the file, and its space is released.
func TestPurgeOverwritesAndShrinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	ports, err := openFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, ports, 40, false)
	if err := ports.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	full, _ := sizeAndSecrets(t, path)
	if ports, err = openFile(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if n, err := ports.Store.Purge(t.Context(), backend.Retention{Age: 1}, 40); err != nil || n != 40 {
		t.Fatalf("purged %d, %v", n, err)
	}
	if err := ports.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if size, secrets := sizeAndSecrets(t, path); size > full/2 || secrets > 0 {
		t.Errorf("of %d bytes %d are left, with %d secrets", full, size, secrets)
	}
}

// Opening a file of an older version converts it: it shrinks, and data that was deleted before is overwritten.
func TestOlderFileIsConverted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	old, err := openFile(t.Context(), path, embedded.Unshrinking())
	if err != nil {
		t.Fatal(err)
	}
	insert(t, old, "kept")
	fill(t, old, 40, true)
	if err := old.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	full, secrets := sizeAndSecrets(t, path)
	if secrets == 0 {
		t.Fatal("nothing to delete")
	}
	ports, err := openFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ports.Store.Get(t.Context(), "kept"); err != nil {
		t.Error(err)
	}
	if err := ports.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if size, secrets := sizeAndSecrets(t, path); size > full/2 || secrets > 0 {
		t.Errorf("of %d bytes %d are left, with %d secrets", full, size, secrets)
	}
	var mode int
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow("PRAGMA auto_vacuum").Scan(&mode); err != nil || mode != 2 {
		t.Errorf("auto_vacuum is %d, %v", mode, err)
	}
}

// The log stays short even if reads always overlap.
func TestLogStaysShortWithOverlappingReads(t *testing.T) {
	const most = 256 << 10
	path := filepath.Join(t.TempDir(), "af.db")
	ports := openUntilEnd(t, path, embedded.MaxLog(most))
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	stop, stopped := make(chan struct{}), make(chan error)
	go func() { stopped <- overlap(db, stop) }()
	// Without a limit the log never shrinks. On a busy machine the first attempts to truncate it may fail.
	shrunk := 0
	for i, last := 0, int64(0); shrunk < 3 && last < 64*most; i++ {
		n := aTask()
		n.Task.ID = fmt.Sprint("t", i)
		n.Task.Payload = fmt.Appendf(nil, "%q", bytes.Repeat([]byte("x"), 60_000))
		if _, err := ports.Store.Insert(t.Context(), []backend.NewTask{n}); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() < last {
			shrunk++
		}
		last = info.Size()
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if shrunk < 3 {
		t.Errorf("the log was truncated %d times while growing to %d bytes, want 3 times", shrunk, 64*most)
	}
}

// overlap reads, starting each transaction before the last one ends.
func overlap(db *sql.DB, stop chan struct{}) error {
	var last *sql.Tx
	for {
		tx, err := db.Begin()
		if err != nil {
			return err
		}
		var n int
		if err := tx.QueryRow("SELECT count(*) FROM task").Scan(&n); err != nil {
			return err
		}
		if last != nil {
			if err := last.Rollback(); err != nil {
				return err
			}
		}
		last = tx
		select {
		case <-stop:
			return last.Rollback()
		default:
		}
	}
}
