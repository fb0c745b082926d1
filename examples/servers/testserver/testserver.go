// Package testserver has a minimal service and worker.
package testserver

import (
	"context"
	"time"

	af "github.com/afgen/afgen/runtime"
)

//go:generate go tool afgen .

// TestServer answers calls.
//
//af:rpc name=test_server timeout=5s
type TestServer struct{}

// GetServiceName returns the answering instance.
//
//af:method idempotent
func (s *TestServer) GetServiceName(ctx context.Context) (Info, error) {
	in := af.InstanceFrom(ctx)
	return Info{Name: "test_server", IP: in.IP, Version: in.Version}, nil
}

// TestFunc adds x and y.
func (s *TestServer) TestFunc(ctx context.Context, x, y int) (sum int, err error) {
	return x + y, nil
}

// Info describes an instance.
type Info struct {
	Name    string `json:"name"`
	IP      string `json:"ip"`
	Version string `json:"version"`
}

// TestWorker runs the tasks of the queue test_server.
//
//af:worker name=test_server
type TestWorker struct {
	Work time.Duration // duration of a task
}

// Run simulates work.
func (w *TestWorker) Run(ctx context.Context, job Job) (Receipt, error) {
	select {
	case <-time.After(w.Work):
		return Receipt{Index: job.Index, IP: af.InstanceFrom(ctx).IP}, nil
	case <-ctx.Done():
		return Receipt{}, context.Cause(ctx)
	}
}

// Job is the payload of a task.
type Job struct {
	Index int `json:"index"`
}

// Receipt is the result of a task.
type Receipt struct {
	Index int    `json:"index"`
	IP    string `json:"ip"` // of the instance that ran it
}

// TickWorker runs the tasks of a job with one task every two seconds, however many servers run.
//
//af:worker name=tick
//af:schedule id=tick cron="*/2 * * * * *"
type TickWorker struct{}

// Run logs a tick.
func (w *TickWorker) Run(ctx context.Context, _ Tick) error {
	af.LoggerFrom(ctx).Debug("tick")
	return nil
}

// Tick is the payload of the job's tasks.
type Tick struct{}
