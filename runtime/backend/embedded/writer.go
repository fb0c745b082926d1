package embedded

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A writer owns the only connection that writes. Changes are queued as jobs. Jobs that are queued together share a
// transaction, since most of the cost is per transaction. If a job fails with an error of SQLite, the transaction is
// rolled back and each of its jobs runs again in its own transaction.
type writer struct {
	db          *sql.DB
	tx          *tx
	lock        *writeLock
	lockTimeout time.Duration // for SQLite's write lock
	now         func() time.Time
	jobs        chan *job
	limit       logLimit
	open        func() (*sql.DB, *sql.Conn, error) // if not nil, the first transaction opens the connection with it

	closing   chan struct{} // closed to stop loop
	done      chan struct{}
	closeOnce sync.Once
	closeErr  error
}

// A job is one change. It runs until it succeeds once.
type job struct {
	run  func(*tx) error
	err  error // owned by the writer until done
	done chan error
	// state arbitrates between a caller whose context ends and the writer that is about to run the job.
	state atomic.Int32
}

const (
	jobWaiting int32 = iota
	jobStarted
	jobDropped

	maxJobs      = 256                  // in one transaction, and queued
	maxGroupTime = 4 * time.Millisecond // after which a transaction takes no more jobs, so that other processes can write
)

func newWriter(ctx context.Context, db *database, path, peer string, o options, turn *writeLock) (*writer, error) {
	pragmas := []string{"busy_timeout(5000)", "auto_vacuum(INCREMENTAL)", "secure_delete(ON)", "journal_mode(WAL)",
		"synchronous(" + o.synchronous() + ")", "cache_size(-16000)", "wal_autocheckpoint(4000)",
		"journal_size_limit(67108864)",
		"temp_store(MEMORY)"}
	if o.noVacuum {
		pragmas = slices.Delete(pragmas, 1, 3)
	}
	pool, err := sql.Open("sqlite", dsn(path, pragmas...))
	if err != nil {
		return nil, db.file.wrapError(err)
	}
	pool.SetMaxOpenConns(1)
	conn, err := connect(ctx, pool, o.lockTimeout)
	if err != nil {
		return nil, errors.Join(db.file.readError(ctx, err), pool.Close())
	}
	w := newStoppedWriter(db, path, peer, o, turn)
	w.db, w.tx.conn = pool, conn
	if err := o.prepare(ctx, conn); err != nil {
		return nil, errors.Join(db.file.wrapError(err), conn.Close(), pool.Close())
	}
	go w.loop()
	return w, nil
}

// newStoppedWriter returns a writer without a connection, whose loop doesn't run yet.
func newStoppedWriter(db *database, path, peer string, o options, turn *writeLock) *writer {
	return &writer{
		lock: turn, lockTimeout: o.lockTimeout, now: o.now, jobs: make(chan *job, maxJobs),
		closing: make(chan struct{}), done: make(chan struct{}),
		limit: logLimit{file: path + "-wal", max: o.maxLog, log: o.log},
		tx:    &tx{db: db, peer: peer, stmts: map[string]*sql.Stmt{}},
	}
}

// connect opens the connection. While another process closes the file as the last one, SQLite reports that the file is
// busy even with a busy timeout.
func connect(ctx context.Context, pool *sql.DB, patience time.Duration) (*sql.Conn, error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		conn, err := pool.Conn(ctx)
		if err == nil || !isBusy(err) || time.Now().After(deadline) {
			return conn, err
		}
	}
}

// close runs the queued jobs and closes the connection.
func (w *writer) close() error {
	w.closeOnce.Do(func() {
		close(w.closing)
		<-w.done
		if w.db == nil {
			return
		}
		w.closeErr = errors.Join(w.tx.close(), w.db.Close())
	})
	return w.closeErr
}

// write runs a change in a transaction and returns once it is committed. If run returns an *Error it must have changed
// nothing; any other error is SQLite's and rolls back the transaction. run may be called more than once.
//
// If ctx ends first, the error tells whether the change may still be committed.
func write[R any](ctx context.Context, w *writer, run func(*tx) (R, error)) (R, error) {
	var none R
	if err := checkContext(ctx); err != nil {
		return none, err
	}
	var result R // owned by the writer until done, so that there is no race with a caller that has returned
	j := &job{done: make(chan error, 1), run: func(tx *tx) (err error) {
		result, err = run(tx)
		return err
	}}
	select {
	case w.jobs <- j:
	case <-ctx.Done():
		return none, checkContext(ctx)
	case <-w.closing:
		return none, errClosed
	}
	select {
	case err := <-j.done:
		if err != nil {
			return none, err
		}
		return result, nil
	case <-ctx.Done():
		if j.state.CompareAndSwap(jobWaiting, jobDropped) {
			return none, checkContext(ctx)
		}
		return none, backend.Errorf(backend.CodeOf(ctx.Err()), "%w: %w", errMayBeWritten, context.Cause(ctx))
	case <-w.done:
		select {
		case err := <-j.done:
			if err == nil {
				return result, nil
			}
			return none, err
		default:
			return none, errClosed
		}
	}
}

// errMayBeWritten is wrapped by the error of a caller whose context ended while its job was running.
var errMayBeWritten = errors.New("still writing")

// flush returns when all jobs queued before are done.
func (w *writer) flush() error {
	return change(context.Background(), w, func(*tx) error { return nil })
}

// change is write for a change without a result.
func change(ctx context.Context, w *writer, run func(*tx) error) error {
	_, err := write(ctx, w, func(tx *tx) (struct{}, error) { return struct{}{}, run(tx) })
	return err
}

func (w *writer) loop() {
	defer close(w.done)
	for {
		if j := w.nextJob(); j != nil {
			w.runGroup(j)
			w.truncateLog()
			continue
		}
		select {
		case j := <-w.jobs:
			if j.tryStart() {
				w.runGroup(j)
				w.truncateLog()
			}
		case <-w.closing:
			return
		}
	}
}

// nextJob starts a queued job, or returns nil if there is none.
func (w *writer) nextJob() *job {
	for {
		select {
		case j := <-w.jobs:
			if j.tryStart() {
				return j
			}
		default:
			return nil
		}
	}
}

func (j *job) tryStart() bool { return j.state.CompareAndSwap(jobWaiting, jobStarted) }

// runGroup runs a job, and others that are queued meanwhile, in one transaction.
func (w *writer) runGroup(first *job) {
	jobs, err := w.transact(first, w.nextJob)
	if err != nil && len(jobs) > 1 && !isBusy(err) { // one of them may have caused it
		for _, j := range jobs {
			if _, err := w.transact(j, noJob); err != nil {
				j.err = w.tx.db.file.wrapError(err)
			}
			j.done <- j.err
		}
		return
	}
	for _, j := range jobs {
		if err != nil {
			j.err = w.tx.db.file.wrapError(err)
		}
		j.done <- j.err
	}
}

func noJob() *job { return nil }

// transact runs a job, and more while there are any and time is left, in one transaction. It returns the jobs, with
// their own errors set. If err is not nil, all of them were rolled back.
func (w *writer) transact(first *job, more func() *job) (jobs []*job, err error) {
	if err := w.begin(); err != nil {
		return []*job{first}, err
	}
	defer func() {
		if err != nil {
			w.tx.rollback()
		}
	}()
	start := time.Now()
	for j := first; j != nil; {
		jobs = append(jobs, j)
		j.err = j.run(w.tx.setNow(w.now()))
		if _, refused := errors.AsType[*backend.Error](j.err); j.err != nil && !refused {
			return jobs, j.err
		}
		j = nil
		if len(jobs) < maxJobs && time.Since(start) < maxGroupTime {
			j = more()
		}
	}
	return jobs, w.tx.commit()
}

// begin starts a transaction, waiting for the write lock. A process that was alone needs no turn: another one that has
// joined since waits for SQLite's lock once.
func (w *writer) begin() (err error) {
	if w.tx.conn == nil {
		if w.db, w.tx.conn, err = w.open(); err != nil {
			return err
		}
	}
	if !w.tx.db.generation.isAlone() {
		w.lock.acquire()
		defer w.lock.release()
	}
	for deadline := time.Now().Add(w.lockTimeout); ; time.Sleep(lockRetryPause) {
		err := w.tx.begin()
		if err == nil || !isBusy(err) || time.Now().After(deadline) {
			return err
		}
	}
}
