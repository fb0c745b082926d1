package servers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/apptest"
	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/servers"
	"github.com/afgen/afgen/runtime/config"
)

// configured returns a configuration with databases of the test's own.
func configured(t testing.TB) config.Config {
	t.Helper()
	return parse(t, fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n",
		devstack.Mongo(t), devstack.Redis(t), devstack.AMQP(t)))
}

func parse(t testing.TB, text string) config.Config {
	t.Helper()
	cfg, err := parseText(text)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// parseText parses a configuration and removes the section logger, so that Apps without af.Logger write no files.
func parseText(text string) (config.Config, error) {
	cfg, err := config.Parse("config.yaml", []byte(text), nil)
	cfg.Logger = config.Logger{}
	return cfg, err
}

// Over the servers a program whose log goes to the console starts in a read-only directory.
func TestReadOnlyDirectory(t *testing.T) {
	cfg := configured(t)
	cfg.Logger = config.Logger{Level: slog.LevelError, Console: true, Format: config.FormatText}
	t.Chdir(testkit.ReadOnlyDir(t))
	app, err := af.Open(t.Context(), servers.From(cfg))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(app.Start(t.Context()), app.Shutdown(t.Context())); err != nil {
		t.Error(err)
	}
}

func open(t testing.TB, cfg config.Config, register func(*af.App)) *af.App {
	t.Helper()
	return apptest.Start(t, servers.From(cfg), register, af.Logger(slog.New(slog.NewTextHandler(t.Output(), nil))))
}

type adder struct{}

type args struct{ X, Y int }

type sum struct{ Sum int }

var addMethod = af.Method[args, sum]{Service: "adder", Name: "Add", Timeout: 10 * time.Second}

// step is a worker whose first attempt fails for negative payloads.
type step struct{ done chan af.Subtasks }

var stepWorker = af.Worker{Name: "step", Type: "Step", Max: 10, Retries: 2, Backoff: 10 * time.Millisecond}

func (w *step) Run(ctx context.Context, n int) (int, error) {
	if n < 0 && af.TaskFrom(ctx).Attempt == 1 {
		return 0, errors.New("the first attempt fails")
	}
	return 2 * n, nil
}

func (w *step) SubtasksDone(_ context.Context, _ int, s af.Subtasks) error {
	w.done <- s
	return nil
}

func TestCallsTasksAndSubtasksCrossTheServers(t *testing.T) {
	cfg := configured(t)
	w := &step{make(chan af.Subtasks, 1)}
	open(t, cfg, func(app *af.App) {
		af.RegisterService(app, af.Service{Name: "adder", Type: "Adder", Concurrency: 4}, &adder{},
			af.Bind(&addMethod, func(_ context.Context, _ *adder, a args) (sum, error) { return sum{a.X + a.Y}, nil }))
		af.RegisterWorker(app, stepWorker, w)
	})
	client := open(t, cfg, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if r, err := addMethod.Call(ctx, af.NewClient(client, af.WaitForReady()), args{1, 2}); err != nil || r.Sum != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	q := af.NewQueue[int, int](client, stepWorker)
	id, err := q.Submit(ctx, -21)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := q.Subtasks(ctx, id, []int{1, 2, 3, 4, 5})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := q.Wait(ctx, id); n != -42 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for i, sub := range ids {
		if n, err := q.Wait(ctx, sub); n != 2*(i+1) || err != nil {
			t.Errorf("subtask %d: %d, %v", i, n, err)
		}
	}
	select {
	case s := <-w.done:
		if s.Total != 5 || s.Succeeded != 5 {
			t.Errorf("SubtasksDone received %+v", s)
		}
	case <-ctx.Done():
		t.Error("SubtasksDone didn't run")
	}
	if _, err := q.Submit(ctx, 1, af.RequireWorker()); err != nil {
		t.Errorf("with a worker: %v", err)
	}
	unserved := stepWorker
	unserved.Name = "unserved"
	if _, err := af.NewQueue[int, int](client, unserved).Submit(ctx, 1, af.RequireWorker()); !errors.Is(err,
		af.ErrFailedPrecondition) {
		t.Errorf("without a worker: %v", err)
	}
}

// Errors name each unreachable server, and contain no password.
func TestOpenErrorsNameServersWithoutSecrets(t *testing.T) {
	begun := time.Now()
	_, err := af.Open(t.Context(), servers.From(parse(t, `
mongodb: {host: 127.0.0.1, port: 1, username: app, password: hunter2}
redis: {host: 127.0.0.1, port: 1, password: hunter2}
rabbitmq: {host: 127.0.0.1, port: 1, username: app, password: hunter2}
`)))
	if err == nil {
		t.Fatal("opened")
	}
	for _, want := range []string{"mongodb: ", "redis: ", "rabbitmq: ", "127.0.0.1:1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v doesn't contain %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("contains a secret: %v", err)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestWrongPasswordFails(t *testing.T) {
	uri := devstack.AMQP(t)
	at := strings.LastIndex(uri, "@")
	_, err := af.Open(t.Context(), servers.From(parse(t,
		fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n",
			devstack.Mongo(t), devstack.Redis(t), "amqp://guest:hunter2"+uri[at:]))))
	if !errors.Is(err, af.ErrUnauthenticated) || !strings.Contains(err.Error(), "rabbitmq: ") ||
		strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestTLSErrorsNameConfigKey(t *testing.T) {
	_, err := af.Open(t.Context(), servers.From(parse(t, `
mongodb: {tls: {enabled: true, ca_file: /nowhere/ca.pem}, port: 1}
redis: {port: 1}
rabbitmq: {port: 1}
`)))
	if err == nil || !strings.Contains(err.Error(), "mongodb.tls.ca_file: ") {
		t.Errorf("got %v", err)
	}
}
