package embedded

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
)

// openTest opens a file and closes it when the test ends.
func openTest(t *testing.T, opts ...Option) *session {
	t.Helper()
	return openTestAt(t, filepath.Join(t.TempDir(), "af.db"), opts...)
}

func openTestAt(t *testing.T, path string, opts ...Option) *session {
	t.Helper()
	b := File(path, opts...)
	p, err := preparePaths(b.path, b.options)
	if err != nil {
		t.Fatal(err)
	}
	s, err := openSession(t.Context(), p, b.options, backend.Env{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		select {
		case <-s.transport.closed: // by the test
			return
		default:
		}
		if err := s.close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func put(name string) func(*tx) error {
	return func(tx *tx) error {
		return tx.exec("INSERT INTO doc (name, revision, value) VALUES (?, 1, '1')", name)
	}
}

// hold blocks the writer in a job until released. It returns once the job runs.
func hold(t *testing.T, s *session) (release func()) {
	t.Helper()
	running, free, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var once sync.Once // the job may run again, after others in its transaction failed
	go func() {
		ended <- change(context.Background(), s.db.writer, func(*tx) error {
			once.Do(func() { close(running) })
			<-free
			return nil
		})
	}()
	<-running
	return func() {
		close(free)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func outcomeOf(err error) backend.Outcome {
	e, _ := errors.AsType[*backend.Error](err)
	return e.Outcome
}

func TestCancelledJobIsNotStarted(t *testing.T) {
	s := openTest(t)
	release := hold(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	ran := false
	go func() {
		gone <- change(ctx, s.db.writer, func(*tx) error {
			ran = true
			return nil
		})
	}()
	testkit.Eventually(t, "the job is queued", func() bool { return len(s.db.jobs) > 0 })
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) || outcomeOf(err) != backend.OutcomeNotSent {
		t.Errorf("got %v, %v", err, outcomeOf(err))
	}
	release()
	if err := change(t.Context(), s.db.writer, put("after")); err != nil {
		t.Error(err)
	}
	if ran {
		t.Error("the job was started")
	}
}

func TestCancelDuringJobMakesOutcomeUnknown(t *testing.T) {
	s := openTest(t)
	ctx, cancel := context.WithCancel(t.Context())
	running, free := make(chan struct{}), make(chan struct{})
	gone := make(chan error, 1)
	go func() {
		gone <- change(ctx, s.db.writer, func(tx *tx) error {
			close(running)
			<-free
			return put("late")(tx)
		})
	}()
	<-running
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) || outcomeOf(err) != backend.OutcomeUnknown {
		t.Errorf("got %v, %v", err, outcomeOf(err))
	}
	close(free)
	if err := change(t.Context(), s.db.writer, put("after")); err != nil {
		t.Error(err)
	}
	if _, err := (&docs{s.db}).Get(t.Context(), "late"); err != nil {
		t.Errorf("the job was started but not finished: %v", err)
	}
}

// Queued jobs share a transaction. One that SQLite rejects fails alone.
func TestFailingJobFailsAlone(t *testing.T) {
	s := openTest(t)
	release := hold(t, s)
	errs := map[string]chan error{}
	for _, name := range []string{"a", "b", "bad", "c"} {
		ended := make(chan error, 1)
		errs[name] = ended
		go func() {
			ended <- change(t.Context(), s.db.writer, func(tx *tx) error {
				if err := put(name)(tx); err != nil || name != "bad" {
					return err
				}
				return put("bad")(tx)
			})
		}()
	}
	testkit.Eventually(t, "all jobs are queued", func() bool { return len(s.db.jobs) == 4 })
	release()
	for name, ch := range errs {
		if err := <-ch; (err != nil) != (name == "bad") {
			t.Errorf("%s: %v", name, err)
		}
	}
	all, err := (&docs{s.db}).List(t.Context(), "")
	if err != nil || len(all) != 3 {
		t.Errorf("%v, %v", all, err)
	}
}

// A process is stopped in the middle of a transaction: writes fail after a while, reads succeed, and writes succeed
// again once it continues.
func TestHeldWriteLockMakesWritesUnavailable(t *testing.T) {
	s := openTest(t, func(o *options) { o.lockTimeout = 50 * time.Millisecond })
	var path string
	if _, err := s.db.readRow(t.Context(), "SELECT file FROM pragma_database_list WHERE name = 'main'", nil,
		&path); err != nil {
		t.Fatal(err)
	}
	other, err := sql.Open("sqlite", dsn(path, "busy_timeout(5000)"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1)
	run := func(text string) {
		t.Helper()
		if _, err := other.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	run("BEGIN IMMEDIATE")
	err = change(t.Context(), s.db.writer, put("a"))
	if !errors.Is(err, backend.ErrUnavailable) || outcomeOf(err) != backend.OutcomeNotSent {
		t.Errorf("got %v, %v", err, outcomeOf(err))
	}
	if _, err := (&docs{s.db}).List(t.Context(), ""); err != nil {
		t.Errorf("reading: %v", err)
	}
	run("COMMIT")
	if err := change(t.Context(), s.db.writer, put("a")); err != nil {
		t.Error(err)
	}
}

// A peer could not remove itself, because the disk was full or the write lock held.
func TestPeerThatFailedToCloseIsRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	stays, leaves := openTestAt(t, path), openTestAt(t, path, func(o *options) { o.lockTimeout = 50 * time.Millisecond })
	release := hold(t, stays) // the write lock
	if err := leaves.close(t.Context()); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("closing while the write lock is held: %v", err)
	}
	release()
	testkit.Eventually(t, "the peer is removed", func() bool {
		v, err := stays.peers.current(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		_, there := v.peers[leaves.peers.self]
		_, err = os.Stat(lockFile(stays.peers.run, leaves.peers.self))
		return !there && errors.Is(err, os.ErrNotExist)
	})
}
