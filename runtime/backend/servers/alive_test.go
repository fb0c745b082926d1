//go:build unix

package servers_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/servers"
)

// A process that is alive but cut off is declared dead by others. By then it has cancelled its tasks.
func TestCutOffProcessCancelsBeforeOthersRunItsTasks(t *testing.T) {
	cutOff(t, devstack.Mongo, cuts)
}

// A cut is a way to cut off a process.
type cut struct {
	name    string
	lease   time.Duration
	amqp    string // option of the URI
	cut     func(mongo, amqp *testkit.Proxy)
	atMost  time.Duration // until all tasks run elsewhere
	atLeast time.Duration
}

var cuts = []cut{
	// The connection to the broker is closed, and the process is notified.
	{"store_cut_transport_closed", 10 * time.Second, "heartbeat=2", func(mongo, amqp *testkit.Proxy) {
		mongo.Block(testkit.Requests)
		mongo.Block(testkit.Replies)
		amqp.Refuse()
	}, 5 * time.Second, time.Second},
	// The broker drops the connection 3 to 6 s later (a heartbeat of 2 s), and the process isn't notified.
	{"network_lost", time.Minute, "heartbeat=2", loseNetwork, 12 * time.Second, 3 * time.Second},
}

func loseNetwork(mongo, amqp *testkit.Proxy) {
	for _, w := range []*testkit.Proxy{mongo, amqp} {
		w.Block(testkit.Requests)
		w.Block(testkit.Replies)
	}
}

// cutOff runs each case in a database of its own, since processes on other virtual hosts appear absent.
func cutOff(t *testing.T, database func(t testing.TB) (uri string), cuts []cut) {
	for _, c := range cuts {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			mongo, redis, amqp := database(t), devstack.Redis(t), devstack.AMQP(t)
			direct := fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n", mongo, redis, amqp)
			viaMongo, mongoURI := testkit.NewProxyURI(t, mongo, testkit.ProxyConfig{})
			viaAMQP, amqpURI := testkit.NewProxyURI(t, amqp, testkit.ProxyConfig{})
			indirect := fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n",
				mongoURI+uriSeparator(mongoURI)+"directConnection=true", redis, amqpURI+uriSeparator(amqpURI)+c.amqp)

			const tasks = 6
			runs := &overlapDetector{inside: map[string]map[*context.Context]bool{}, first: make(chan struct{}, tasks)}
			w := af.Worker{Name: devstack.Name(t), Type: "CutOff", Max: tasks, Backoff: time.Second}
			victim, err := af.Open(t.Context(), servers.From(parse(t, indirect)), af.Lease(c.lease),
				af.Logger(slog.New(slog.NewTextHandler(t.Output(), nil))))
			if err != nil {
				t.Fatal(err)
			}
			af.RegisterWorker(victim, w, runs)
			if err := victim.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			client := af.NewQueue[int, int](open(t, parse(t, direct), nil), w)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			ids := must(client.SubmitMany(ctx, make([]int, tasks)))(t)
			for range tasks {
				select {
				case <-runs.first:
				case <-ctx.Done():
					t.Fatal("the tasks don't start")
				}
			}
			open(t, parse(t, direct), func(app *af.App) { af.RegisterWorker(app, w, runs) })
			time.Sleep(2 * time.Second) // heartbeats of both have been seen
			begun := time.Now()
			c.cut(viaMongo, viaAMQP)
			for _, id := range ids {
				must(client.Wait(ctx, id))(t)
			}
			took := time.Since(begun)
			t.Logf("the tasks ended elsewhere after %v", took)
			if took < c.atLeast || took > c.atMost {
				t.Errorf("want %v to %v", c.atLeast, c.atMost)
			}
			if found := runs.overlapping(); len(found) > 0 {
				t.Errorf("%d of %d tasks ran in two processes with live contexts:\n%s", len(found), tasks,
					strings.Join(found, "\n"))
			}
			viaMongo.Restore()
			viaAMQP.Restore()
			_ = victim.Shutdown(ctx) // RabbitMQ may be unavailable to it
		})
	}
}

// uriSeparator returns what separates a URI from an appended option.
func uriSeparator(uri string) string {
	switch {
	case strings.Contains(uri, "?"):
		return "&"
	case strings.Count(uri, "/") < 3:
		return "/?"
	}
	return "?"
}

// An overlapDetector is a worker whose first run of a task waits for the end of its context. It records tasks that run
// twice at the same time.
type overlapDetector struct {
	first chan struct{} // receives when a task runs for the first time

	mu     sync.Mutex
	inside map[string]map[*context.Context]bool
	found  []string
}

func (o *overlapDetector) Run(ctx context.Context, n int) (int, error) {
	r := af.TaskFrom(ctx)
	o.mu.Lock()
	for other := range o.inside[r.ID] {
		if (*other).Err() == nil && ctx.Err() == nil {
			o.found = append(o.found, fmt.Sprintf("task %s with fence %d", r.ID, r.Fence))
		}
	}
	again := o.inside[r.ID] != nil
	if !again {
		o.inside[r.ID] = map[*context.Context]bool{}
	}
	o.inside[r.ID][&ctx] = true
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.inside[r.ID], &ctx)
	}()
	if again {
		return n, nil
	}
	o.first <- struct{}{}
	<-ctx.Done()
	return n, ctx.Err()
}

func (o *overlapDetector) overlapping() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.found
}
