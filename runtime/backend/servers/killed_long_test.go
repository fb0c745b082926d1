//go:build long && unix

package servers_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/servers"
)

func init() { children["victim"] = victimMain }

// victimMain is a process that runs one task of the queue AF_TEST_QUEUE until it is killed.
func victimMain() int {
	cfg, err := parseText(os.Getenv("AF_TEST_CONFIG"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	app, err := af.Open(context.Background(), servers.From(cfg), af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	w := af.Worker{Name: os.Getenv("AF_TEST_QUEUE"), Type: "Victim", Max: 1}
	af.RegisterWorker(app, w, &heldWorker{release: make(chan struct{})})
	_ = app.Run(context.Background())
	return 0
}

// rescuer is a worker that reports the tasks that it gets.
type rescuer struct{ got chan string }

func (r *rescuer) Run(ctx context.Context, n int) (int, error) {
	r.got <- af.TaskFrom(ctx).ID
	return n, nil
}

// The task of a process that is killed with SIGKILL runs again elsewhere within 2 s. The machine may be busy, so the test
// allows twice as long, and logs how long it took.
func TestLongKilledProcessesTaskRunsAgainSoon(t *testing.T) {
	const victims = 8
	text := fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n", devstack.Mongo(t),
		devstack.Redis(t), devstack.AMQP(t))
	w := af.Worker{Name: devstack.Name(t), Type: "Victim", Max: victims}
	client := open(t, parse(t, text), nil)
	q := af.NewQueue[int, int](client, w)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var children []*testkit.Child
	for n := range victims {
		must(q.Submit(ctx, n))(t)
		children = append(children, testkit.Start(t, "victim", "AF_TEST_CONFIG="+text, "AF_TEST_QUEUE="+w.Name))
	}
	running := func() int {
		page := must(client.Tasks(ctx, af.TaskQuery{Queue: w.Name, Statuses: []af.Status{af.StatusRunning}}))(t)
		return len(page.Tasks)
	}
	for running() < victims && ctx.Err() == nil {
		time.Sleep(50 * time.Millisecond)
	}
	r := &rescuer{make(chan string, victims)}
	open(t, parse(t, text), func(app *af.App) { af.RegisterWorker(app, w, r) })
	time.Sleep(2 * time.Second)
	var longest time.Duration
	for n, c := range children {
		time.Sleep(time.Duration(n) * 130 * time.Millisecond) // the offset to its heartbeats
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		killed := time.Now()
		select {
		case <-r.got:
		case <-ctx.Done():
			t.Fatal("a task doesn't run again")
		}
		took := time.Since(killed)
		t.Logf("ran again after %v", took.Round(10*time.Millisecond))
		longest = max(longest, took)
	}
	if longest > 4*time.Second {
		t.Errorf("a task ran again only after %v", longest)
	}
}
