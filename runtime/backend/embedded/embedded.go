// Package embedded is the backend that needs nothing installed: one SQLite file, shared by as many processes of one machine
// and user as open it. It is the default.
//
//	app, err := af.Open(ctx, embedded.File(".af/af.db"))
//
// Each process that opens the same path lives in the same world: what one submits another runs, a call finds the instances
// of all. There is no daemon and no port to configure; the first process to come creates the file, and the last to go
// leaves it tidy.
//
// # What is where
//
// The file has all that must last: tasks, documents, raw messages, and the registry of who shares it. Beside it, in the
// directory af.db-run, each process holds a lock and listens on a socket. The file and the directories are this user's alone. A
// path on a network file system is refused, and so is one of another user, or where another user can replace the file
// (docs/embedded.md).
//
// # Writing
//
// SQLite lets one write at a time. In each process one goroutine writes (writer.go), and what has come together goes into
// one transaction, so that many submitters cost little more than one. Several processes take turns (turn.go). Whoever only
// looks reads a snapshot and is in nobody's way; so does a claim that finds nothing.
//
// A transition of a task is one UPDATE by its row, guarded in the same transaction; the schema (schema/001.sql) says what is
// indexed, and a statement that would look at all tasks fails a test. Only a list sorted by end, or by statuses that most
// tasks don't have, reads more than it returns.
//
// By default a commit survives the death of every process, and the last moments before a power failure may be lost; with
// [FullSync] they are not, at the price of a sync to the disk for each transaction.
//
// # Hearing of one another
//
// Calls, wake-ups and news go over sockets (package mesh), whose addresses stand in the file. A process that dies lets go
// of its lock, whatever it dies of: the others see that at once, fail the calls that it was handling, and convict it as the
// owner of its tasks without waiting for its lease ([backend.ProcessWatcher]). One that is merely stopped keeps its lock, and is
// judged by its counter as on any backend.
//
// # What it can't do
//
// A process that is stopped (SIGSTOP, a debugger) in the middle of a transaction holds SQLite's write lock: until it goes
// on or dies the others can read and not write. Their writes fail as unavailable after 5 s, tasks that run lose their
// leases, and nobody is convicted for it.
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

// A Backend is a file to be opened. It is safe for concurrent use, and may be opened several times, also in one process.
type Backend struct {
	path    string
	options options
}

// An Option changes how a file is opened.
type Option func(*options)

type options struct {
	full       bool
	patience   time.Duration                     // with who holds the write lock
	loopback   bool                              // no unix socket
	fileSystem func(path string) (string, error) // the kind of a network file system
	euid       int                               // who runs this
	steps      []string                          // of the schema
	pragmas    []string                          // more of the writer's
	also       string                            // run when the schema is there
	now        func() time.Time                  // the file's time
	maxLog     int64                             // bytes of SQLite's log
	old        bool                              // as files were before they could shrink
	log        *slog.Logger
}

// FullSync makes every commit survive a power failure, too.
func FullSync() Option { return func(o *options) { o.full = true } }

// File returns the backend that keeps everything in the file path, which is created, with its folder, where it isn't there.
// A relative path is relative to the working directory at Open.
func File(path string, opts ...Option) *Backend {
	b := &Backend{path: path, options: options{patience: 5 * time.Second, fileSystem: fileSystem, euid: os.Geteuid(), steps: steps(), now: time.Now, maxLog: maxLog}}
	for _, o := range opts {
		if o != nil {
			o(&b.options)
		}
	}
	return b
}

func (o options) synchronous() string {
	if o.full {
		return "FULL"
	}
	return "NORMAL"
}

// prepare brings the schema up to date, and lets the writer from now on wait in its own way.
func (o options) prepare(ctx context.Context, conn *sql.Conn) error {
	if err := migrate(ctx, conn, o.steps); err != nil {
		return err
	}
	if !o.old {
		convert(ctx, conn, o.log)
	}
	for _, text := range append([]string{o.also, "PRAGMA busy_timeout(0)"}, o.pragmas...) {
		if _, err := conn.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	return nil
}

// Open implements backend.Backend. It refuses, with a message that says what to do: a file of a newer schema or of another
// program, one of another user or that another user can replace, a path on a network file system.
func (b *Backend) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	if err := alive(ctx); err != nil {
		return nil, err
	}
	o := b.options
	o.log = env.Logger
	p, err := settle(b.path, o)
	if err != nil {
		return nil, err
	}
	s, err := openSession(ctx, p, o, env)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.file, err)
	}
	return s.ports(), nil
}
