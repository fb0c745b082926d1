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

// A writer owns the one connection that writes. All that is to be written passes it as jobs; those that have come
// together share a transaction, whose cost is mostly its own and not the jobs'. A job that meets an error of SQLite takes
// the transaction with it: then each of its jobs runs again, alone.
type writer struct {
	db       *sql.DB
	tx       *tx
	turn     *turn
	patience time.Duration // with who holds the write lock
	now      func() time.Time
	jobs     chan *job
	limit    logLimit

	ending    chan struct{} // closed to end loop
	ended     chan struct{}
	closeOnce sync.Once
	closeErr  error
}

// A job is one change. It is begun once at the most as far as anybody can tell.
type job struct {
	run  func(*tx) error
	err  error // the writer's, until done
	done chan error
	// state decides between a caller whose context has ended and the writer that is about to begin.
	state atomic.Int32
}

const (
	jobWaits int32 = iota
	jobBegun
	jobDropped

	maxJobs  = 256                  // in one transaction, and waiting
	maxGroup = 4 * time.Millisecond // after which a transaction takes no more jobs: others want to write, too
)

func newWriter(ctx context.Context, db *database, path, peer string, o options, turn *turn) (*writer, error) {
	pragmas := []string{"busy_timeout(5000)", "auto_vacuum(INCREMENTAL)", "secure_delete(ON)", "journal_mode(WAL)",
		"synchronous(" + o.synchronous() + ")", "cache_size(-16000)", "wal_autocheckpoint(4000)", "journal_size_limit(67108864)",
		"temp_store(MEMORY)"}
	if o.old {
		pragmas = slices.Delete(pragmas, 1, 3)
	}
	pool, err := sql.Open("sqlite", dsn(path, pragmas...))
	if err != nil {
		return nil, db.file.failed(err)
	}
	pool.SetMaxOpenConns(1)
	conn, err := connect(ctx, pool, o.patience)
	if err != nil {
		return nil, errors.Join(db.file.interrupted(ctx, err), pool.Close())
	}
	w := &writer{
		db: pool, turn: turn, patience: o.patience, now: o.now, jobs: make(chan *job, maxJobs), ending: make(chan struct{}), ended: make(chan struct{}),
		limit: logLimit{file: path + "-wal", max: o.maxLog, log: o.log},
		tx:    &tx{conn: conn, db: db, peer: peer, stmts: map[string]*sql.Stmt{}},
	}
	if err := o.prepare(ctx, conn); err != nil {
		return nil, errors.Join(db.file.failed(err), conn.Close(), pool.Close())
	}
	go w.loop()
	return w, nil
}

// connect makes the connection. While another process is closing the file as its last one, even a patient connection is
// told that it is busy.
func connect(ctx context.Context, pool *sql.DB, patience time.Duration) (*sql.Conn, error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		conn, err := pool.Conn(ctx)
		if err == nil || !isBusy(err) || time.Now().After(deadline) {
			return conn, err
		}
	}
}

// close lets what waits be written, and closes the connection.
func (w *writer) close() error {
	w.closeOnce.Do(func() {
		close(w.ending)
		<-w.ended
		w.closeErr = errors.Join(w.tx.close(), w.db.Close())
	})
	return w.closeErr
}

// write runs a change in a transaction and returns once that is committed. run must have changed nothing where it returns
// an *Error; any other error is SQLite's and rolls everything back. It may run more than once.
//
// When ctx ends first, the error says whether the change may still happen.
func write[R any](ctx context.Context, w *writer, run func(*tx) (R, error)) (R, error) {
	var none R
	if err := alive(ctx); err != nil {
		return none, err
	}
	var result R // the writer's until done, so that a caller who has gone doesn't race with it
	j := &job{done: make(chan error, 1), run: func(tx *tx) (err error) {
		result, err = run(tx)
		return err
	}}
	select {
	case w.jobs <- j:
	case <-ctx.Done():
		return none, alive(ctx)
	case <-w.ending:
		return none, errClosed
	}
	select {
	case err := <-j.done:
		if err != nil {
			return none, err
		}
		return result, nil
	case <-ctx.Done():
		if j.state.CompareAndSwap(jobWaits, jobDropped) {
			return none, alive(ctx)
		}
		return none, backend.Errorf(backend.CodeOf(ctx.Err()), "%w: %w", errStillWriting, context.Cause(ctx))
	case <-w.ended:
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

// errStillWriting is wrapped by the error of a caller that has gone while its job is being done: it may be done yet.
var errStillWriting = errors.New("still writing")

// caughtUp returns when the jobs before it are done.
func (w *writer) caughtUp() error {
	return change(context.Background(), w, func(*tx) error { return nil })
}

// change is write for what returns nothing.
func change(ctx context.Context, w *writer, run func(*tx) error) error {
	_, err := write(ctx, w, func(tx *tx) (struct{}, error) { return struct{}{}, run(tx) })
	return err
}

func (w *writer) loop() {
	defer close(w.ended)
	for {
		if j := w.waiting(); j != nil {
			w.group(j)
			w.keepShort()
			continue
		}
		select {
		case j := <-w.jobs:
			if j.begin() {
				w.group(j)
				w.keepShort()
			}
		case <-w.ending:
			return
		}
	}
}

// waiting begins a job that waits; nil where there is none.
func (w *writer) waiting() *job {
	for {
		select {
		case j := <-w.jobs:
			if j.begin() {
				return j
			}
		default:
			return nil
		}
	}
}

func (j *job) begin() bool { return j.state.CompareAndSwap(jobWaits, jobBegun) }

// group runs a job, and those that have come meanwhile, in one transaction.
func (w *writer) group(first *job) {
	jobs, err := w.transact(first, w.waiting)
	if err != nil && len(jobs) > 1 && !isBusy(err) { // one of them may be to blame
		for _, j := range jobs {
			if _, err := w.transact(j, nobody); err != nil {
				j.err = w.tx.db.file.failed(err)
			}
			j.done <- j.err
		}
		return
	}
	for _, j := range jobs {
		if err != nil {
			j.err = w.tx.db.file.failed(err)
		}
		j.done <- j.err
	}
}

func nobody() *job { return nil }

// transact is one transaction: of a job, and of more while there are any and time is left. It returns those that were in
// it, each with what it returned; err says that all was rolled back.
func (w *writer) transact(first *job, more func() *job) (jobs []*job, err error) {
	if err := w.begin(); err != nil {
		return []*job{first}, err
	}
	defer func() {
		if err != nil {
			w.tx.rollback()
		}
	}()
	begun := time.Now()
	for j := first; j != nil; {
		jobs = append(jobs, j)
		j.err = j.run(w.tx.at(w.now()))
		if _, refused := errors.AsType[*backend.Error](j.err); j.err != nil && !refused {
			return jobs, j.err
		}
		j = nil
		if len(jobs) < maxJobs && time.Since(begun) < maxGroup {
			j = more()
		}
	}
	return jobs, w.tx.commit()
}

// begin waits for the write lock.
func (w *writer) begin() error {
	w.turn.take()
	defer w.turn.release()
	for deadline := time.Now().Add(w.patience); ; time.Sleep(pauseBetween) {
		err := w.tx.begin()
		if err == nil || !isBusy(err) || time.Now().After(deadline) {
			return err
		}
	}
}
