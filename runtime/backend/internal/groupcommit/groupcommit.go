// Package groupcommit lets concurrent callers share one request to a server, since most of the cost is per request.
//
//	g := groupcommit.New(groupcommit.Config[*document, error]{Commit: insertMany, …})
//	err, waitErr := g.Do(ctx, doc)
//	g.Close()
//
// # When an item is sent
//
// Unless InFlight batches are under way, a caller sends its item at once, by itself: it pays nothing for the group.
// Otherwise its item is queued, and the next batch consists of all items that were queued meanwhile, within the limits.
// So no caller waits for a batch to fill up, and batches grow with the load.
//
// # What a caller sees
//
// Each item has its own result. A caller whose context ends stops waiting. Its item is withdrawn if it is still queued.
// Otherwise its batch continues, since other callers wait for it too: the context of a batch is no caller's, and has no
// caller's values. But a batch of one item has the values of its caller, such as the current span. A caller that sends
// its item by itself does so with its own context.
//
// The queue needs no bound of its own, because each of its items has a caller that waits for it.
//
// The writer of package embedded groups differently: its jobs join a transaction that is already open, which a request
// to a server can't offer.
package groupcommit

import (
	"container/list"
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/internal/ctxvalues"
)

// Errors of Do.
var (
	// ErrNotSent means that the caller's context ended before the item was sent. It never will be.
	ErrNotSent = errors.New("not sent")
	// ErrSent means that the caller's context ended while the item's batch was under way. Its result is unknown.
	ErrSent = errors.New("no reply yet")
	// ErrClosed means that the group was closed before the item was sent.
	ErrClosed = errors.New("closed")
)

// errTimeout is the cause of the context of a batch that took too long.
var errTimeout = errors.New("no reply in time")

// Ended reports whether ctx, or a context that it is derived from, was that of a batch which took too long or whose
// group was closed. Commit can tell the end of a caller's context from that.
func Ended(ctx context.Context) bool {
	cause := context.Cause(ctx)
	return errors.Is(cause, errTimeout) || errors.Is(cause, ErrClosed)
}

type queuedKey struct{}

// Queued reports whether ctx, or a context that it is derived from, is that of a batch of queued items, and not of a
// caller that sends its item by itself.
func Queued(ctx context.Context) bool { return ctx.Value(queuedKey{}) != nil }

// A Size is the size of an item or a batch. Each field has its own limit.
type Size struct{ Count, Bytes int }

func (s Size) plus(other Size) Size { return Size{s.Count + other.Count, s.Bytes + other.Bytes} }

func (s Size) within(limit Size) bool { return s.Count <= limit.Count && s.Bytes <= limit.Bytes }

// A Config configures a Group. All fields are required.
type Config[T, R any] struct {
	// Commit sends a batch, oldest items first, and returns the result of each, in order. It is called concurrently, and
	// must return soon after ctx ends. For a caller that sends its item by itself, ctx is the caller's. All other contexts
	// end after Timeout or when the group is closed. They have the caller's values if the batch is one item, and else none.
	Commit func(ctx context.Context, batch []T) []R
	// Size returns the size of an item.
	Size func(T) Size
	// Max is the maximum size of a batch. A larger item is a batch of its own.
	Max Size
	// InFlight is how many batches may be under way at once.
	InFlight int
	// Timeout is how long a batch may take.
	Timeout time.Duration
	// Slow is after how long a batch no longer counts for InFlight, so that a connection that hangs delays only the items
	// sent over it. At most InFlight × (1 + Timeout/Slow) batches are under way, without items whose callers have sent
	// them by themselves.
	Slow time.Duration
}

// A Group collects items. Its methods are safe for concurrent use.
type Group[T, R any] struct {
	config Config[T, R]
	ctx    context.Context // parent of the contexts of all batches
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup // runs of run

	mu     sync.Mutex
	queue  list.List // of *waiter[T, R], oldest first; empty while fewer than InFlight batches count
	counts int       // batches that count for InFlight
	closed bool
}

// A waiter is an item whose caller waits.
type waiter[T, R any] struct {
	ctx     context.Context // of the caller, for its values
	item    T
	size    Size
	queued  *list.Element // nil once the item has left the queue
	replies chan reply[R] // buffered, so that sending the only one does not block
}

type reply[R any] struct {
	result R
	err    error
}

// New returns a Group. The caller must call Close.
func New[T, R any](c Config[T, R]) *Group[T, R] {
	g := &Group[T, R]{config: c}
	g.ctx, g.cancel = context.WithCancelCause(context.WithValue(context.Background(), queuedKey{}, true))
	return g
}

// Do sends an item and returns its result. The error is ErrNotSent, ErrSent or ErrClosed; other failures are part of
// the result. After ErrSent the item is still in use.
func (g *Group[T, R]) Do(ctx context.Context, item T) (R, error) {
	var none R
	if ctx.Err() != nil {
		return none, ErrNotSent
	}
	w, err := g.enter(ctx, item)
	if err != nil {
		return none, err
	}
	if w == nil {
		return g.sendAlone(ctx, item), nil
	}
	select {
	case r := <-w.replies:
		return r.result, r.err
	case <-ctx.Done():
	}
	if g.withdraw(w) {
		return none, ErrNotSent
	}
	select {
	case r := <-w.replies:
		return r.result, r.err
	default:
		return none, ErrSent
	}
}

// Queued returns the number of items that wait for a batch.
func (g *Group[T, R]) Queued() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.queue.Len()
}

// Close rejects queued and later items, cancels the contexts of batches that are under way, and waits for them.
func (g *Group[T, R]) Close() {
	g.mu.Lock()
	g.closed = true
	for e := g.queue.Front(); e != nil; e = g.queue.Front() {
		g.dequeue(e).replies <- reply[R]{err: ErrClosed}
	}
	g.mu.Unlock()
	g.cancel(ErrClosed)
	g.wg.Wait()
}

// enter queues an item, and returns it. If InFlight allows another batch, it returns nil instead, and the caller sends
// the item by itself.
func (g *Group[T, R]) enter(ctx context.Context, item T) (*waiter[T, R], error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, ErrClosed
	}
	if g.counts < g.config.InFlight {
		g.counts++
		return nil, nil
	}
	w := &waiter[T, R]{ctx: ctx, item: item, size: g.config.Size(item), replies: make(chan reply[R], 1)}
	w.queued = g.queue.PushBack(w)
	return w, nil
}

// leave ends a batch: if items are queued, the next one begins in its place. The caller holds g.mu.
func (g *Group[T, R]) leave() {
	if g.queue.Len() == 0 {
		g.counts--
		return
	}
	g.wg.Go(g.run)
}

// withdraw removes an item from the queue, and reports whether it was still there.
func (g *Group[T, R]) withdraw(w *waiter[T, R]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.queued == nil {
		return false
	}
	g.dequeue(w.queued)
	return true
}

// dequeue removes an item from the queue. The caller holds g.mu.
func (g *Group[T, R]) dequeue(e *list.Element) *waiter[T, R] {
	w := g.queue.Remove(e).(*waiter[T, R])
	w.queued = nil
	return w
}

// run sends batches until the queue is empty, or one was slow.
func (g *Group[T, R]) run() {
	for {
		batch := g.next()
		if batch == nil || !g.send(batch) {
			return
		}
		if len(batch) > 1 {
			// The callers that have just been answered are ready to run, and often have a next item. Let them queue it
			// first: otherwise the first one's item would be sent alone.
			runtime.Gosched()
		}
	}
}

// next takes the next batch from the queue. If there is none, it returns nil, and the caller's batch no longer counts.
func (g *Group[T, R]) next() []*waiter[T, R] {
	g.mu.Lock()
	defer g.mu.Unlock()
	var batch []*waiter[T, R]
	var size Size
	for e := g.queue.Front(); e != nil; e = g.queue.Front() {
		size = size.plus(e.Value.(*waiter[T, R]).size)
		if len(batch) > 0 && !size.within(g.config.Max) {
			break
		}
		batch = append(batch, g.dequeue(e))
	}
	if batch == nil {
		g.counts--
	}
	return batch
}

// send sends a batch and answers its callers. It reports whether the batch still counted for InFlight at its end.
func (g *Group[T, R]) send(batch []*waiter[T, R]) bool {
	items := make([]T, len(batch))
	for i, w := range batch {
		items[i] = w.item
	}
	ctx := g.ctx
	if len(batch) == 1 {
		ctx = ctxvalues.From(ctx, batch[0].ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, g.config.Timeout, errTimeout)
	defer cancel()
	results, counted := g.commit(ctx, items)
	for i, w := range batch {
		w.replies <- reply[R]{result: results[i]}
	}
	return counted
}

// sendAlone sends the caller's own item.
func (g *Group[T, R]) sendAlone(ctx context.Context, item T) R {
	results, counted := g.commit(ctx, []T{item})
	if counted {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.leave()
	}
	return results[0]
}

// commit calls Commit. It reports whether the batch still counted for InFlight at its end.
func (g *Group[T, R]) commit(ctx context.Context, items []T) (results []R, counted bool) {
	slow := time.AfterFunc(g.config.Slow, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.leave()
	})
	results = g.config.Commit(ctx, items)
	return results, slow.Stop()
}
