// Command scenario is AstraFlux's example in one file: two services, each with a worker, and a client that calls them
// and submits tasks with subtasks. Without arguments it serves; with one it is the client. examples/servers and
// examples/client are more complete versions.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/auto"
)

//go:generate go tool afgen .

// TestServer answers calls.
//
//af:rpc name=scenario_server
type TestServer struct{}

// GetServiceName returns the address of the instance.
func (s *TestServer) GetServiceName(ctx context.Context) (ip string, err error) {
	return af.InstanceFrom(ctx).IP, nil
}

// TestFunc returns its arguments.
func (s *TestServer) TestFunc(ctx context.Context, x, y int) (int, int, error) { return x, y, nil }

// TestWorker works for five seconds.
//
//af:worker name=scenario_server
type TestWorker struct{}

// Run runs a task.
func (w *TestWorker) Run(ctx context.Context, job Job) error { return work(ctx, job, 5*time.Second) }

// SubTestServer also answers calls.
//
//af:rpc name=scenario_sub_server
type SubTestServer struct{}

// GetServiceName returns the address of the instance.
func (s *SubTestServer) GetServiceName(ctx context.Context) (ip string, err error) {
	return af.InstanceFrom(ctx).IP, nil
}

// TestFunc returns its arguments.
func (s *SubTestServer) TestFunc(ctx context.Context, x, y int) (int, int, error) { return x, y, nil }

// SubTestWorker works for three seconds.
//
//af:worker name=scenario_sub_server
type SubTestWorker struct{}

// Run runs a subtask.
func (w *SubTestWorker) Run(ctx context.Context, job Job) error { return work(ctx, job, 3*time.Second) }

// Job is the payload of a task.
type Job struct{ Index int }

func work(ctx context.Context, job Job, d time.Duration) error {
	af.LoggerFrom(ctx).Info("received", "job", job)
	time.Sleep(d)
	return nil
}

func main() {
	ctx := context.Background()
	cfg, err := auto.Load("")
	check(err)
	app, err := af.Open(ctx, auto.From(cfg), auto.Options(cfg)...)
	check(err)
	if len(os.Args) == 1 {
		RegisterTestServer(app, &TestServer{})
		RegisterTestWorker(app, &TestWorker{})
		RegisterSubTestServer(app, &SubTestServer{})
		RegisterSubTestWorker(app, &SubTestWorker{})
		check(app.Run(ctx))
		return
	}
	check(app.Start(ctx))
	x, y, err := NewTestServerClient(app, af.WaitForReady()).TestFunc(ctx, 1, 2)
	fmt.Println("RPC call result:", x, y, err)
	for i := range 3 {
		id, err := NewTestWorkerQueue(app).Store(ctx, Job{Index: i})
		check(err)
		ids, err := NewSubTestWorkerQueue(app).Subtasks(ctx, id, make([]Job, 5))
		check(err)
		fmt.Println("Subtask IDs of main task", id, ids)
	}
	check(app.Shutdown(ctx))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
