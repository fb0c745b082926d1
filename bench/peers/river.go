package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	riverlib "github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// A riverQueue is River over PostgreSQL, which commits synchronously, as it does by default. The worker polls as often
// as in River's own benchmark, which is much more often than by default.
type riverQueue struct {
	pool    *pgxpool.Pool
	client  *riverlib.Client[pgx.Tx]
	args    []riverlib.InsertManyParams
	workers *pgxpool.Pool // nil without a worker
	working *riverlib.Client[pgx.Tx]
}

// riverArgs are the arguments of a job.
type riverArgs payload

// Kind implements [riverlib.JobArgs].
func (riverArgs) Kind() string { return "noop" }

// A riverWorker does nothing but call started.
type riverWorker struct {
	riverlib.WorkerDefaults[riverArgs]
	started func()
}

// Work implements [riverlib.Worker].
func (w *riverWorker) Work(context.Context, *riverlib.Job[riverArgs]) error {
	w.started()
	return nil
}

// riverPool opens connections to PostgreSQL.
func riverPool(ctx context.Context, uri string) (*pgxpool.Pool, error) {
	o, err := pgxpool.ParseConfig(uri)
	if err != nil {
		return nil, err
	}
	o.MaxConns = 64
	return pgxpool.NewWithConfig(ctx, o)
}

func openRiver(ctx context.Context, w *world) (queue, error) {
	pool, err := riverPool(ctx, w.Postgres)
	if err != nil {
		return nil, err
	}
	q := &riverQueue{pool: pool}
	driver := riverpgxv5.New(pool)
	quiet := slog.New(slog.DiscardHandler)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: quiet})
	if err == nil {
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	}
	if err == nil {
		_, err = pool.Exec(ctx, "TRUNCATE river_job")
	}
	if err == nil {
		q.client, err = riverlib.NewClient(driver, &riverlib.Config{Logger: quiet})
	}
	if err != nil {
		pool.Close()
		return nil, err
	}
	q.args = make([]riverlib.InsertManyParams, bulk)
	for i := range q.args {
		q.args[i].Args = riverArgs(message)
	}
	return q, nil
}

func (q *riverQueue) submit(ctx context.Context) error {
	_, err := q.client.Insert(ctx, riverArgs(message), nil)
	return err
}

func (q *riverQueue) submitMany(ctx context.Context, n int) error {
	_, err := q.client.InsertManyFast(ctx, q.args[:n])
	return err
}

func (q *riverQueue) worker(
	ctx context.Context, slots int, started func(),
) (start func(context.Context) error, err error) {
	if q.workers, err = riverPool(ctx, q.pool.Config().ConnString()); err != nil {
		return nil, err
	}
	workers := riverlib.NewWorkers()
	riverlib.AddWorker(workers, &riverWorker{started: started})
	q.working, err = riverlib.NewClient(riverpgxv5.New(q.workers), &riverlib.Config{
		FetchCooldown:     2 * time.Millisecond,
		FetchPollInterval: 20 * time.Millisecond,
		Logger:            slog.New(slog.DiscardHandler),
		Queues:            map[string]riverlib.QueueConfig{riverlib.QueueDefault: {MaxWorkers: slots}},
		Workers:           workers,
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return q.working.Start(context.WithoutCancel(ctx)) }, nil
}

func (q *riverQueue) settled(ctx context.Context) (settled bool, err error) {
	err = q.pool.QueryRow(ctx, "SELECT NOT EXISTS (SELECT FROM river_job WHERE state = 'running')").Scan(&settled)
	return settled, err
}

func (q *riverQueue) close(ctx context.Context) (err error) {
	if q.working != nil {
		if err = q.working.Stop(ctx); errors.Is(err, context.Canceled) {
			err = nil
		}
	}
	if q.workers != nil {
		q.workers.Close()
	}
	q.pool.Close()
	return err
}
