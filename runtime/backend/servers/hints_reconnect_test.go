package servers_test

import (
	"context"
	"fmt"
	"net/url"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/recorder"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/servers"
	"github.com/afgen/afgen/runtime/instrument"
)

// Busy processes that lose their connections to RabbitMQ get their hints again. They don't pass them on to each other
// without end.
func TestHintsDoNotCircleAfterReconnection(t *testing.T) {
	mongo, redis, amqp := devstack.Mongo(t), devstack.Redis(t), devstack.AMQP(t)
	w := af.Worker{Name: devstack.Name(t), Type: "Busy", Max: 1, Backoff: time.Second}
	busy := &blocked{make(chan struct{})}
	var seen [2]recorder.Recorder
	var apps [2]*af.App
	var proxies [2]*testkit.Proxy
	database := must(url.Parse(mongo))(t).Path[1:]
	for i := range apps {
		proxy, uri := testkit.NewProxyURI(t, amqp, testkit.ProxyConfig{})
		cfg := parse(t, fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n", mongo, redis, uri))
		app, err := af.Open(t.Context(), servers.From(cfg), af.Instrument(&seen[i]))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = app.Shutdown(ctx)
		})
		af.RegisterWorker(app, w, busy)
		if err := app.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		apps[i], proxies[i] = app, proxy
	}
	t.Cleanup(func() { close(busy.end) }) // before the Apps are shut down
	must(af.NewQueue[int, int](apps[0], w).SubmitMany(t.Context(), make([]int, 300)))(t)
	direct, err := amqp091.Dial(amqp)
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	ch, err := direct.Channel()
	if err != nil {
		t.Fatal(err)
	}
	published := func() (n int) {
		for i := range seen {
			for _, e := range seen[i].Events(instrument.Requested) {
				if e.Op == "hint" {
					n++
				}
			}
		}
		return n
	}
	consumed := func() (consumers, waiting int) {
		q, err := ch.QueueDeclarePassive("af.hint."+database+"."+w.Name, true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		return q.Consumers, q.Messages
	}
	// Dispatchers may hint some tasks once more, and the hint of a task that the other App has found is dropped. So the
	// exact number of hints that wait is not known.
	last := 0
	testkit.Eventually(t, "the windows of both are full", func() bool {
		before := last
		consumers, waiting := consumed()
		last = waiting
		return consumers == len(apps) && waiting >= 298-2*64 && waiting == before
	})
	for i, p := range proxies {
		before := p.Accepted()
		p.Cut()
		testkit.Eventually(t, "it has connected again", func() bool { return p.Accepted() > before && apps[i].Ready() == nil })
	}
	testkit.Eventually(t, "hints are delivered again", func() bool {
		consumers, _ := consumed()
		return consumers == len(apps)
	})
	before, until := published(), time.Now().Add(2*time.Second)
	for time.Now().Before(until) {
		if n := published() - before; n > 50 {
			t.Fatalf("hints were published %d times, though nothing happens", n)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A blocked is a worker whose tasks run until end is closed.
type blocked struct{ end chan struct{} }

func (b *blocked) Run(ctx context.Context, n int) (int, error) {
	select {
	case <-b.end:
	case <-ctx.Done():
	}
	return n, ctx.Err()
}
