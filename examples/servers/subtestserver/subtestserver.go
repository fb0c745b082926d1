// Package subtestserver has the second service, and the worker of testserver's subtasks.
package subtestserver

import (
	"context"
	"time"

	af "github.com/afgen/afgen/runtime"
)

//go:generate go tool afgen .

// SubTestServer answers calls.
//
//af:rpc name=sub_test_server timeout=5s
type SubTestServer struct{}

// GetServiceName returns the answering instance.
//
//af:method idempotent
func (s *SubTestServer) GetServiceName(ctx context.Context) (Info, error) {
	in := af.InstanceFrom(ctx)
	return Info{Name: "sub_test_server", IP: in.IP, Version: in.Version}, nil
}

// TestFunc adds x and y.
func (s *SubTestServer) TestFunc(ctx context.Context, x, y int) (sum int, err error) {
	return x + y, nil
}

// Info describes an instance.
type Info struct {
	Name    string `json:"name"`
	IP      string `json:"ip"`
	Version string `json:"version"`
}

// SubTestWorker runs the tasks of the queue sub_test_server.
//
//af:worker name=sub_test_server
type SubTestWorker struct {
	Work time.Duration // duration of a task
}

// Run simulates work.
func (w *SubTestWorker) Run(ctx context.Context, job Job) (Receipt, error) {
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
