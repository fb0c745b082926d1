package mesh

import (
	"context"
	"maps"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// home is the way to the Mesh's own endpoints, and the caller whose calls come along it: what a link and its peer do over
// a socket, without one. As over a socket, the two sides share nothing but bytes that nobody modifies.
type home struct {
	mesh  *Mesh
	tries pending
	book  book
}

// As a way.

func (h *home) pending() *pending { return &h.tries }

func (h *home) request(_ context.Context, t *try, req *backend.Request, left time.Duration) *backend.Error {
	own := *req
	own.Timeout = left
	own.Metadata, own.Headers = maps.Clone(req.Metadata), maps.Clone(req.Headers)
	h.mesh.desk.request(&h.book, t.id, &own)
	return nil
}

func (h *home) pass(id string) { h.mesh.desk.pass(&h.book, id) }

func (h *home) cancel(id string, why *backend.Error) { h.mesh.desk.cancel(&h.book, id, why) }

// As a caller.

func (h *home) busy(id string) { h.tries.tell(id, news{state: inLine}) }
func (h *home) free(id string) { h.tries.tell(id, news{state: offered}) }

func (h *home) refuse(id string, why *backend.Error) {
	h.tries.tell(id, news{state: refused, err: why})
}

func (h *home) answer(id string, r *backend.Reply, sent func()) {
	own := *r
	if e := r.Err; e != nil { // its cause doesn't travel
		own.Err = &backend.Error{Code: e.Code, Message: e.Message, Outcome: e.Outcome, Details: e.Details}
	}
	h.tries.tell(id, news{state: answered, reply: &own})
	sent()
}
