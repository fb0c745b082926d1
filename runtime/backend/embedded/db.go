package embedded

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/oserror"
)

// A database is the opened file: one connection that writes, and several that read.
type database struct {
	*writer
	file    dbFile
	readers *sql.DB

	mu    sync.Mutex
	reads map[string]*sql.Stmt // by query

	generation generation
	observed   *observed // nil unless this App is an observer
}

// A generation is the last seen generation of the registry.
type generation struct {
	mu    sync.Mutex
	value int64
	at    time.Time

	alone   bool // at the generation aloneAt, this process was the only peer
	aloneAt int64
}

func (g *generation) saw(value int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.value, g.at = max(g.value, value), time.Now()
}

// sawPeers records whether this process was the only peer at a generation.
func (g *generation) sawPeers(value int64, alone bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if value >= g.aloneAt {
		g.alone, g.aloneAt = alone, value
	}
}

// isAlone reports whether this process was the only peer as of its last transaction.
func (g *generation) isAlone() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.alone && g.aloneAt == g.value
}

// generationWithin returns the registry's generation, reading it again if it was last read longer than age ago.
func (db *database) generationWithin(ctx context.Context, age time.Duration) (int64, error) {
	db.generation.mu.Lock()
	value, at := db.generation.value, db.generation.at
	db.generation.mu.Unlock()
	if age > 0 && time.Since(at) <= age {
		return value, nil
	}
	if _, err := db.readRow(ctx, "SELECT registry FROM counter", nil, &value); err != nil {
		return 0, err
	}
	db.generation.saw(value)
	return value, nil
}

const readConnections = 4

// openDatabase opens the file, which exists, and migrates its schema. peer is the id of this peer.
func openDatabase(ctx context.Context, path, peer string, o options, turn *writeLock) (*database, error) {
	db := &database{file: dbFile(path), reads: map[string]*sql.Stmt{}}
	var err error
	if db.writer, err = newWriter(ctx, db, path, peer, o, turn); err != nil {
		return nil, err
	}
	db.readers, err = sql.Open("sqlite", dsn(path, "busy_timeout(5000)", "query_only(1)", "cache_size(-4000)"))
	if err != nil {
		return nil, errors.Join(db.file.wrapError(err), db.writer.close())
	}
	db.readers.SetMaxOpenConns(readConnections)
	db.readers.SetMaxIdleConns(readConnections)
	return db, nil
}

// dsn returns the driver's name for the file, escaping its path.
func dsn(path string, pragmas ...string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") { // C:/…
		path = "/" + path
	}
	query := url.Values{"_pragma": pragmas}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + query.Encode()
}

// close waits for queued writes and closes the file.
func (db *database) close() error {
	if db.observed != nil {
		db.observed.mu.Lock()
		defer db.observed.mu.Unlock()
		db.observed.open = false
	}
	return errors.Join(db.writer.close(), db.closeReaders())
}

// closeReaders closes the connections that read.
func (db *database) closeReaders() (err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, s := range db.reads {
		err = errors.Join(err, s.Close())
	}
	if db.reads = nil; db.readers != nil {
		err = errors.Join(err, db.readers.Close())
	}
	return err
}

// setReaders replaces the connections that read, which were closed.
func (db *database) setReaders(pool *sql.DB) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.readers, db.reads = pool, map[string]*sql.Stmt{}
}

// steadily runs a read, which is repeated if an observer has read a file that was changing.
func (db *database) steadily(ctx context.Context, read func() error) error {
	if db.observed == nil {
		return read()
	}
	if err := checkContext(ctx); err != nil {
		return err
	}
	return db.observed.read(ctx, read)
}

// read runs a query on a snapshot of the committed data.
func (db *database) read(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	s, err := db.prepared(query)
	if err != nil {
		return nil, db.file.wrapError(err)
	}
	rows, err := s.QueryContext(ctx, args...)
	if err != nil {
		return nil, db.file.readError(ctx, err)
	}
	return rows, nil
}

// readRow scans the first row of a query into to. found reports whether there is one.
func (db *database) readRow(ctx context.Context, query string, args []any, to ...any) (found bool, err error) {
	if db.observed != nil {
		return db.readRowSteadily(ctx, query, args, to)
	}
	return db.readRowOnce(ctx, query, args, to...)
}

func (db *database) readRowSteadily(ctx context.Context, query string, args, to []any) (found bool, err error) {
	err = db.steadily(ctx, func() (err error) {
		found, err = db.readRowOnce(ctx, query, args, to...)
		return err
	})
	return found, err
}

func (db *database) readRowOnce(ctx context.Context, query string, args []any, to ...any) (found bool, err error) {
	rows, err := db.read(ctx, query, args...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	if found = rows.Next(); found {
		err = rows.Scan(to...)
	}
	if err = errors.Join(err, rows.Err()); err != nil {
		return false, db.file.readError(ctx, err)
	}
	return found, nil
}

// A snapshot is a view of the committed data.
type snapshot struct {
	ctx context.Context
	db  *database
	tx  *sql.Tx
}

// readSnapshot calls fn with a snapshot that is valid until fn returns. It may call fn more than once.
func (db *database) readSnapshot(ctx context.Context, fn func(s *snapshot) error) error {
	return db.steadily(ctx, func() error { return db.readSnapshotOnce(ctx, fn) })
}

func (db *database) readSnapshotOnce(ctx context.Context, fn func(s *snapshot) error) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	tx, err := db.readers.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return db.file.readError(ctx, err)
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	return fn(&snapshot{ctx, db, tx})
}

func (v *snapshot) query(query string, args ...any) (*sql.Rows, error) {
	s, err := v.db.prepared(query)
	if err != nil {
		return nil, v.db.file.wrapError(err)
	}
	rows, err := v.tx.StmtContext(v.ctx, s).QueryContext(v.ctx, args...)
	if err != nil {
		return nil, v.db.file.readError(v.ctx, err)
	}
	return rows, nil
}

// readFrom reads all rows of a query.
func readFrom[T any](v *snapshot, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	rows, err := v.query(query, args...)
	if err != nil {
		return nil, err
	}
	all, err := scanAll(rows, scan)
	if err != nil {
		return nil, v.db.file.readError(v.ctx, err)
	}
	return all, nil
}

// readAll reads all rows of a query.
func readAll[T any](ctx context.Context, db *database, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T,
	error) {
	if db.observed == nil {
		return readAllOnce(ctx, db, scan, query, args...)
	}
	var all []T
	err := db.steadily(ctx, func() (err error) {
		all, err = readAllOnce(ctx, db, scan, query, args...)
		return err
	})
	return all, err
}

func readAllOnce[T any](
	ctx context.Context, db *database, scan func(*sql.Rows) (T, error), query string, args ...any,
) ([]T, error) {
	rows, err := db.read(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	all, err := scanAll(rows, scan)
	if err != nil {
		return nil, db.file.readError(ctx, err)
	}
	return all, nil
}

func scanAll[T any](rows *sql.Rows, scan func(*sql.Rows) (T, error)) ([]T, error) {
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// scanOne scans a row of one column.
func scanOne[T any](rows *sql.Rows) (v T, err error) {
	err = rows.Scan(&v)
	return v, err
}

func (db *database) prepared(query string) (*sql.Stmt, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if s := db.reads[query]; s != nil {
		return s, nil
	}
	if db.reads == nil {
		return nil, errClosed
	}
	s, err := db.readers.Prepare(query)
	if err == nil {
		db.reads[query] = s
	}
	return s, err
}

var errClosed = backend.NewError(backend.ErrUnavailable, "the embedded backend is closed").With(backend.OutcomeNotSent)

// checkContext returns an error if ctx has ended, before an operation begins.
func checkContext(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return backend.Errorf(backend.CodeOf(ctx.Err()), "not begun: %w", context.Cause(ctx)).With(backend.OutcomeNotSent)
}

// A dbFile is the path of a file. Its methods convert errors.
type dbFile string

// readError converts an error of a read, which may have failed because ctx has ended.
func (f dbFile) readError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return backend.Errorf(backend.CodeOf(ctx.Err()), "reading was interrupted: %w", context.Cause(ctx)).
			With(backend.OutcomeNotSent)
	}
	return f.wrapError(err)
}

// wrapError converts an error of SQLite to one with a code and advice. The operation that failed was rolled back.
func (f dbFile) wrapError(err error) error {
	if _, ok := errors.AsType[*backend.Error](err); ok || err == nil {
		return err
	}
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return backend.Errorf(backend.ErrInternal, "SQLite: %w", err)
	}
	code := e.Code() & 0xff
	if e.Code() == sqlite3.SQLITE_IOERR_SHMSIZE { // the shared memory is a file, too
		code = sqlite3.SQLITE_FULL
	}
	switch code {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return backend.Errorf(backend.ErrUnavailable, "another process holds the write lock of the file: %w", err).
			With(backend.OutcomeNotSent)
	case sqlite3.SQLITE_FULL:
		return backend.Errorf(backend.ErrResourceExhausted, "the disk or its quota is full: free some space: %w",
			errors.Join(backend.ErrStoreFull, err)).With(backend.OutcomeNotSent)
	case sqlite3.SQLITE_TOOBIG:
		return backend.Errorf(backend.ErrResourceExhausted, "too large to store: %w", err).With(backend.OutcomeNotSent)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return backend.Errorf(backend.ErrDataLoss,
			"the file is not a SQLite database or is damaged, restore it from a backup: %w", err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
		return backend.Errorf(backend.ErrPermissionDenied, "cannot write the file: %w", err).With(backend.OutcomeNotSent)
	case sqlite3.SQLITE_CANTOPEN:
		return f.openError(err).With(backend.OutcomeNotSent)
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_INTERRUPT:
		return backend.Errorf(backend.ErrUnavailable, "cannot read or write the file now: %w", err)
	}
	return backend.Errorf(backend.ErrInternal, "SQLite: %w", err)
}

// openError explains why SQLite can't open the file or its log, since its error doesn't. It must not open the file:
// closing it would release the locks of this process. Only a missing permission is reported as permanent.
func (f dbFile) openError(err error) *backend.Error {
	null, full := os.Open(os.DevNull)
	if full == nil {
		_ = null.Close() // nothing was written
	}
	denied := errors.Join(accessible(string(f)), accessible(filepath.Dir(string(f))))
	switch {
	case oserror.Remedy(full) != "":
		return backend.Errorf(backend.ErrUnavailable, "cannot open the file now: %w%s", err, oserror.Remedy(full))
	case errors.Is(denied, fs.ErrNotExist):
		return backend.Errorf(backend.ErrUnavailable, "the file was removed: %w: restart the programs that use it", denied)
	case oserror.Code(denied, "") == backend.ErrPermissionDenied:
		return backend.Errorf(backend.ErrPermissionDenied, "cannot write the file or its directory: %w: %w", err, denied)
	}
	return backend.Errorf(backend.ErrUnavailable,
		"cannot open the file now: %w: if this persists, check the limit of open files "+
			"(ulimit -n)", err)
}

// isBusy reports whether another connection holds the write lock.
func isBusy(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code()&0xff == sqlite3.SQLITE_BUSY || e.Code()&0xff == sqlite3.SQLITE_LOCKED)
}
