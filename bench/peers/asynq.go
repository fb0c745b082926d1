package main

import (
	"context"
	"errors"
	"time"

	asynqlib "github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// An asynqQueue is asynq over a Redis with an append-only file that is synced every second. Settings are the defaults
// except the number of slots and of connections. So a worker that has found no task looks again after a second; for
// asynq10, after 10 ms.
type asynqQueue struct {
	redis     *redis.Client
	client    *asynqlib.Client
	inspector *asynqlib.Inspector
	check     time.Duration    // 0 means 1 s
	server    *asynqlib.Server // nil without a worker
}

// A silent logger logs nothing.
type silent struct{}

func (silent) Debug(...any) {}
func (silent) Info(...any)  {}
func (silent) Warn(...any)  {}
func (silent) Error(...any) {}
func (silent) Fatal(...any) {}

func openAsynq(ctx context.Context, w *world) (queue, error) {
	o, err := redis.ParseURL(w.RedisAOF)
	if err != nil {
		return nil, err
	}
	o.PoolSize = 100
	q := &asynqQueue{redis: redis.NewClient(o)}
	if err := q.redis.FlushAll(ctx).Err(); err != nil {
		return nil, errors.Join(err, q.redis.Close())
	}
	if w.system == asynq10 {
		q.check = 10 * time.Millisecond
	}
	q.client = asynqlib.NewClientFromRedisClient(q.redis)
	q.inspector = asynqlib.NewInspectorFromRedisClient(q.redis)
	return q, nil
}

func (q *asynqQueue) submit(ctx context.Context) error {
	_, err := q.client.EnqueueContext(ctx, asynqlib.NewTask("noop", rawMessage))
	return err
}

func (q *asynqQueue) submitMany(context.Context, int) error { return errUnsupported }

func (q *asynqQueue) worker(
	_ context.Context, slots int, started func(),
) (start func(context.Context) error, err error) {
	o := q.redis.Options()
	q.server = asynqlib.NewServer(asynqlib.RedisClientOpt{Addr: o.Addr, DB: o.DB, PoolSize: slots + 10},
		asynqlib.Config{Concurrency: slots, TaskCheckInterval: q.check, Logger: silent{}})
	return func(context.Context) error {
		return q.server.Start(asynqlib.HandlerFunc(func(context.Context, *asynqlib.Task) error {
			started()
			return nil
		}))
	}, nil
}

func (q *asynqQueue) settled(context.Context) (bool, error) {
	info, err := q.inspector.GetQueueInfo("default")
	if err != nil {
		return false, err
	}
	return info.Active == 0 && info.Pending == 0, nil
}

func (q *asynqQueue) close(context.Context) error {
	if q.server != nil {
		q.server.Shutdown()
	}
	return q.redis.Close()
}
