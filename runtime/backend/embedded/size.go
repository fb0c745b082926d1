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

// What SQLite needs to be told so that the file and its log (-wal) stay small.
//
// Freed pages go back to the file system by incremental vacuum, a few at a time, when a purge has freed many. What is
// deleted is overwritten with zeros (secure_delete).
//
// The log begins again from its start only while no reader uses it. While reads overlap there is
// none: once the log is long the writer makes one, by writing nothing until all that read now have ended.
const (
	autoVacuum   = "PRAGMA auto_vacuum(INCREMENTAL)"
	maxLog       = 128 << 20              // bytes; SQLite itself begins again at 16 MB if it can, and keeps up to 64
	checkpointIn = 500 * time.Millisecond // how long the writer waits for those who read
	checkEvery   = 20 * time.Millisecond  // how often the writer looks at the log's size, at most
	checkAgain   = time.Second            // after it has waited in vain
	vacuumNow    = 64 << 20               // bytes of a file that is converted though others may have it open: a second's work
	vacuumPages  = 256                    // that one transaction gives back
	vacuumMost   = 64 * vacuumPages       // that one purge gives back: 64 MB
	spareShare   = 8                      // one page in so many may be free
)

// A logLimit bounds the log of a writer.
type logLimit struct {
	file string
	max  int64
	log  *slog.Logger
	next time.Time // before that it isn't tried again
	told bool      // that it can't be bounded
}

// keepShort begins the log again once it is too long. It runs between transactions, on the writer's goroutine.
func (w *writer) keepShort() {
	if time.Now().Before(w.limit.next) {
		return
	}
	w.limit.next = time.Now().Add(checkEvery)
	info, err := os.Stat(w.limit.file)
	if err != nil || info.Size() <= w.limit.max {
		return // where there is no log there is nothing to bound
	}
	done, err := w.tx.checkpoint()
	if err == nil && done {
		w.limit.told = false
		return
	}
	w.limit.next = time.Now().Add(checkAgain)
	if !w.limit.told {
		w.limit.told = true
		w.limit.log.Warn("SQLite's log grows: a process has been reading the file for long, or was stopped while it did",
			"file", w.limit.file, "bytes", info.Size(), "error", err)
	}
}

// checkpoint writes all of the log into the file and empties it. It returns false if another connection is reading or writing.
func (t *tx) checkpoint() (bool, error) {
	if err := t.pragma(fmt.Sprintf("PRAGMA busy_timeout(%d)", checkpointIn.Milliseconds())); err != nil {
		return false, err
	}
	var busy, pages, moved int
	err := t.conn.QueryRowContext(unbounded, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved)
	return busy == 0, errors.Join(err, t.pragma("PRAGMA busy_timeout(0)"))
}

// pragma runs a statement that is not kept, to its end: each row of an incremental vacuum is a page.
func (t *tx) pragma(text string) error {
	rows, err := t.conn.QueryContext(unbounded, text)
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return errors.Join(rows.Err(), rows.Close())
}

// convert makes a file that an older program has created one that can shrink, which rewrites it. Where others may have it open
// only a small one is, since they can't write meanwhile. If it fails the file is as it was, and the next to open it tries
// again.
func convert(ctx context.Context, conn *sql.Conn, log *slog.Logger) {
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
		log.Warn("the file could not be made one that shrinks; it is used as it is", "error", err)
		return
	}
	log.Info("the file of an older version was made one that shrinks", "bytes", size)
}

// shrink gives free pages back to the file system, up to vacuumMost, if there are many.
func (s *store) shrink(ctx context.Context) error {
	for range vacuumMost / vacuumPages {
		more, err := write(ctx, s.db.writer, func(tx *tx) (bool, error) {
			var free, pages int
			if _, err := tx.row("SELECT freelist_count, page_count FROM pragma_freelist_count, pragma_page_count", nil, &free, &pages); err != nil {
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
