package servers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/servers"
)

// Raw messages wait in RabbitMQ until they are received, and are redelivered if the receiver fails. Shutdown waits for
// the one being handled. IDs of two Apps on the same servers differ.
func TestMessagesAndIDsCrossTheServers(t *testing.T) {
	cfg := configured(t)
	sender, receiver := open(t, cfg, nil), open(t, cfg, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	queue := sender.NewID()
	for n := range 3 {
		if err := sender.Send(ctx, queue, n); err != nil {
			t.Fatal(err)
		}
	}
	seen, inHand, done := map[int]int{}, make(chan struct{}), make(chan error, 1)
	go func() {
		done <- af.ReceiveAs(ctx, receiver, queue, func(ctx context.Context, n int) error {
			switch seen[n]++; {
			case seen[1] == 1 && n == 1:
				return errors.New("not yet")
			case seen[2] == 1 && n == 2:
				panic("not yet")
			}
			if seen[0] > 0 && seen[1] > 1 && seen[2] > 1 {
				close(inHand)
				time.Sleep(200 * time.Millisecond)
			}
			return ctx.Err()
		})
	}()
	select {
	case <-inHand:
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
	if err := receiver.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil || seen[0] != 1 || seen[1] != 2 || seen[2] != 2 {
		t.Errorf("seen %v, %v", seen, err)
	}
	empty, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	_ = sender.Receive(empty, queue, func(_ context.Context, body json.RawMessage) error {
		t.Errorf("received again: %s", body)
		return nil
	})

	ids := map[string]bool{}
	for _, app := range []*af.App{sender, open(t, cfg, nil)} {
		for range 100 {
			id, err := app.Snowflake(ctx)
			if err != nil || ids[id] {
				t.Fatalf("%s, %v", id, err)
			}
			ids[id] = true
		}
	}
}

// chatty is a worker that logs.
type chatty struct{}

func (chatty) Run(ctx context.Context, n int) (int, error) {
	af.LoggerFrom(ctx).Info("working", "n", n)
	return n, nil
}

// The broker rejects a queue of the other kind, which shows that the configured kind is used.
func TestQuorumConfiguration(t *testing.T) {
	url := devstack.AMQP(t)
	text := fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q, quorum: ", devstack.Mongo(t),
		devstack.Redis(t), url)
	quorum, classic := parse(t, text+"true}\n"), parse(t, text+"false}\n")
	if err := open(t, quorum, nil).Send(t.Context(), "asked", 1); err != nil {
		t.Fatal(err)
	}
	if err := open(t, classic, nil).Send(t.Context(), "asked", 1); !errors.Is(err, af.ErrFailedPrecondition) {
		t.Errorf("sending to a quorum queue as a classic one: %v", err)
	}
	option, err := af.Open(t.Context(), servers.From(classic, servers.Quorum()), af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = option.Shutdown(context.Background()) }()
	if err := option.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := option.Send(t.Context(), "asked", 1); err != nil {
		t.Errorf("with the option: %v", err)
	}
}

func TestTaskLogOverServers(t *testing.T) {
	worker := af.Worker{Name: "chatty", Type: "Chatty", Max: 1}
	app := open(t, configured(t), func(app *af.App) { af.RegisterWorker(app, worker, &chatty{}) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	q := af.NewQueue[int, int](app, worker)
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	id, err := q.Submit(af.WithTrace(ctx, trace), 7)
	if err == nil {
		_, err = q.Wait(ctx, id)
	}
	if err != nil {
		t.Fatal(err)
	}
	task, err := q.Get(ctx, id)
	if err != nil || task.Trace != trace || len(task.Log) != 2 || !strings.Contains(task.Log[0], app.Instance().ID) ||
		!strings.HasSuffix(task.Log[1], "level=INFO msg=working n=7") {
		t.Errorf("%q, trace %q, %v", task.Log, task.Trace, err)
	}
}
