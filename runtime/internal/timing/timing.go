// Package timing observes each request of an App to its backend: [Ports] wraps the ports, so that instruments see an
// event [instrument.Requested] when a request has ended, with its duration.
//
// Calls are not observed here, since instruments see them as such. Neither are methods that only wait or tell what is
// known: Transport.Ids, Receive and State, Listener.Next, Coordinator.Subscribe, and Deaths and Visible of the optional
// interfaces. A wrapped port has the optional interfaces that the original has, and no others.
package timing

import (
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/hooks"
)

// The names of the ports in events.
const (
	portStore       = "store"
	portDocs        = "docs"
	portTransport   = "transport"
	portCoordinator = "coordinator"
)

// Ports returns ports whose requests h observes. If h is nil it returns p.
func Ports(p *backend.Ports, h *hooks.Set) *backend.Ports {
	if h == nil {
		return p
	}
	timed := *p
	if p.Store != nil {
		timed.Store = newStore(p.Store, observer{h, portStore})
	}
	if p.Docs != nil {
		timed.Docs = docs{p.Docs, observer{h, portDocs}}
	}
	if p.Transport != nil {
		timed.Transport = newTransport(p.Transport, observer{h, portTransport})
	}
	if p.Coordinator != nil {
		timed.Coordinator = coordinator{p.Coordinator, observer{h, portCoordinator}}
	}
	return &timed
}

// An observer observes the requests to a port.
type observer struct {
	hooks *hooks.Set
	port  string
}

// ended observes that a request has ended. It allocates nothing, unless err is not nil.
func (o observer) ended(op string, begun time.Time, err error) {
	o.hooks.Observe(instrument.Event{
		Kind: instrument.Requested, Port: o.port, Op: op, Code: backend.CodeOf(err), Duration: time.Since(begun),
	})
}
