// Package subtestserver is a second service and worker, for the subtasks of testserver's tasks.
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

// GetServiceName says which instance answers.
//
//af:method idempotent
func (s *SubTestServer) GetServiceName(ctx context.Context) (Info, error) {
	in := af.InstanceFrom(ctx)
	return Info{Name: "sub_test_server", IP: in.IP, Version: in.Version}, nil
}

// TestFunc adds.
func (s *SubTestServer) TestFunc(ctx context.Context, x, y int) (sum int, err error) {
	return x + y, nil
}

// Info is what an instance says of itself.
type Info struct {
	Name    string `json:"name"`
	IP      string `json:"ip"`
	Version string `json:"version"`
}

// SubTestWorker runs the tasks of the queue sub_test_server.
//
//af:worker name=sub_test_server
type SubTestWorker struct {
	Work time.Duration // how long a task takes
}

// Run pretends to work.
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
