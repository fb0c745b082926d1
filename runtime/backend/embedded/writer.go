package embedded

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A writer owns the one connection that writes. All that is to be written passes it as jobs; those that have come
// together share a transaction, whose cost is mostly its own and not the jobs'. A job that meets an error of SQLite takes
// the transaction with it: then each of its jobs runs again, alone.
type writer struct {
	db   *sql.DB
	tx   *tx
	turn *turn
	jobs chan *job

	ending    chan struct{} // closed to end loop
	ended     chan struct{}
	closeOnce sync.Once
	closeErr  error
}

// A job is one change. It is begun once at the most as far as anybody can tell.
type job struct {
	run  func(*tx) error
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
	pool, err := sql.Open("sqlite", dsn(path,
		"busy_timeout(5000)", "journal_mode(WAL)", "synchronous("+o.synchronous()+")", "cache_size(-16000)",
		"wal_autocheckpoint(4000)", "journal_size_limit(67108864)", "temp_store(MEMORY)"))
	if err != nil {
		return nil, failed(err)
	}
	pool.SetMaxOpenConns(1)
	conn, err := connect(ctx, pool)
	if err != nil {
		return nil, errors.Join(interrupted(ctx, err), pool.Close())
	}
	w := &writer{
		db: pool, turn: turn, jobs: make(chan *job, maxJobs), ending: make(chan struct{}), ended: make(chan struct{}),
		tx: &tx{conn: conn, db: db, peer: peer, stmts: map[string]*sql.Stmt{}},
	}
	if err := o.prepare(ctx, conn); err != nil {
		return nil, errors.Join(failed(err), conn.Close(), pool.Close())
	}
	go w.loop()
	return w, nil
}

// connect makes the connection. While another process is closing the file as its last one, even a patient connection is
// told that it is busy.
func connect(ctx context.Context, pool *sql.DB) (*sql.Conn, error) {
	for deadline := time.Now().Add(writePatience); ; time.Sleep(5 * time.Millisecond) {
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
		return none, backend.Errorf(backend.CodeOf(ctx.Err()), "still writing: %w", context.Cause(ctx))
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

// change is write for what returns nothing.
func change(ctx context.Context, w *writer, run func(*tx) error) error {
	_, err := write(ctx, w, func(tx *tx) (struct{}, error) { return struct{}{}, run(tx) })
	return err
}

func (w *writer) loop() {
	defer close(w.ended)
	for {
		select {
		case j := <-w.jobs:
			w.group(j)
			continue
		default:
		}
		select {
		case j := <-w.jobs:
			w.group(j)
		case <-w.ending:
			return
		}
	}
}

// group runs a job, and those that have come meanwhile, in one transaction.
func (w *writer) group(first *job) {
	jobs, errs, err := w.together(first)
	if err == nil {
		for i, j := range jobs {
			j.done <- errs[i]
		}
		return
	}
	if len(jobs) == 1 || isBusy(err) {
		for _, j := range jobs {
			j.done <- failed(err)
		}
		return
	}
	for _, j := range jobs { // one of them may be to blame
		_, errs, err := w.together(j, alone)
		if err != nil {
			errs = []error{failed(err)}
		}
		j.done <- errs[0]
	}
}

// alone keeps a transaction from taking more jobs.
const alone = true

// together is one transaction. It returns the jobs that were in it with what each of them returned; err says that all was
// rolled back.
func (w *writer) together(first *job, single ...bool) (jobs []*job, errs []error, err error) {
	if len(single) == 0 && !first.begin() {
		return nil, nil, nil
	}
	jobs = []*job{first}
	if err := w.begin(); err != nil {
		return jobs, nil, err
	}
	defer func() {
		if err != nil {
			w.tx.rollback()
		}
	}()
	begun := time.Now()
	for i := 0; i < len(jobs); i++ {
		jerr := jobs[i].run(w.tx.at(time.Now()))
		if _, ok := errors.AsType[*backend.Error](jerr); jerr != nil && !ok {
			return jobs, nil, jerr
		}
		errs = append(errs, jerr)
		if len(single) == 0 && len(jobs) < maxJobs && time.Since(begun) < maxGroup {
			if j := w.another(); j != nil {
				jobs = append(jobs, j)
			}
		}
	}
	return jobs, errs, w.tx.commit()
}

// another returns a job that waits, if there is one.
func (w *writer) another() *job {
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

// begin waits for the write lock.
func (w *writer) begin() error {
	w.turn.take()
	defer w.turn.release()
	for deadline := time.Now().Add(writePatience); ; time.Sleep(pauseBetween) {
		err := w.tx.begin()
		if err == nil || !isBusy(err) || time.Now().After(deadline) {
			return err
		}
	}
}
