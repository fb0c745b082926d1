// Package embedded is the default backend: one SQLite file, shared by any number of processes of one user on one
// machine. It needs nothing installed.
//
//	app, err := af.Open(ctx, embedded.File(".af/af.db"))
//
// All processes that open the same path share their tasks and services: a task submitted by one may run in another, and
// a call reaches the instances of all. There is no daemon and no port to configure. The first process creates the file,
// and the last one removes the temporary files.
//
// # Files
//
// The file holds everything durable: tasks, documents, raw messages, and the registry of the processes that share it.
// In the directory next to it, af.db-run, each process holds a lock and listens on a socket. The file and the
// directories are accessible to this user only. Open refuses a path on a network file system, a file of another user,
// and a path where another user could replace the file (docs/embedded.md).
//
// # Writing
//
// SQLite has one writer at a time. In each process one goroutine writes (writer.go). Changes that are queued together
// share a transaction, so many concurrent submitters cost little more than one. Processes take turns (writelock.go).
// Reads use a snapshot and don't block writes; a claim that finds no task only reads.
//
// Each transition of a task is one UPDATE by rowid, guarded in the same transaction. The schema (schema/001.sql)
// documents the indexes, and a test fails if a statement scans all tasks. Only a list sorted by end time, or of
// statuses that most tasks don't have, reads more rows than it returns.
//
// By default a commit survives a crash of every process, but the last commits before a power failure may be lost.
// [FullSync] prevents that at the cost of a disk sync for each transaction.
//
// # Other processes
//
// Calls, wake-ups and events travel over sockets (package mesh) whose addresses are in the file. The operating system
// releases the lock of a process that dies. The others notice at once, fail the calls that it was handling, and expire
// it as the owner of its tasks without waiting for its lease ([backend.ProcessWatcher]). A stopped process keeps its
// lock and is subject to its lease, as on any backend.
//
// # Observers
//
// An observer ([backend.Env]) opens an existing file without writing, even on a full disk or in a read-only directory. It
// is not in the registry, but dials the other processes. Only its changes, such as stopping a task, need a file that can
// be written.
//
// # Limitations
//
// A process that is stopped in the middle of a transaction (SIGSTOP, a debugger) holds SQLite's write lock. Until it
// continues or dies, other processes can read but not write: writes fail as unavailable after 5 s and running tasks
// lose their leases, but no owner expires because of it.
package embedded

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A Backend is a file to open. It is safe for concurrent use and may be opened several times, even in one process.
type Backend struct {
	path    string
	options options
}

// An Option configures a Backend.
type Option func(*options)

type options struct {
	fullSync    bool
	lockTimeout time.Duration                     // for SQLite's write lock
	loopback    bool                              // use TCP instead of unix sockets
	fileSystem  func(path string) (string, error) // returns the kind of a network file system, or ""
	euid        int                               // the effective user id
	migrations  []string                          // the schema's history
	pragmas     []string                          // additional ones for the writer
	setup       string                            // statements to run after the migrations
	now         func() time.Time                  // the file's clock
	maxLog      int64                             // limit of SQLite's write-ahead log, in bytes
	noVacuum    bool                              // create the file as older versions did, unable to shrink
	log         *slog.Logger
	observer    bool
}

// FullSync makes every commit survive a power failure.
func FullSync() Option { return func(o *options) { o.fullSync = true } }

// File returns a backend that stores everything in the file path. Open creates the file and its directory if they don't
// exist. A relative path is relative to the working directory at Open.
func File(path string, opts ...Option) *Backend {
	b := &Backend{path: path, options: options{lockTimeout: 5 * time.Second, fileSystem: fileSystem, euid: os.Geteuid(),
		migrations: migrations(), now: time.Now, maxLog: defaultMaxLog}}
	for _, o := range opts {
		if o != nil {
			o(&b.options)
		}
	}
	return b
}

func (o options) synchronous() string {
	if o.fullSync {
		return "FULL"
	}
	return "NORMAL"
}

// prepare migrates the schema and configures the writer's connection.
func (o options) prepare(ctx context.Context, conn *sql.Conn) error {
	if err := migrate(ctx, conn, o.migrations); err != nil {
		return err
	}
	if !o.noVacuum {
		enableAutoVacuum(ctx, conn, o.log)
	}
	for _, text := range append([]string{o.setup, "PRAGMA busy_timeout(0)"}, o.pragmas...) {
		if _, err := conn.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	return nil
}

// Open implements backend.Backend. It refuses a file of a newer schema or of another program, and a path on a network
// file system. It also refuses a file that belongs to another user, or that another user can replace. Its errors
// contain advice. For an observer it creates nothing, and refuses a file of an older schema, too.
func (b *Backend) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	o := b.options
	o.log, o.observer = env.Logger, env.Observer
	prepare, open := preparePaths, openSession
	if o.observer {
		prepare, open = observedPaths, openObserver
	}
	p, err := prepare(b.path, o)
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, p, o, env)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.file, err)
	}
	ports := s.ports()
	ports.Location = p.file
	return ports, nil
}
