package runtime

import (
	"context"
	"crypto/rand"
	"runtime/debug"

	"github.com/afgen/afgen/runtime/backend"
)

// An Instance is one running App: one copy of the services and workers registered with it.
type Instance = backend.Instance

// handling is what a handler's context knows: one value for all that InstanceFrom, MetadataFrom and the others tell.
type handling struct {
	app     *App
	request *backend.Request // of a call; nil for a task
	running *Running         // of a task; nil for a call
	raw     string           // queue of a raw message; "" for the others
}

type handlingKey struct{}

func handlingFrom(ctx context.Context) *handling {
	h, _ := ctx.Value(handlingKey{}).(*handling)
	return h
}

// InstanceFrom returns the instance that runs the handler whose context ctx is; the zero Instance outside of one.
func InstanceFrom(ctx context.Context) Instance {
	if h := handlingFrom(ctx); h != nil {
		return h.app.instance
	}
	return Instance{}
}

// newInstance describes this process. An id is new for every App, so that a restart is told from what ran before.
func newInstance(s settings) Instance {
	in := Instance{ID: rand.Text(), IP: s.ip, Version: s.version}
	if in.IP == "" {
		in.IP = localIP()
	}
	if info, ok := debug.ReadBuildInfo(); ok && in.Version == "" {
		in.Version = info.Main.Version
	}
	return in
}
