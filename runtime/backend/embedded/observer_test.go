package embedded_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

func observe(ctx context.Context, path string, opts ...embedded.Option) (*backend.Ports, error) {
	return embedded.File(path, opts...).Open(ctx, backend.Env{Observer: true, Logger: slog.New(slog.DiscardHandler)})
}

// observeUntilEnd opens a file as an observer until the test ends.
func observeUntilEnd(t *testing.T, path string) *backend.Ports {
	t.Helper()
	ports, err := observe(t.Context(), path)
	testkit.Must(t, err)
	t.Cleanup(func() { testkit.Must(t, ports.Close(context.Background())) })
	return ports
}

// names returns the names of all files in a directory and below.
func names(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	testkit.Must(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		all = append(all, path)
		return err
	}))
	return strings.Join(all, "\n")
}

// An observer of a file that no process has open creates no files, and sees what processes write that open it later.
func TestObserverFollowsWriters(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "af.db")
	createFile(t, path)
	before := names(t, dir)
	content, err := os.ReadFile(path)
	testkit.Must(t, err)
	ports := observeUntilEnd(t, path)
	count := func(want int) {
		t.Helper()
		page, err := ports.Store.List(t.Context(), backend.TaskQuery{})
		testkit.Must(t, err)
		queues, err := ports.Store.Queues(t.Context())
		testkit.Must(t, err)
		if len(page.Tasks) != want || queues[0].Counts[backend.StatusWaiting].N != want {
			t.Fatalf("%d tasks and counts %v, want %d", len(page.Tasks), queues[0].Counts, want)
		}
	}
	count(1)
	if after := names(t, dir); after != before {
		t.Errorf("files before:\n%s\nand after:\n%s", before, after)
	}
	if now, err := os.ReadFile(path); err != nil || string(now) != string(content) {
		t.Errorf("the file was changed, %v", err)
	}
	for n, id := range []string{"b", "c"} { // each time the last process moves the log into the file
		writer, err := openFile(t.Context(), path)
		testkit.Must(t, err)
		insert(t, writer, id)
		count(n + 2)
		testkit.Must(t, writer.Close(t.Context()))
		count(n + 2)
	}
}

// An observer is no peer, but sees instances, receives their events, and calls their services.
func TestObserverIsNoPeer(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "af.db")
	instance := openUntilEnd(t, path)
	testkit.Must(t, instance.Coordinator.Announce(t.Context(), "instance", "i", json.RawMessage(`1`)))
	_, err := instance.Calls.Serve(t.Context(), backend.Endpoint{Service: "echo", Concurrency: 1},
		func(_ context.Context, req *backend.Request, reply func(*backend.Reply)) {
			reply(&backend.Reply{Body: req.Body})
		})
	testkit.Must(t, err)
	before := names(t, dir)
	ports := observeUntilEnd(t, path)
	if after := names(t, dir); after != before {
		t.Errorf("files before:\n%s\nand after:\n%s", before, after)
	}
	if present, err := ports.Coordinator.Present(t.Context(), "instance"); err != nil || len(present) != 1 {
		t.Errorf("present: %v, %v", present, err)
	}
	reply, err := ports.Calls.Call(t.Context(), &backend.Request{ID: "1", Service: "echo", Method: "m",
		Timeout: time.Minute, Body: []byte(`"x"`)})
	if err != nil || reply.Err != nil || string(reply.Body) != `"x"` {
		t.Errorf("called: %+v, %v", reply, err)
	}
	waitConnected(t, ports, instance)
	_, err = ports.Calls.Serve(t.Context(), backend.Endpoint{Service: "s", Concurrency: 1}, nil)
	wantRefused(t, err)
	_, err = ports.Transport.Listen(t.Context(), "q", 1)
	wantRefused(t, err)
	wantRefused(t, ports.Coordinator.Announce(t.Context(), "instance", "o", json.RawMessage(`1`)))
}

// Reading connects an observer with no peer, so that it waits for none that is stopped. Sending an event does.
func TestObserverConnectsToSend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	createFile(t, path)
	dialed := make(chan struct{}, 100)
	stopped := testkit.Serve(t, func(c net.Conn) {
		dialed <- struct{}{}
		_, _ = io.Copy(io.Discard, c)
	})
	db, err := sql.Open("sqlite", path)
	testkit.Must(t, err)
	_, err = db.Exec("INSERT INTO peer VALUES ('p', 1, 'tcp', ?, 'token')", stopped)
	testkit.Must(t, errors.Join(err, db.Close()))
	for fast := false; !fast; { // an observer connects after a second, too
		begun := time.Now()
		ports, err := observe(t.Context(), path)
		testkit.Must(t, err)
		_, err = ports.Store.List(t.Context(), backend.TaskQuery{})
		testkit.Must(t, err)
		_, err = ports.Coordinator.Present(t.Context(), "instance")
		testkit.Must(t, err)
		n := len(dialed)
		if fast = time.Since(begun) < time.Second; fast && n > 0 {
			t.Error("a reader has connected to a peer")
		}
		testkit.Must(t, ports.Coordinator.Publish(t.Context(), "topic", json.RawMessage(`1`)))
		<-dialed
		testkit.Must(t, ports.Close(t.Context()))
	}
}

func wantRefused(t *testing.T, err error) {
	t.Helper()
	if code := backend.CodeOf(err); code != backend.ErrFailedPrecondition {
		t.Errorf("got %v, want %s", err, backend.ErrFailedPrecondition)
	}
}

// The changes of an observer reach the processes that have the file open, and the file if there are none.
func TestObserverChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	createFile(t, path)
	ports := observeUntilEnd(t, path)
	_, err := ports.Store.Stop(t.Context(), backend.Stop{ID: "t"})
	testkit.Must(t, err)
	for _, p := range []*backend.Ports{ports, openUntilEnd(t, path)} {
		if task, err := p.Store.Get(t.Context(), "t"); err != nil || task.Status != backend.StatusStopped {
			t.Errorf("%v, %v", task.Status, err)
		}
	}
}

func TestObserverRefusesOtherSchemas(t *testing.T) {
	dir := t.TempDir()
	refuse := func(path string, code backend.Code, text string) {
		t.Helper()
		before := names(t, dir)
		ports, err := observe(t.Context(), path)
		if err == nil {
			t.Fatal("opened", ports.Close(t.Context()))
		}
		if backend.CodeOf(err) != code || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want %s: … %s …", err, code, text)
		}
		if after := names(t, dir); after != before {
			t.Errorf("files before:\n%s\nand after:\n%s", before, after)
		}
	}
	refuse(filepath.Join(dir, "none.db"), backend.ErrNotFound, "start an instance")
	steps := map[string]func([]string) []string{
		"older.db": func(all []string) []string { return all[:len(all)-1] },
		"newer.db": func(all []string) []string { return append(all, "CREATE TABLE more (x)") },
	}
	for name, change := range steps {
		ports, err := openFile(t.Context(), filepath.Join(dir, name), embedded.Steps(change))
		testkit.Must(t, err)
		testkit.Must(t, ports.Close(t.Context()))
	}
	refuse(filepath.Join(dir, "older.db"), backend.ErrFailedPrecondition, "start an instance of the system with this version")
	refuse(filepath.Join(dir, "newer.db"), backend.ErrFailedPrecondition, "upgrade this program")
}
