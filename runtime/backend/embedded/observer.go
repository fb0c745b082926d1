package embedded

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded/internal/mesh"
	"github.com/afgen/afgen/runtime/internal/safepath"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// This file opens the file for an App that only reads and administers. Opening creates, writes and locks nothing, so it
// works on a full disk and on a read-only file. An observer is no peer: it has no row in the registry and no lock, and
// listens on no socket. It dials the peers within a second, and before it calls their services, sends or awaits events.

// observedPaths is preparePaths for an observer.
func observedPaths(path string, o options) (paths, error) {
	if path == "" {
		return paths{}, refusal("embedded.File: empty path")
	}
	file, err := filepath.Abs(path)
	if err != nil {
		return paths{}, backend.Errorf(backend.ErrInvalidArgument, "path %q: %w", path, err)
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return paths{}, backend.Errorf(backend.ErrNotFound,
			"no file %s, and an observer creates none: start an instance of the system first, or choose another path", file).
			With(backend.OutcomeNotSent)
	}
	file, findings, err := safepath.Walk(file, o.euid)
	if err != nil {
		return paths{}, pathError("follow the path", err)
	}
	if err := o.checkFindings(file, findings); err != nil {
		return paths{}, err
	}
	p := paths{file: file, run: file + "-run"}
	if err := o.checkLocal(filepath.Dir(file), file); err != nil {
		return paths{}, err
	}
	return p, p.checkFiles(o)
}

// openObserver opens the file for an observer.
func openObserver(ctx context.Context, p paths, o options, env backend.Env) (*session, error) {
	id := rand.Text()
	db := observeDatabase(p.file, id, o, newWriteLock(filepath.Join(p.run, writeLockFile)))
	s := &session{db: db}
	if _, err := db.readRow(ctx, "SELECT 1", nil, new(int)); err != nil {
		return nil, errors.Join(err, db.close())
	}
	s.peers = &registry{db: db, self: id, run: p.run, observer: true, log: env.Logger, lost: signal.New(),
		deaths: signal.New(), offers: map[offer]int{}, files: newFileWatch(p.file)}
	s.transport = &transport{
		db: db, peers: s.peers, closed: make(chan struct{}), listeners: map[offer]map[*listener]struct{}{},
	}
	s.mesh = mesh.New(mesh.Options{ID: id, Dir: p.run, Logger: env.Logger, Resolve: s.peers.resolve, Dial: s.peers.dial,
		OnNotice: s.onNotice, OnGap: s.onGap, OnLost: s.onLost})
	s.coordinator = &coordinator{db: db, mesh: s.mesh, peers: s.peers, observer: true}
	s.peers.mesh = s.mesh
	background, end := context.WithCancel(context.Background())
	s.stop = end
	s.background.Go(func() { s.peers.watch(background) })
	return s, nil
}

// errObserver returns the error of an operation that only instances have.
func errObserver(what string) error {
	return backend.Errorf(backend.ErrFailedPrecondition, "an observer %s", what).With(backend.OutcomeNotSent)
}

// observeDatabase returns a database that is opened by its first read. Its writer is opened by the first change.
func observeDatabase(path, peer string, o options, turn *writeLock) *database {
	db := &database{file: dbFile(path), reads: map[string]*sql.Stmt{}}
	db.observed = &observed{db: db, schema: len(o.migrations)}
	w := newStoppedWriter(db, path, peer, o, turn)
	w.open = func() (*sql.DB, *sql.Conn, error) { return db.observed.openWriter(o) }
	db.writer = w
	go w.loop()
	return db
}

// An observed is how an observer reads the file. SQLite shares a write-ahead log by another file (-shm), and creates both
// if they don't exist, which is impossible on a full disk or in a read-only directory. So while there is no log, no
// process has written since the last one has closed the file, and SQLite reads the file as one that doesn't change. If
// the file or its log has changed during a read, the read is repeated.
type observed struct {
	db     *database
	schema int // the version of this program

	mu    sync.RWMutex // read-locked by each read, locked to open the file
	open  bool
	state fileState // when it was opened
}

// maxRereads is how often a read is repeated because the file has changed.
const maxRereads = 5

// A fileState is the state of the file while nothing is in the log.
type fileState struct {
	logged bool // the log is not empty; then info is nil
	info   os.FileInfo
}

func (f dbFile) state() (fileState, error) {
	if log, err := os.Stat(string(f) + "-wal"); err == nil && log.Size() > 0 {
		return fileState{logged: true}, nil
	}
	info, err := os.Stat(string(f))
	if err != nil {
		return fileState{}, pathError("look at the file", err)
	}
	return fileState{info: info}, nil
}

func (s fileState) equal(other fileState) bool {
	if s.logged || other.logged {
		return s.logged == other.logged
	}
	return s.info.Size() == other.info.Size() && s.info.ModTime().Equal(other.info.ModTime()) &&
		os.SameFile(s.info, other.info)
}

// read runs a read of the file, which may be repeated.
func (o *observed) read(ctx context.Context, read func() error) error {
	for range maxRereads {
		done, err := o.tryRead(read)
		if done || err != nil {
			return err
		}
		if err := o.reopen(ctx); err != nil {
			return err
		}
	}
	return backend.NewError(backend.ErrUnavailable, "the file is opened and closed too often to be observed, try again").
		With(backend.OutcomeNotSent)
}

// tryRead runs a read if the file is as it was when it was opened. It returns false if it has changed.
func (o *observed) tryRead(read func() error) (done bool, err error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	before, err := o.db.file.state()
	if err != nil || !o.open || !before.equal(o.state) {
		return false, err
	}
	readErr := read()
	if after, err := o.db.file.state(); err != nil || !o.state.logged && !after.equal(o.state) {
		return false, err
	}
	return true, readErr
}

// reopen opens the file as it is now, and checks its schema.
func (o *observed) reopen(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	state, err := o.db.file.state()
	if err != nil || o.open && state.equal(o.state) {
		return err
	}
	if err := o.db.closeReaders(); err != nil {
		return o.db.file.wrapError(err)
	}
	o.open = false
	mode := "&mode=ro"
	if !state.logged {
		mode += "&immutable=1"
	}
	pool, err := sql.Open("sqlite", dsn(string(o.db.file), "busy_timeout(5000)", "query_only(1)", "cache_size(-4000)",
		"temp_store(MEMORY)")+mode)
	if err != nil {
		return o.db.file.wrapError(err)
	}
	if err := o.checkSchema(ctx, pool); err != nil {
		err = errors.Join(o.db.file.readError(ctx, err), pool.Close())
		if after, lookErr := o.db.file.state(); lookErr == nil && !after.equal(state) {
			return nil // the caller tries again
		}
		return err
	}
	pool.SetMaxOpenConns(readConnections)
	pool.SetMaxIdleConns(readConnections)
	o.db.setReaders(pool)
	o.open, o.state = true, state
	return nil
}

// checkSchema returns an error unless the file has the schema of this program.
func (o *observed) checkSchema(ctx context.Context, pool *sql.DB) error {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	version, err := check(ctx, conn, o.schema)
	if err == nil && version < o.schema {
		err = backend.Errorf(backend.ErrFailedPrecondition,
			"the file was written by an older version of afgen (schema %d, this program reads %d), and an observer doesn't "+
				"migrate it: start an instance of the system with this version, or observe with the older one", version, o.schema)
	}
	return err
}

// openWriter opens a connection that writes, without changing the file.
func (o *observed) openWriter(opts options) (*sql.DB, *sql.Conn, error) {
	pool, err := sql.Open("sqlite", dsn(string(o.db.file), append([]string{"busy_timeout(5000)", "secure_delete(ON)",
		"synchronous(" + opts.synchronous() + ")", "cache_size(-4000)", "wal_autocheckpoint(4000)",
		"journal_size_limit(67108864)", "temp_store(MEMORY)"}, opts.pragmas...)...)+"&mode=rw")
	if err != nil {
		return nil, nil, err
	}
	pool.SetMaxOpenConns(1)
	if err := o.checkSchema(unbounded, pool); err != nil {
		return nil, nil, errors.Join(o.db.file.wrapError(err), pool.Close())
	}
	conn, err := pool.Conn(unbounded)
	if err == nil {
		_, err = conn.ExecContext(unbounded, "PRAGMA busy_timeout(0)")
	}
	if err != nil {
		return nil, nil, errors.Join(o.db.file.wrapError(err), pool.Close())
	}
	return pool, conn, nil
}
