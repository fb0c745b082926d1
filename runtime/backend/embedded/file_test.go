package embedded_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

func openFile(ctx context.Context, path string, opts ...embedded.Option) (*backend.Ports, error) {
	return embedded.File(path, opts...).Open(ctx, backend.Env{Logger: slog.New(slog.DiscardHandler)})
}

// refused checks that opening a file fails with a code and a text.
func refused(t *testing.T, path string, code backend.Code, text string, opts ...embedded.Option) {
	t.Helper()
	ports, err := openFile(t.Context(), path, opts...)
	if err == nil {
		t.Error("opened", ports.Close(t.Context()))
		return
	}
	if !errors.Is(err, code) || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want %s: … %s …", err, code, text)
	}
	if _, ok := errors.AsType[*backend.Error](err); !ok {
		t.Errorf("%T is no *Error", err)
	}
}

func insert(t *testing.T, ports *backend.Ports, id string) {
	t.Helper()
	if _, err := ports.Store.Insert(t.Context(), []backend.NewTask{{Task: backend.Task{
		ID: id, Queue: "q", Status: backend.StatusWaiting, Payload: []byte(`1`),
	}}}); err != nil {
		t.Fatal(err)
	}
}

// Processes that open one file by different names share it.
func TestSymlinkIsResolved(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "af.db"), filepath.Join(dir, "link.db")
	testkit.Symlink(t, "af.db", link)
	refused(t, link, backend.ErrUnavailable, "follow the link") // dangling
	openUntilEnd(t, path)
	openUntilEnd(t, link)
	if runs, err := filepath.Glob(filepath.Join(dir, "*-run")); err != nil || len(runs) != 1 {
		t.Errorf("directories of locks: %v, %v", runs, err)
	}
}

func TestFileModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "af.db")
	insert(t, openUntilEnd(t, path), "t")
	for name, want := range map[string]os.FileMode{
		"": 0o700, "/af.db": 0o600, "/af.db-wal": 0o600, "/af.db-shm": 0o600, "/af.db-run": 0o700,
	} {
		info, err := os.Stat(filepath.Dir(path) + name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%q has mode %o, want %o", name, got, want)
		}
	}
	files, err := os.ReadDir(path + "-run")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v, %v", f.Name(), info.Mode(), err)
		}
	}
}

func TestUnusualPaths(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, path := range []string{"plain.db", "a b/c?d#e%20f&g=h.db", "ü/ß.db", strings.Repeat("long/", 40) + "af.db",
		"file:x.db", ":memory:"} {
		t.Run(path, func(t *testing.T) {
			first := openUntilEnd(t, path)
			insert(t, first, "t")
			if _, err := openUntilEnd(t, path).Store.Get(t.Context(), "t"); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
			}
		})
	}
	refused(t, "", backend.ErrInvalidArgument, "empty path")
}

// createFile creates a file that contains the task "t".
func createFile(t *testing.T, path string) {
	t.Helper()
	ports, err := openFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	insert(t, ports, "t")
	if err := ports.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	createFile(t, path)
	if files, err := os.ReadDir(path + "-run"); err != nil || len(files) != 2 { // open.lock and turn.lock
		t.Errorf("left behind: %v, %v", files, err)
	}
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the write-ahead log still exists: %v", err)
	}
	if _, err := openUntilEnd(t, path).Store.Get(t.Context(), "t"); err != nil {
		t.Error(err)
	}
}

func TestMethodsFailAfterClose(t *testing.T) {
	ports, err := openFile(t.Context(), filepath.Join(t.TempDir(), "af.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := ports.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, insertErr := ports.Store.Insert(t.Context(), []backend.NewTask{{Task: backend.Task{ID: "t", Queue: "q",
		Status: backend.StatusWaiting}}})
	_, getErr := ports.Store.Get(t.Context(), "t")
	_, listenErr := ports.Transport.Listen(t.Context(), "q", 1)
	for _, err := range []error{insertErr, getErr, listenErr} {
		if !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	}
}

func TestNetworkFileSystem(t *testing.T) {
	refused(t, filepath.Join(t.TempDir(), "af.db"), backend.ErrFailedPrecondition, "network file system (NFS)",
		embedded.OnNetwork("NFS"))
}

func TestFileOfAnotherUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	openUntilEnd(t, path)
	refused(t, path, backend.ErrPermissionDenied, "run as that user", embedded.AsUser(os.Geteuid()+1))
}

func TestForeignFileIsNotChanged(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "dir.db"), 0o700); err != nil {
		t.Fatal(err)
	}
	refused(t, filepath.Join(dir, "dir.db"), backend.ErrInvalidArgument, "not a regular file")
	text := []byte(strings.Repeat("this is no database\n", 1000))
	path := filepath.Join(dir, "text.db")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, path, backend.ErrDataLoss, "not a SQLite database")
	if got, err := os.ReadFile(path); err != nil || string(got) != string(text) {
		t.Errorf("the file was changed, %v", err)
	}

	other := filepath.Join(dir, "other.db")
	sqlite(t, other, "CREATE TABLE task (mine)")
	refused(t, other, backend.ErrFailedPrecondition, "another program")
}

// sqlite runs statements on a file that is not open elsewhere.
func sqlite(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
}

// The tasks of a file that an older version wrote have no metadata, retries or error details.
func TestOlderSchema(t *testing.T) {
	const version = 6 // the last one without these columns
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "af.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var statements []string
	for i := range version {
		step, err := os.ReadFile(fmt.Sprintf("schema/%03d.sql", i+1))
		if err != nil {
			t.Fatal(err)
		}
		statements = append(statements, string(step))
	}
	sqlite(t, path, append(statements, fmt.Sprintf("PRAGMA application_id = 0x6166676e; PRAGMA user_version = %d", version),
		`INSERT INTO task (seq, id, queue, status, weight, place, gate, due, batch,
			on_failure, done_of, retry_of, fingerprint, timeout, trace, error_code, error_message)
			VALUES (1, 'old', 'q', 3, 2, 1, 0, 1, '', '', '', '', 'f', 0, '00-1-2-01', 'aborted', 'why')`,
		`INSERT INTO payload (seq, payload) VALUES (1, '{"n":1}')`)...)
	store := openUntilEnd(t, path).Store
	claimed, _, err := store.Claim(ctx, backend.Claim{Queue: "q", Owner: "o", Nonce: "n", Max: 1})
	if err != nil || len(claimed) != 1 {
		t.Fatal(claimed, err)
	}
	got := claimed[0]
	want := backend.Task{
		ID: "old", Queue: "q", Status: backend.StatusRunning, Weight: 2, Payload: json.RawMessage(`{"n":1}`),
		Fingerprint: "f", Trace: "00-1-2-01", Attempt: 1, Fence: 1,
		Error:   &backend.TaskError{Code: backend.ErrAborted, Message: "why"},
		Created: got.Created, RunAt: got.RunAt, Started: got.Started,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("claimed (-want +got):\n%s", d)
	}
}

func TestNewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	createFile(t, path)
	newer := embedded.Steps(func(steps []string) []string { return append(steps, "CREATE TABLE more (x)") })
	ports, err := openFile(t.Context(), path, newer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ports.Store.Get(t.Context(), "t"); err != nil {
		t.Errorf("lost by the migration: %v", err)
	}
	if err := ports.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	refused(t, path, backend.ErrFailedPrecondition, "upgrade this program")
	openUntilEnd(t, path, newer)
}

func TestFailedMigrationChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	createFile(t, path)
	refused(t, path, backend.ErrInternal, "migrating the schema to version", embedded.Steps(func(steps []string) []string {
		return append(steps, "DELETE FROM task; CREATE TABLE task (again)")
	}))
	if _, err := openUntilEnd(t, path).Store.Get(t.Context(), "t"); err != nil {
		t.Error(err)
	}
}

func TestConcurrentOpens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	opened := make(chan error)
	for i := range 8 {
		go func() {
			ports, err := openFile(t.Context(), path)
			if err == nil {
				_, err = ports.Docs.PutIf(t.Context(), fmt.Sprint(i), 0, []byte(`1`))
				err = errors.Join(err, ports.Close(context.WithoutCancel(t.Context())))
			}
			opened <- err
		}()
	}
	for range 8 {
		if err := <-opened; err != nil {
			t.Error(err)
		}
	}
}
