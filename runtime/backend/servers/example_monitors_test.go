package servers_test

import (
	"context"
	"log"
	"time"

	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/event"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/servers"
	"github.com/afgen/afgen/runtime/config"
)

// A monitor that logs slow commands, with the task, call and trace of the handler that has caused them.
func ExampleMongoMonitor() {
	const slow = 100 * time.Millisecond
	monitor := &event.CommandMonitor{
		Succeeded: func(ctx context.Context, e *event.CommandSucceededEvent) {
			if e.Duration >= slow {
				af.LoggerFrom(ctx).Warn("slow command", "command", e.CommandName, "took", e.Duration)
			}
		},
		Failed: func(ctx context.Context, e *event.CommandFailedEvent) {
			af.LoggerFrom(ctx).Warn("command failed", "command", e.CommandName, "took", e.Duration, "error", e.Failure)
		},
	}
	cfg, err := config.Load("config.yaml")
	if err != nil {
		log.Fatal(err)
	}
	app, err := af.Open(context.Background(), servers.From(cfg, servers.MongoMonitor(monitor)))
	if err != nil {
		log.Fatal(err)
	}
	if err := app.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// slowHook logs slow commands of Redis.
type slowHook struct{}

func (slowHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (slowHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (slowHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		begun := time.Now()
		err := next(ctx, cmd)
		if took := time.Since(begun); took >= 100*time.Millisecond {
			af.LoggerFrom(ctx).Warn("slow command", "command", cmd.Name(), "took", took)
		}
		return err
	}
}

// A hook that logs slow commands. For OpenTelemetry, call redisotel.InstrumentTracing(c) here.
func ExampleInstrumentRedis() {
	cfg, err := config.Load("config.yaml")
	if err != nil {
		log.Fatal(err)
	}
	b := servers.From(cfg, servers.InstrumentRedis(func(c *redis.Client) error {
		c.AddHook(slowHook{})
		return nil
	}))
	app, err := af.Open(context.Background(), b)
	if err != nil {
		log.Fatal(err)
	}
	if err := app.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}
