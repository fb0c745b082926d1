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

// maxRequests is how many requests of one side the other serves at once.
const maxRequests = 256

// ErrGone is wrapped by the errors of requests whose other side has gone.
var ErrGone = errors.New("the process at the other end of the pipe has gone")

// A Conn is one end of the pipe between a parent and a child. Its methods are safe for concurrent use.
type Conn struct {
	in      io.Reader
	out     io.WriteCloser
	handler atomic.Pointer[Handler]
	room    chan struct{} // for own requests
	ready   chan struct{} // closed when the other side has said so

	writing sync.Mutex

	mu     sync.Mutex
	last   uint64
	asked  map[uint64]*Pending                // own requests
	asking map[uint64]context.CancelCauseFunc // the other side's
	gone   bool

	ctx    context.Context // of the other side's requests
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when nothing more comes
	served sync.WaitGroup
}

// A Handler serves a request. It is called on a goroutine of its own; for a notice, which has no reply, on the one that
// reads, so that notices keep their order.
type Handler func(*Request)

func newConn(in io.Reader, out io.WriteCloser) *Conn {
	c := &Conn{
		in: bufio.NewReaderSize(in, 32<<10), out: out, room: make(chan struct{}, maxRequests), ready: make(chan struct{}),
		asked: map[uint64]*Pending{}, asking: map[uint64]context.CancelCauseFunc{}, done: make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c
}

// write sends a frame. It blocks while the other side doesn't read, and ends with it.
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

// read reads until the other side has gone, or breaks the rules.
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
		c.settle(id)
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
			return errors.New("a request is cancelled without a reason")
		}
		if cancel != nil { // else it has been answered
			cancel(f.Fault)
		}
	case f.Op == "":
		c.mu.Lock()
		defer c.mu.Unlock()
		p := c.asked[f.ID]
		if p == nil {
			return fmt.Errorf("a reply to request %d, which is none", f.ID)
		}
		if p.body = f.Body; f.Fault != nil {
			p.err = f.Fault
		}
		c.settle(f.ID)
	default:
		return c.serve(f)
	}
	return nil
}

// settle ends a request of this side, where it has not been ended, and makes room for another. c.mu is held.
func (c *Conn) settle(id uint64) {
	if p := c.asked[id]; p != nil {
		delete(c.asked, id)
		close(p.done)
		<-c.room
	}
}

func (c *Conn) serve(f frame) error {
	h := c.handler.Load()
	if h == nil {
		return fmt.Errorf("a request %q before anybody was ready", f.Op)
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
		return fmt.Errorf("request %d comes again, or with %d others", f.ID, maxRequests)
	}
	c.served.Go(func() { (*h)(r) })
	return nil
}

// A Request is one request of the other side, or a notice.
type Request struct {
	Op      string
	Body    json.RawMessage
	Context context.Context // ends with a *[Fault] as its cause when it is cancelled

	c  *Conn
	id uint64
}

// Reply answers the request, once: with an error, where err is one, else with v.
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
		return errors.New("the request has been answered")
	}
	cancel(nil)
	err = r.c.write(f)
	if err != nil && !errors.Is(err, ErrGone) { // it doesn't encode or is too large: that can be told
		err = r.c.write(frame{ID: r.id, Fault: NewFault(err)})
	}
	return err
}

// A Pending is a request of this side that has no reply yet.
type Pending struct {
	c    *Conn
	id   uint64
	done chan struct{}
	body json.RawMessage
	err  error
}

// Begin sends a request. It waits while too many have no reply.
func (c *Conn) Begin(ctx context.Context, op string, v any) (*Pending, error) {
	b, err := body(v)
	if err != nil {
		return nil, err
	}
	select {
	case c.room <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	p := &Pending{c: c, done: make(chan struct{})}
	c.mu.Lock()
	if c.gone {
		c.mu.Unlock()
		<-c.room
		return nil, ErrGone
	}
	c.last++
	p.id = c.last
	c.asked[p.id] = p
	c.mu.Unlock()
	if err := c.write(frame{ID: p.id, Op: op, Body: b}); err != nil {
		c.mu.Lock()
		c.settle(p.id)
		c.mu.Unlock()
		return nil, err
	}
	return p, nil
}

// Done is closed when there is a reply, or the other side has gone.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Reply decodes the reply into v, unless that is nil, once Done is closed. A *[Fault] is the other side's answer; any other
// error wraps [ErrGone].
func (p *Pending) Reply(v any) error {
	if p.err != nil || v == nil || len(p.body) == 0 {
		return p.err
	}
	return exact.Unmarshal(p.body, v)
}

// Cancel asks the other side to give the request up, for a reason; it still answers.
func (p *Pending) Cancel(why *Fault) error {
	return p.c.write(frame{ID: p.id, Op: opCancel, Fault: why})
}

// Call makes a request and waits for its reply. When ctx ends it returns at once, and the other side is told.
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

// Gone says whether the other side has gone.
func (c *Conn) Gone() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}
