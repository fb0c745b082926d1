package servers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/servers"
)

func serveAdder(app *af.App) {
	af.RegisterService(app, af.Service{Name: "adder", Type: "Adder", Concurrency: 4}, &adder{},
		af.Bind(&addMethod, func(_ context.Context, _ *adder, a args) (sum, error) { return sum{a.X + a.Y}, nil }))
}

// Apps detect that an exchange was deleted. They are in mode without-rabbitmq until they have recreated it.
func TestDeletedExchangesAreRepaired(t *testing.T) {
	cfg := configured(t)
	log := &logRecorder{}
	served, err := af.Open(t.Context(), servers.From(cfg), af.Logger(slog.New(log)))
	if err != nil {
		t.Fatal(err)
	}
	serveAdder(served)
	if err := served.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := served.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	client := af.NewClient(open(t, cfg, nil), af.WaitForReady())
	admin, err := amqp091.Dial(cfg.RabbitMQ.URI.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close() })
	ch, err := admin.Channel()
	if err != nil {
		t.Fatal(err)
	}
	for _, exchange := range []string{"af.rpc", "af.ctl"} {
		log.take()
		if err := ch.ExchangeDelete(exchange, false, false); err != nil {
			t.Fatal(err)
		}
		var lines []string
		testkit.Eventually(t, exchange, func() bool {
			lines = append(lines, log.take()...)
			return len(lines) == 2 && len(served.Health().Degraded) == 0
		})
		if !strings.Contains(lines[0], "WARN degraded: without-rabbitmq") || !strings.Contains(lines[0], exchange) ||
			!strings.Contains(lines[1], "INFO no longer degraded: without-rabbitmq") {
			t.Errorf("%s: log:\n%s", exchange, strings.Join(lines, "\n"))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		testkit.Succeeds(t, "a call", func() error { _, err := addMethod.Call(ctx, client, args{1, 2}); return err })
		cancel()
	}
}

// While RabbitMQ is short of memory, opening fails without start_degraded. With it, the App starts and serves once the
// broker accepts messages.
func TestStartingUnderMemoryAlarm(t *testing.T) {
	testkit.Long(t, "starts a RabbitMQ and raises its memory alarm")
	rabbit := devstack.Start(t, devstack.RabbitMQ)
	alarm := func(watermark string) {
		t.Helper()
		if err := rabbit.Ctl("set_vm_memory_high_watermark", watermark); err != nil {
			t.Fatal(err)
		}
	}
	cfg := parse(t, fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n", devstack.Mongo(t),
		devstack.Redis(t), rabbit.URI))
	alarm("0.0001")
	for range 5 {
		if _, err := af.Open(t.Context(), servers.From(cfg)); !errors.Is(err, af.ErrUnavailable) ||
			!strings.Contains(err.Error(), "memory or disk") {
			t.Fatal(err)
		}
	}
	var apps []*af.App
	for range 3 {
		app, err := af.Open(t.Context(), servers.From(cfg, servers.StartDegraded()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := app.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		})
		serveAdder(app)
		if err := app.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if h, err := app.Health(), app.Ready(); !slices.Equal(h.Degraded, []string{"without-rabbitmq"}) ||
			!errors.Is(err, af.ErrUnavailable) ||
			!strings.Contains(err.Error(), "memory or disk") {
			t.Errorf("modes %v: %v", h.Degraded, err)
		}
		apps = append(apps, app)
	}
	alarm("0.4")
	for _, app := range apps {
		testkit.Succeeds(t, "ready", app.Ready)
		testkit.Succeeds(t, "a call", func() error {
			_, err := addMethod.Call(t.Context(), af.NewClient(app),
				args{1, 2})
			return err
		})
	}
}
