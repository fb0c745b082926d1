package runtime

import (
	"context"
	"crypto/rand"
	"runtime/debug"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/machine"
)

// An Instance identifies one running [App]: see [App.Instance] and [InstanceFrom]. Its fields:
//
//	ID      string // new each time that an App is opened
//	IP      string // the address that it reports; see the option IP
//	Version string // the version of its program; see the option Version
type Instance = backend.Instance

// handling is the value in a handler's context that InstanceFrom, MetadataFrom and similar functions return parts of.
type handling struct {
	app     *App
	request *backend.Request // of a call; nil for a task
	running *Running         // of a task; nil for a call
	raw     *Message         // nil for the others
}

type handlingKey struct{}

func handlingFrom(ctx context.Context) *handling {
	h, _ := ctx.Value(handlingKey{}).(*handling)
	return h
}

// InstanceFrom returns the instance running the handler that owns ctx, or the zero Instance outside a handler.
func InstanceFrom(ctx context.Context) Instance {
	if h := handlingFrom(ctx); h != nil {
		return h.app.instance
	}
	return Instance{}
}

// newInstance returns the Instance of a new App. Its id is new, which distinguishes a restarted process from the
// previous one.
func newInstance(s settings) Instance {
	in := Instance{ID: rand.Text(), IP: s.ip, Version: s.version}
	if in.IP == "" {
		in.IP = machine.LocalIP()
	}
	if info, ok := debug.ReadBuildInfo(); ok && in.Version == "" {
		in.Version = info.Main.Version
	}
	return in
}
