package mesh

import (
	"context"
	"maps"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// local is the route to the Mesh's own endpoints, and the caller of the calls on it. It replaces a link and its peer,
// without a socket. The two sides share only data that neither modifies.
type local struct {
	mesh  *Mesh
	tries pending
	calls callerCalls
}

// Methods of a route.

func (l *local) pending() *pending { return &l.tries }

func (l *local) sendRequest(_ context.Context, t *try, req *backend.Request, left time.Duration) *backend.Error {
	own := *req
	own.Timeout = left
	own.Metadata, own.Headers = maps.Clone(req.Metadata), maps.Clone(req.Headers)
	l.mesh.dispatcher.handleRequest(&l.calls, t.id, &own)
	return nil
}

func (l *local) sendPass(id string) { l.mesh.dispatcher.handlePass(&l.calls, id) }

func (l *local) sendCancel(id string, why *backend.Error) {
	l.mesh.dispatcher.handleCancel(&l.calls, id, why)
}

// Methods of a caller.

func (l *local) sendBusy(id string) { l.tries.deliver(id, callEvent{state: queued}) }
func (l *local) sendFree(id string) { l.tries.deliver(id, callEvent{state: offered}) }

func (l *local) sendRefuse(id string, why *backend.Error) {
	l.tries.deliver(id, callEvent{state: refused, err: why})
}

func (l *local) sendReply(id string, r *backend.Reply, sent func()) {
	own := *r
	if e := r.Err; e != nil { // drop the cause, as the wire does
		own.Err = &backend.Error{Code: e.Code, Message: e.Message, Outcome: e.Outcome, Details: e.Details}
	}
	l.tries.deliver(id, callEvent{state: answered, reply: &own})
	sent()
}
