package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/shirou/gopsutil/v4/cpu"
	systemload "github.com/shirou/gopsutil/v4/load"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// A machine describes what the table depends on, in addition to the systems.
type machine struct {
	revision  string
	processor string
	versions  []string // of servers and libraries
	begun     time.Time
	took      time.Duration
	before    load
	after     load
}

func describeMachine(ctx context.Context, s *stack, before load) *machine {
	m := &machine{begun: time.Now(), before: before, processor: "unknown processor", revision: "unknown revision"}
	if out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output(); err == nil {
		m.revision = strings.TrimSpace(string(out))
	}
	if info, err := cpu.InfoWithContext(ctx); err == nil && len(info) > 0 {
		m.processor = info[0].ModelName
	}
	m.versions = append(s.versions(ctx), libraries()...)
	return m
}

// busyLoad is the load average above which a machine is not quiet. docs/benchmarks.md has it too.
const busyLoad = 0.5

// end notes the end of the measurements.
func (m *machine) end(ctx context.Context) {
	m.took, m.after = time.Since(m.begun), readLoad(ctx)
}

// A load is the load average of the last minute, NaN if the system has none.
type load float64

func readLoad(ctx context.Context) load {
	avg, err := systemload.AvgWithContext(ctx)
	if err != nil {
		return load(math.NaN())
	}
	return load(avg.Load1)
}

// busy reports whether the machine was not quiet.
func (l load) busy() bool { return l > busyLoad }

func (l load) String() string {
	if math.IsNaN(float64(l)) {
		return "unknown"
	}
	return fmt.Sprintf("%.2f", float64(l))
}

func (m *machine) text() string {
	return fmt.Sprintf("%s on %s, %v; %s, %s/%s, %d CPUs (%s); load %s before, %s after.\n\n%s.", m.revision,
		m.begun.UTC().Format("2006-01-02 15:04 UTC"), m.took.Round(time.Second), runtime.Version(), runtime.GOOS,
		runtime.GOARCH, runtime.NumCPU(), m.processor, m.before, m.after, strings.Join(m.versions, ", "))
}

// libraries returns the versions of the modules that are compared.
func libraries() []string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	names := map[string]string{
		"github.com/hibiken/asynq": "asynq", "github.com/riverqueue/river": "River", "google.golang.org/grpc": "gRPC",
		"github.com/rabbitmq/amqp091-go": "amqp091-go", "go.mongodb.org/mongo-driver/v2": "mongo-driver",
	}
	var out []string
	for _, d := range info.Deps {
		if name, ok := names[d.Path]; ok {
			out = append(out, name+" "+d.Version)
		}
	}
	return out
}

// versions returns the versions of the servers that are running.
func (s *stack) versions(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var out []string
	ask := func(name, uri string, version func(ctx context.Context, uri string) (string, error)) {
		if uri == "" {
			return
		}
		v, err := version(ctx, uri)
		if err != nil {
			v = "of unknown version"
		}
		out = append(out, name+" "+v)
	}
	ask("MongoDB", s.Mongo, mongoVersion)
	ask("RabbitMQ", s.AMQP, rabbitVersion)
	ask("Redis", s.Redis, redisVersion)
	ask("Redis (AOF)", s.RedisAOF, redisVersion)
	ask("PostgreSQL", s.Postgres, postgresVersion)
	return out
}

func mongoVersion(ctx context.Context, uri string) (string, error) {
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		return "", err
	}
	var info struct{ Version string }
	err = client.Database("admin").RunCommand(ctx, bson.D{{Key: "buildInfo", Value: 1}}).Decode(&info)
	return info.Version, errors.Join(err, client.Disconnect(ctx))
}

func rabbitVersion(_ context.Context, uri string) (string, error) {
	conn, err := amqp091.Dial(uri)
	if err != nil {
		return "", err
	}
	version, _ := conn.Properties["version"].(string)
	return version, conn.Close()
}

func redisVersion(ctx context.Context, uri string) (string, error) {
	o, err := redis.ParseURL(uri)
	if err != nil {
		return "", err
	}
	client := redis.NewClient(o)
	text, err := client.Info(ctx, "server").Result()
	_, rest, _ := strings.Cut(text, "redis_version:")
	version, _, _ := strings.Cut(rest, "\r\n")
	return version, errors.Join(err, client.Close())
}

func postgresVersion(ctx context.Context, uri string) (version string, err error) {
	conn, err := pgx.Connect(ctx, uri)
	if err != nil {
		return "", err
	}
	err = conn.QueryRow(ctx, "SHOW server_version").Scan(&version)
	version, _, _ = strings.Cut(version, " ")
	return version, errors.Join(err, conn.Close(ctx))
}
