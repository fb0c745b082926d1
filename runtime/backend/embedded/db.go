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

// A database is the file, opened: one connection that writes, and some that read.
type database struct {
	*writer
	file    dbFile
	readers *sql.DB

	mu    sync.Mutex
	reads map[string]*sql.Stmt // by their text

	generation generation
}

// A generation is the registry's, as last seen.
type generation struct {
	mu    sync.Mutex
	value int64
	at    time.Time
}

func (g *generation) saw(value int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.value, g.at = max(g.value, value), time.Now()
}

// generationWithin returns the registry's generation, read again where that was longer than age ago.
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

// openDatabase opens the file, which exists, and brings its schema up to date. peer is who opens it, turn the lock that
// writers of several processes take turns by.
func openDatabase(ctx context.Context, path, peer string, o options, turn *turn) (*database, error) {
	db := &database{file: dbFile(path), reads: map[string]*sql.Stmt{}}
	var err error
	if db.writer, err = newWriter(ctx, db, path, peer, o, turn); err != nil {
		return nil, err
	}
	db.readers, err = sql.Open("sqlite", dsn(path, "busy_timeout(5000)", "query_only(1)", "cache_size(-4000)"))
	if err != nil {
		return nil, errors.Join(db.file.failed(err), db.writer.close())
	}
	db.readers.SetMaxOpenConns(readConnections)
	db.readers.SetMaxIdleConns(readConnections)
	return db, nil
}

// dsn names the file for the driver, whatever is in its path.
func dsn(path string, pragmas ...string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") { // C:/…
		path = "/" + path
	}
	query := url.Values{"_pragma": pragmas}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + query.Encode()
}

// close waits for what is being written, and closes the file.
func (db *database) close() error {
	err := db.writer.close()
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, s := range db.reads {
		err = errors.Join(err, s.Close())
	}
	db.reads = nil
	return errors.Join(err, db.readers.Close())
}

// read runs a query that changes nothing, on a snapshot of what has been committed.
func (db *database) read(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := alive(ctx); err != nil {
		return nil, err
	}
	s, err := db.prepared(query)
	if err != nil {
		return nil, db.file.failed(err)
	}
	rows, err := s.QueryContext(ctx, args...)
	if err != nil {
		return nil, db.file.interrupted(ctx, err)
	}
	return rows, nil
}

// readRow scans the one row of a query into to; found says whether there is one.
func (db *database) readRow(ctx context.Context, query string, args []any, to ...any) (found bool, err error) {
	rows, err := db.read(ctx, query, args...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	if found = rows.Next(); found {
		err = rows.Scan(to...)
	}
	if err = errors.Join(err, rows.Err()); err != nil {
		return false, db.file.interrupted(ctx, err)
	}
	return found, nil
}

// readAll reads all rows of a query.
func readAll[T any](ctx context.Context, db *database, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	rows, err := db.read(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	all, err := gather(rows, scan)
	if err != nil {
		return nil, db.file.interrupted(ctx, err)
	}
	return all, nil
}

func gather[T any](rows *sql.Rows, scan func(*sql.Rows) (T, error)) ([]T, error) {
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

var errClosed = backend.NewError(backend.ErrUnavailable, "the embedded backend was closed").With(backend.OutcomeNotSent)

// alive returns the error of a method whose context has ended before it began.
func alive(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return backend.Errorf(backend.CodeOf(ctx.Err()), "not begun: %w", context.Cause(ctx)).With(backend.OutcomeNotSent)
}

// A dbFile is the path of a file, for errors.
type dbFile string

// interrupted is failed where the reason may be that ctx has ended.
func (f dbFile) interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return backend.Errorf(backend.CodeOf(ctx.Err()), "reading was cut short: %w", context.Cause(ctx)).With(backend.OutcomeNotSent)
	}
	return f.failed(err)
}

// failed turns an error of SQLite into one with a code, and what to do about it. Whatever failed was rolled back.
func (f dbFile) failed(err error) error {
	if _, ok := errors.AsType[*backend.Error](err); ok || err == nil {
		return err
	}
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return backend.Errorf(backend.ErrInternal, "SQLite: %w", err)
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return backend.Errorf(backend.ErrUnavailable, "another process holds the file's write lock: %w", err).With(backend.OutcomeNotSent)
	case sqlite3.SQLITE_FULL:
		return backend.Errorf(backend.ErrResourceExhausted, "the disk, or the file's quota, is full: make room: %w", errors.Join(backend.ErrStoreFull, err)).With(backend.OutcomeNotSent)
	case sqlite3.SQLITE_TOOBIG:
		return backend.Errorf(backend.ErrResourceExhausted, "too large to store: %w", err).With(backend.OutcomeNotSent)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return backend.Errorf(backend.ErrDataLoss, "the file is no SQLite database, or damaged: restore it from a backup: %w", err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
		return backend.Errorf(backend.ErrPermissionDenied, "the file can't be written: %w", err).With(backend.OutcomeNotSent)
	case sqlite3.SQLITE_CANTOPEN:
		return f.unopened(err).With(backend.OutcomeNotSent)
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_INTERRUPT:
		return backend.Errorf(backend.ErrUnavailable, "the file can't be read or written now: %w", err)
	}
	return backend.Errorf(backend.ErrInternal, "SQLite: %w", err)
}

// unopened is the error if SQLite can't open the file or its log; it doesn't say why. The file itself isn't opened to find out:
// closing it would let go of the locks of this process. Only a permission that is missing is for good.
func (f dbFile) unopened(err error) *backend.Error {
	null, full := os.Open(os.DevNull)
	if full == nil {
		_ = null.Close() // nothing was written
	}
	denied := errors.Join(accessible(string(f)), accessible(filepath.Dir(string(f))))
	switch {
	case oserror.Remedy(full) != "":
		return backend.Errorf(backend.ErrUnavailable, "the file can't be opened now: %w%s", err, oserror.Remedy(full))
	case errors.Is(denied, fs.ErrNotExist):
		return backend.Errorf(backend.ErrUnavailable, "the file is gone: %w: restart the programs that use it", denied)
	case oserror.Code(denied, "") == backend.ErrPermissionDenied:
		return backend.Errorf(backend.ErrPermissionDenied, "the file, or its directory, can't be written: %w: %w", err, denied)
	}
	return backend.Errorf(backend.ErrUnavailable, "the file can't be opened now: %w: if this stays so, look at the limit of open files "+
		"(ulimit -n)", err)
}

// isBusy says that somebody else holds the write lock.
func isBusy(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code()&0xff == sqlite3.SQLITE_BUSY || e.Code()&0xff == sqlite3.SQLITE_LOCKED)
}
