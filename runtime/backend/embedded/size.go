package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// This file keeps the database and its write-ahead log (-wal) small.
//
// When a purge has freed many pages, incremental vacuum returns them to the file system, a few at a time. Deleted data
// is overwritten with zeros (secure_delete).
//
// SQLite restarts the log only while no reader uses it. If reads always overlap, it never does. So once the log is
// long, the writer pauses until all current reads have ended, and truncates it.
const (
	autoVacuum    = "PRAGMA auto_vacuum(INCREMENTAL)"
	defaultMaxLog = 128 << 20              // bytes; SQLite restarts the log at 16 MB if it can
	checkpointIn  = 500 * time.Millisecond // how long the writer waits for readers
	checkEvery    = 20 * time.Millisecond  // minimal interval between checks of the log's size
	checkAgain    = time.Second            // after an attempt that failed
	vacuumNow     = 64 << 20               // a larger file is not converted while other processes may have it open
	vacuumPages   = 256                    // freed by one transaction
	vacuumMost    = 64 * vacuumPages       // freed by one purge: 64 MB
	spareShare    = 8                      // one page in so many may stay free
)

// A logLimit bounds the size of the write-ahead log.
type logLimit struct {
	file   string
	max    int64
	log    *slog.Logger
	next   time.Time // no attempt before
	warned bool      // since the last success
}

// truncateLog truncates the log if it is too long. It runs between transactions, on the writer's goroutine.
func (w *writer) truncateLog() {
	if w.tx.conn == nil || time.Now().Before(w.limit.next) {
		return
	}
	w.limit.next = time.Now().Add(checkEvery)
	info, err := os.Stat(w.limit.file)
	if err != nil || info.Size() <= w.limit.max {
		return // an error means that there is no log
	}
	done, err := w.tx.checkpoint()
	if err == nil && done {
		w.limit.warned = false
		return
	}
	w.limit.next = time.Now().Add(checkAgain)
	if !w.limit.warned {
		w.limit.warned = true
		w.limit.log.Warn("cannot truncate SQLite's log, another process reads the file for long or was stopped while reading",
			"file", w.limit.file, "bytes", info.Size(), "error", err)
	}
}

// checkpoint copies the log into the database and truncates it. It returns false if another connection is reading or
// writing.
func (t *tx) checkpoint() (bool, error) {
	if err := t.pragma(fmt.Sprintf("PRAGMA busy_timeout(%d)", checkpointIn.Milliseconds())); err != nil {
		return false, err
	}
	var busy, pages, moved int
	err := t.conn.QueryRowContext(unbounded, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved)
	return busy == 0, errors.Join(err, t.pragma("PRAGMA busy_timeout(0)"))
}

// pragma runs a statement without caching it, and reads all its rows: incremental vacuum returns one row per page.
func (t *tx) pragma(text string) error {
	rows, err := t.conn.QueryContext(unbounded, text)
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return errors.Join(rows.Err(), rows.Close())
}

// enableAutoVacuum lets a file created by an older version shrink, which rewrites the file. If other processes may have
// it open, it converts only a small file, since they can't write meanwhile. On failure the file is unchanged, and the
// next Open tries again.
func enableAutoVacuum(ctx context.Context, conn *sql.Conn, log *slog.Logger) {
	var mode, size, peers int64
	err := conn.QueryRowContext(ctx, `SELECT auto_vacuum, page_count * page_size, (SELECT count(*) FROM peer)
		FROM pragma_auto_vacuum, pragma_page_count, pragma_page_size`).Scan(&mode, &size, &peers)
	if err == nil && (mode != 0 || peers > 0 && size > vacuumNow) {
		return
	}
	if err == nil {
		_, err = conn.ExecContext(ctx, autoVacuum+"; VACUUM")
	}
	if err != nil {
		log.Warn("cannot enable shrinking of the file, continuing without", "error", err)
		return
	}
	log.Info("enabled shrinking of the file", "bytes", size)
}

// shrink returns free pages to the file system, up to vacuumMost, if there are many.
func (s *store) shrink(ctx context.Context) error {
	for range vacuumMost / vacuumPages {
		more, err := write(ctx, s.db.writer, func(tx *tx) (bool, error) {
			var free, pages int
			if _, err := tx.row("SELECT freelist_count, page_count FROM pragma_freelist_count, pragma_page_count", nil, &free,
				&pages); err != nil {
				return false, err
			}
			if free < vacuumPages || free < pages/spareShare {
				return false, nil
			}
			return true, tx.pragma(fmt.Sprintf("PRAGMA incremental_vacuum(%d)", vacuumPages))
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}
