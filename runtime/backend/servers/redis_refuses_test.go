package servers_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	driver "github.com/redis/go-redis/v9"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/servers"
)

// A rejectingState is a state in which Redis answers but rejects writes.
type rejectingState struct {
	name  string
	file  string   // of Redis; replaced by a directory first
	says  []string // expected in the cause: the error of Redis, and what to do about it
	enter [][]any  // commands
	leave [][]any
}

func rejectingStates(nowhere int) []rejectingState {
	return []rejectingState{
		{"full", "", []string{"OOM", "maxmemory"}, [][]any{{"CONFIG", "SET", "maxmemory", "1"}},
			[][]any{{"CONFIG", "SET", "maxmemory", "0"}}},
		{"replica", "", []string{"READONLY", "master"}, [][]any{{"REPLICAOF", "127.0.0.1", nowhere}},
			[][]any{{"REPLICAOF", "NO", "ONE"}}},
		{
			"no_master", "", []string{"MASTERDOWN", "master"},
			[][]any{{"CONFIG", "SET", "replica-serve-stale-data", "no", "replica-read-only", "no"},
				{"REPLICAOF", "127.0.0.1", nowhere}},
			[][]any{{"REPLICAOF", "NO", "ONE"}},
		},
		{"few_replicas", "", []string{"NOREPLICAS", "min-replicas-to-write"},
			[][]any{{"CONFIG", "SET", "min-replicas-to-write", "1"}},
			[][]any{{"CONFIG", "SET", "min-replicas-to-write", "0"}}},
		{
			"loading", "", []string{"LOADING", "loading its data"},
			[][]any{{"DEBUG", "RELOAD", "NOSAVE"}}, [][]any{{"CONFIG", "SET", "key-load-delay", "0"}},
		},
		{
			"no_disk", "dump.rdb", []string{"MISCONF", "disk"},
			[][]any{{"CONFIG", "SET", "save", "3600 1"}, {"BGSAVE"}}, [][]any{{"CONFIG", "SET", "save", ""}},
		},
	}
}

// While Redis answers but rejects writes, Apps are in mode without-redis. With start_degraded they start; without,
// opening fails at once. They recover without a restart.
func TestRedisRejectingWritesIsUnavailable(t *testing.T) {
	t.Parallel()
	redis := devstack.Prepare(t, devstack.RedisKV)
	redis.Args = []string{"--enable-debug-command", "yes", "--save", "", "--rdbcompression", "no"}
	if err := redis.Start(); err != nil {
		t.Fatal(err)
	}
	nowhere := devstack.Prepare(t, devstack.RedisKV).Port
	o, err := driver.ParseURL(redis.URI)
	if err != nil {
		t.Fatal(err)
	}
	o.ReadTimeout = -1 // a reload may take long
	admin := driver.NewClient(o)
	t.Cleanup(func() { _ = admin.Close() })
	do := func(commands [][]any) {
		t.Helper()
		for _, c := range commands {
			if c[0] == "DEBUG" { // returns after loading
				go func() { _ = admin.Do(context.Background(), c...).Err() }()
			} else if err := admin.Do(t.Context(), c...).Err(); err != nil {
				t.Fatal(c, err)
			}
		}
	}
	for i := range 100 { // loading them takes 10 s, unless key-load-delay is reset
		do([][]any{{"SET", fmt.Sprint("key", i), strings.Repeat("x", 2000)}})
	}
	do([][]any{{"SAVE"}, {"CONFIG", "SET", "key-load-delay", "100000", "loading-process-events-interval-bytes", "1024"}})

	cfg := parse(t, fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n", devstack.Mongo(t),
		redis.URI, devstack.AMQP(t)))
	running := open(t, cfg, func(app *af.App) { af.RegisterWorker(app, stepWorker, &step{}) })
	await := func(app *af.App, modes ...string) (cause string) {
		t.Helper()
		testkit.Succeeds(t, "its health", func() error {
			h := app.Health()
			for _, c := range h.Conditions {
				cause += c.Cause
			}
			if !slices.Equal(h.Degraded, modes) {
				return fmt.Errorf("modes %v, want %v", h.Degraded, modes)
			}
			return nil
		})
		return cause
	}
	says := func(r rejectingState, text string) {
		t.Helper()
		for _, want := range r.says {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q doesn't contain %q", r.name, text, want)
			}
		}
	}
	for i, r := range rejectingStates(nowhere) {
		whole := i == 0 || !testing.Short() // detection and recovery take two seconds each
		if whole {
			await(running)
		}
		if file := filepath.Join(redis.Dir, r.file); r.file != "" {
			if err := errors.Join(os.Remove(file), os.MkdirAll(filepath.Join(file, "full"), 0o700)); err != nil {
				t.Fatal(err)
			}
		}
		do(r.enter)
		testkit.Eventually(t, "it is "+r.name, func() bool {
			err := admin.Set(t.Context(), "key", "", 0).Err()
			return err != nil && strings.HasPrefix(err.Error(), r.says[0])
		})
		begun := time.Now()
		_, err := af.Open(t.Context(), servers.From(cfg))
		took := time.Since(begun)
		if !errors.Is(err, af.ErrUnavailable) || !strings.Contains(err.Error(), "redis: ") || took > 3*time.Second {
			t.Errorf("%s: after %v: %v", r.name, took, err)
		} else {
			says(r, err.Error())
		}
		app, err := af.Open(t.Context(), servers.From(cfg, servers.StartDegraded()))
		if err != nil {
			t.Fatal(r.name, err)
		}
		says(r, await(app, "without-redis"))
		if err := app.Start(t.Context()); err != nil {
			t.Errorf("%s: %v", r.name, err)
		}
		if whole {
			says(r, await(running, "without-redis"))
		}
		q := af.NewQueue[int, int](app, stepWorker)
		if _, err := q.Submit(t.Context(), 1, af.RequireWorker()); !errors.Is(err, af.ErrUnavailable) {
			t.Errorf("%s: RequireWorker: %v", r.name, err)
		}
		do(r.leave)
		if whole {
			await(app)
			testkit.Succeeds(t, r.name, func() error { _, err := q.Submit(t.Context(), 1, af.RequireWorker()); return err })
		}
		if err := app.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
