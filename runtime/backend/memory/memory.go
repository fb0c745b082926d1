// Package memory is the backend that lives in one process and needs nothing: for tests, simulations and first steps. It
// is plain Go and the reference model that every other backend is compared with.
//
// [New] makes an empty world. Every App opened on the same Backend lives in it, so that several Apps in one process
// call each other as they would across machines: arguments and results are encoded all the same, a caller competes for
// the instances of a service, and an App that shuts down leaves the others alone.
//
//	world := memory.New()
//	servers, err := af.Open(ctx, world)
//	client, err := af.Open(ctx, world)
//
// It carries calls. Its other ports are nil: no tasks are stored.
package memory

import (
	"context"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
)

// A Backend is one world in memory. It is safe for concurrent use and goes with the last reference to it.
type Backend struct {
	mu       sync.Mutex
	services map[string]*service
}

// New returns an empty world.
func New() *Backend { return &Backend{services: map[string]*service{}} }

// Open joins the world. It always succeeds.
func (b *Backend) Open(_ context.Context, env backend.Env) (*backend.Ports, error) {
	s := &session{backend: b, instance: env.Instance, closed: make(chan struct{})}
	return &backend.Ports{Name: "memory", Calls: s, Close: s.close}, nil
}
