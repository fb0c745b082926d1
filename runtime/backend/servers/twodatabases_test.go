package servers_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	af "github.com/afgen/afgen/runtime"
)

// Programs with different databases share a virtual host and queue names. Each hint wakes a worker of its own database.
// A hint that the other one took would be lost: its task would only start when a worker polls, seconds later.
func TestTwoDatabasesOnOneVirtualHost(t *testing.T) {
	redis, amqp := devstack.Redis(t), devstack.AMQP(t)
	w := af.Worker{Name: devstack.Name(t), Type: "Shared", Max: 4, Backoff: time.Second}
	var queues []af.Queue[int, int]
	var ran [2]atomic.Int64
	for i := range ran {
		cfg := parse(t, fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n", devstack.Mongo(t), redis,
			amqp))
		open(t, cfg, func(app *af.App) { af.RegisterWorker(app, w, &counting{&ran[i]}) })
		queues = append(queues, af.NewQueue[int, int](open(t, cfg, nil), w))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const each = 20
	var slow int
	for _, q := range queues { // sequentially: the broker distributes hints round-robin
		for n := range each {
			begun := time.Now()
			id := must(q.Submit(ctx, n))(t)
			must(q.Wait(ctx, id))(t)
			if time.Since(begun) > time.Second {
				slow++
			}
		}
	}
	// If it could, the broker would give half of the hints to the other database's worker.
	if a, b := ran[0].Load(), ran[1].Load(); a != each || b != each || slow > each/2 {
		t.Errorf("%d and %d tasks ran, want %d each; %d took longer than a second", a, b, each, slow)
	}
}

// counting counts the tasks that it runs.
type counting struct{ n *atomic.Int64 }

func (c *counting) Run(_ context.Context, n int) (int, error) {
	c.n.Add(1)
	return n, nil
}
