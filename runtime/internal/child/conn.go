package child

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/exact"
)

// maxRequests is how many requests of one side the other serves concurrently.
const maxRequests = 256

// ErrGone is wrapped by errors of requests whose other side has exited.
var ErrGone = errors.New("process at the other end of the pipe has exited")

// A Conn is one end of the pipe between a parent and a child. Its methods are safe for concurrent use.
type Conn struct {
	in      io.Reader
	out     io.WriteCloser
	handler atomic.Pointer[Handler]
	slots   chan struct{} // limits own requests
	ready   chan struct{} // closed when the other side is ready

	writing sync.Mutex

	mu     sync.Mutex
	last   uint64
	asked  map[uint64]*Pending                // own requests
	asking map[uint64]context.CancelCauseFunc // the other side's
	gone   bool

	ctx    context.Context // of the other side's requests
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when nothing more arrives
	served sync.WaitGroup
}

// A Handler serves a request on its own goroutine. A notice, which has no reply, is served on the reading goroutine,
// so that notices keep their order.
type Handler func(*Request)

func newConn(in io.Reader, out io.WriteCloser) *Conn {
	c := &Conn{
		in: bufio.NewReaderSize(in, 32<<10), out: out, slots: make(chan struct{}, maxRequests), ready: make(chan struct{}),
		asked: map[uint64]*Pending{}, asking: map[uint64]context.CancelCauseFunc{}, done: make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c
}

// write sends a frame. It blocks until the other side reads or exits.
func (c *Conn) write(f frame) error {
	text, err := encode(f)
	if err != nil {
		return err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if _, err := c.out.Write(text); err != nil {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return nil
}

// Notify sends a notice.
func (c *Conn) Notify(op string, v any) error {
	b, err := body(v)
	if err != nil {
		return err
	}
	return c.write(frame{Op: op, Body: b})
}

// read reads until the other side exits or violates the protocol.
func (c *Conn) read() {
	err := ErrGone
	for {
		f, rerr := decode(c.in)
		if rerr == nil {
			rerr = c.take(f)
		}
		if rerr != nil {
			if !errors.Is(rerr, io.EOF) {
				err = fmt.Errorf("%w: %w", ErrGone, rerr)
			}
			break
		}
	}
	c.cancel(err)
	c.mu.Lock()
	c.gone = true
	for id, p := range c.asked {
		p.err = err
		c.endRequest(id)
	}
	c.mu.Unlock()
	close(c.done)
}

func (c *Conn) take(f frame) error {
	switch {
	case f.Op == opReady:
		select {
		case <-c.ready:
			return errors.New("ready twice")
		default:
			close(c.ready)
		}
	case f.Op == opCancel:
		c.mu.Lock()
		cancel := c.asking[f.ID]
		c.mu.Unlock()
		if f.Fault == nil {
			return errors.New("request cancelled without a reason")
		}
		if cancel != nil { // otherwise it has been answered
			cancel(f.Fault)
		}
	case f.Op == "":
		c.mu.Lock()
		defer c.mu.Unlock()
		p := c.asked[f.ID]
		if p == nil {
			return fmt.Errorf("reply to unknown request %d", f.ID)
		}
		if p.body = f.Body; f.Fault != nil {
			p.err = f.Fault
		}
		c.endRequest(f.ID)
	default:
		return c.serve(f)
	}
	return nil
}

// endRequest ends an own request that has not ended, and frees its slot. The caller holds c.mu.
func (c *Conn) endRequest(id uint64) {
	if p := c.asked[id]; p != nil {
		delete(c.asked, id)
		close(p.done)
		<-c.slots
	}
}

func (c *Conn) serve(f frame) error {
	h := c.handler.Load()
	if h == nil {
		return fmt.Errorf("request %q received before ready", f.Op)
	}
	r := &Request{Op: f.Op, Body: f.Body, Context: c.ctx, c: c, id: f.ID}
	if f.ID == 0 {
		(*h)(r)
		return nil
	}
	ctx, cancel := context.WithCancelCause(c.ctx)
	r.Context = ctx
	c.mu.Lock()
	_, twice := c.asking[f.ID]
	full := len(c.asking) >= maxRequests
	c.asking[f.ID] = cancel
	c.mu.Unlock()
	if twice || full {
		cancel(nil)
		return fmt.Errorf("request %d is a duplicate or exceeds the limit of %d", f.ID, maxRequests)
	}
	c.served.Go(func() { (*h)(r) })
	return nil
}

// A Request is a request or a notice of the other side.
type Request struct {
	Op      string
	Body    json.RawMessage
	Context context.Context // its cause is a *[Fault] when the request is cancelled

	c  *Conn
	id uint64
}

// Reply answers the request with err if it isn't nil, or else with v. Call it once.
func (r *Request) Reply(v any, err error) error {
	b, berr := body(v)
	f := frame{ID: r.id, Body: b}
	if err == nil {
		err = berr
	}
	if err != nil {
		f.Body, f.Fault = nil, NewFault(err)
	}
	r.c.mu.Lock()
	cancel := r.c.asking[r.id]
	delete(r.c.asking, r.id)
	r.c.mu.Unlock()
	if cancel == nil {
		return errors.New("request already answered")
	}
	cancel(nil)
	err = r.c.write(f)
	if err != nil && !errors.Is(err, ErrGone) { // v doesn't encode or is too large, which can be reported
		err = r.c.write(frame{ID: r.id, Fault: NewFault(err)})
	}
	return err
}

// A Pending is an own request without a reply yet.
type Pending struct {
	c    *Conn
	id   uint64
	done chan struct{}
	body json.RawMessage
	err  error
}

// Begin sends a request. It blocks while too many are pending.
func (c *Conn) Begin(ctx context.Context, op string, v any) (*Pending, error) {
	b, err := body(v)
	if err != nil {
		return nil, err
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	p := &Pending{c: c, done: make(chan struct{})}
	c.mu.Lock()
	if c.gone {
		c.mu.Unlock()
		<-c.slots
		return nil, ErrGone
	}
	c.last++
	p.id = c.last
	c.asked[p.id] = p
	c.mu.Unlock()
	if err := c.write(frame{ID: p.id, Op: op, Body: b}); err != nil {
		c.mu.Lock()
		c.endRequest(p.id)
		c.mu.Unlock()
		return nil, err
	}
	return p, nil
}

// Done is closed when there is a reply or the other side has exited.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Reply decodes the reply into v, unless v is nil. Call it after Done is closed. A *[Fault] is the other side's
// reply; any other error wraps [ErrGone].
func (p *Pending) Reply(v any) error {
	if p.err != nil || v == nil || len(p.body) == 0 {
		return p.err
	}
	return exact.Unmarshal(p.body, v)
}

// Cancel asks the other side to cancel the request, with a reason. The other side still replies.
func (p *Pending) Cancel(why *Fault) error {
	return p.c.write(frame{ID: p.id, Op: opCancel, Fault: why})
}

// Call sends a request and waits for its reply. When ctx ends it cancels the request and returns at once.
func (c *Conn) Call(ctx context.Context, op string, in, out any) error {
	p, err := c.Begin(ctx, op, in)
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
		return p.Reply(out)
	case <-ctx.Done():
	}
	if err := p.Cancel(&Fault{Code: backend.CodeOf(ctx.Err())}); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// Gone reports whether the other side has exited. It is true once a request has failed for that reason.
func (c *Conn) Gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}
