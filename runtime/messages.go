package runtime

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/exact"
	"github.com/afgen/afgen/runtime/internal/grace"
	"github.com/afgen/afgen/runtime/internal/guard"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/stack"
	"github.com/afgen/afgen/runtime/internal/tasks"
)

// The pause of a receiver after it rejected a message, in addition to the backend's delay of the message. It doubles
// with each consecutive rejection, so a message that can't be handled is redelivered about once a second.
const (
	rejectedFirst = 50 * time.Millisecond
	rejectedMost  = time.Second
)

// Send sends v, as JSON of at most 4 MiB, to a queue of raw messages. After a nil error the message is stored until it
// is received. After an error, its [Outcome] reports whether the message may be stored. The queue need not exist. It is
// independent of a worker's queue of the same name. If ctx has no deadline, Send times out after 30 s.
func (a *App) Send(ctx context.Context, queue string, v any) error {
	if err := a.rawQueue("sending to", queue); err != nil {
		return err
	}
	body, err := encode(v)
	if err != nil {
		return Errorf(ErrInvalidArgument, "encoding a message for queue %q: %w", queue, err).With(OutcomeNotSent)
	}
	if len(body) > backend.MaxMessage {
		return Errorf(ErrResourceExhausted, "a message for queue %q is %d bytes; at most %d are allowed", queue, len(body),
			backend.MaxMessage).With(OutcomeNotSent)
	}
	ctx, cancel := bound(ctx, CallOptions{})
	defer cancel()
	if err := a.ports.Transport.Send(ctx, queue, body); err != nil {
		return backend.AsError(err)
	}
	return nil
}

// Receive calls fn with the raw messages of a queue, one after the other, until ctx ends or the App is shut down. To
// handle several at once, call Receive from several goroutines. fn's context is derived from ctx and works with
// [InstanceFrom] and [LoggerFrom].
//
// A message is delivered at least once. It is removed when fn returns nil. If fn returns an error or panics, or this
// process dies, it is redelivered, here or to another process. While fn fails, Receive pauses between messages for up
// to a second. If fn returns an error wrapped by [Permanent], the message is logged and dropped.
//
// Shutdown takes no further messages and lets fn finish. fn's context ends when the drain times out. Receive returns
// nil after Shutdown. If ctx ends first, its error has the code of ctx's error. Otherwise it returns the backend's
// error.
func (a *App) Receive(
	ctx context.Context, queue string, fn func(ctx context.Context, body json.RawMessage) error,
) error {
	if err := a.rawQueue("receiving from", queue); err != nil {
		return err
	}
	if fn == nil {
		return Errorf(ErrInvalidArgument, "receiving from queue %q: fn is nil", queue).With(OutcomeNotSent)
	}
	r := &receiver{app: a, queue: queue, fn: fn}
	taking, quit := context.WithCancel(ctx)
	defer quit()
	r.taking, r.quit = taking, quit
	r.ctx, r.cut = context.WithCancelCause(ctx)
	defer r.cut(nil)
	r.ctx = context.WithValue(r.ctx, handlingKey{}, &handling{app: a, raw: queue})
	if !a.receivers.add(r) {
		return Errorf(ErrFailedPrecondition, "receiving from queue %q: the app is shutting down", queue).With(OutcomeNotSent)
	}
	defer a.receivers.remove(r)
	for {
		err := a.ports.Transport.Receive(taking, queue, r.handle)
		switch {
		case ctx.Err() != nil:
			return Errorf(CodeOf(ctx.Err()), "receiving from queue %q: %w", queue, context.Cause(ctx))
		case taking.Err() != nil:
			return nil
		case CodeOf(err) != ErrUnavailable:
			return backend.AsError(err)
		}
		a.log.Warn("receiving interrupted, retrying", "queue", queue, "error", err)
		retry.Sleep(taking, retry.Jitter(rejectedMost))
	}
}

// ReceiveAs is [App.Receive] for messages of one type. A message that can't be decoded is rejected and redelivered. To
// drop it, use Receive and [Permanent].
func ReceiveAs[T any](ctx context.Context, a *App, queue string, fn func(ctx context.Context, message T) error) error {
	if fn == nil {
		return a.Receive(ctx, queue, nil)
	}
	return a.Receive(ctx, queue, func(ctx context.Context, body json.RawMessage) error {
		var message T
		if err := exact.Unmarshal(body, &message); err != nil {
			return Errorf(ErrInvalidArgument, "decoding a message from queue %q: %w", queue, err)
		}
		return fn(ctx, message)
	})
}

const maxRawName = 240 // bytes; RabbitMQ allows 255, including our prefix

// rawQueue returns an error if raw messages can't be sent to or received from a queue.
func (a *App) rawQueue(doing, queue string) error {
	if err := a.admit(); err != nil {
		return err
	}
	if queue == "" {
		return Errorf(ErrInvalidArgument, "%s a queue: the name is empty", doing).With(OutcomeNotSent)
	}
	if len(queue) > maxRawName || !utf8.ValidString(queue) {
		return Errorf(ErrInvalidArgument, "%s queue %+.80q: the name must be UTF-8 of at most %d bytes", doing, queue,
			maxRawName).With(OutcomeNotSent)
	}
	if a.ports.Transport == nil {
		return Errorf(ErrUnimplemented, "backend %q does not support raw messages", a.ports.Name).With(OutcomeNotSent)
	}
	return nil
}

// A receiver is one running Receive.
type receiver struct {
	app    *App
	queue  string
	fn     func(context.Context, json.RawMessage) error
	taking context.Context // ends when no further message may be taken
	quit   context.CancelFunc
	ctx    context.Context // fn's
	cut    context.CancelCauseFunc

	rejected int // consecutive rejections; only handle uses it
}

// handle calls fn with a message. It returns nil if the message can be removed.
func (r *receiver) handle(_ context.Context, body json.RawMessage) error {
	err := guard.Call(func() error { return r.fn(r.ctx, body) })
	if err == nil {
		r.rejected = 0
		return nil
	}
	log := LoggerFrom(r.ctx)
	switch p, panicked := err.(*guard.PanicError); {
	case guard.IsPermanent(err):
		log.Error("raw message rejected permanently, dropped", "bytes", len(body), "error", err)
		r.rejected = 0
		return nil
	case panicked:
		log.Error("panic in a receiver, message will be redelivered", p.Attrs()...)
	default:
		log.Warn("raw message rejected, will be redelivered", "error", err)
	}
	retry.Sleep(r.taking, retry.Jitter(min(rejectedFirst<<min(r.rejected, 10), rejectedMost)))
	r.rejected++
	return err
}

// stuck returns the stack of fn if it is running.
func (r *receiver) stuck() []string { return stack.On(stack.Name((*receiver).handle), r, 1) }

// receivers has the running receivers of an App.
type receivers struct {
	mu      sync.Mutex
	active  map[*receiver]bool
	closing bool
	left    sync.WaitGroup
}

// add adds a receiver. It returns false if the App is shutting down.
func (s *receivers) add(r *receiver) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	if s.active == nil {
		s.active = map[*receiver]bool{}
	}
	s.active[r] = true
	s.left.Add(1)
	return true
}

func (s *receivers) remove(r *receiver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.active, r)
	s.left.Done()
}

// quit stops all receivers from taking further messages.
func (s *receivers) quit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	for r := range s.active {
		r.quit()
	}
}

// handling returns the number of running receivers of each queue. After quit these are the ones that are handling a
// message.
func (s *receivers) handling() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := map[string]int{}
	for r := range s.active {
		n[r.queue]++
	}
	return n
}

// some returns up to most running receivers.
func (s *receivers) some(most int) (some []*receiver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.active {
		if len(some) < most {
			some = append(some, r)
		}
	}
	return some
}

// drain waits until all messages are handled or ctx ends. Then it cancels the contexts of the remaining handlers and
// waits for up to grace.Abandon.
func (s *receivers) drain(ctx context.Context) error {
	left := make(chan struct{})
	go func() {
		s.left.Wait() // may outlive drain if a handler hangs
		close(left)
	}()
	select {
	case <-left:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	n := len(s.active)
	for r := range s.active {
		r.cut(tasks.ErrShutdown)
	}
	s.mu.Unlock()
	grace, cancel := grace.Outlast(ctx, grace.Abandon)
	defer cancel()
	select {
	case <-left:
	case <-grace.Done():
		for _, r := range s.some(stack.Most) {
			LoggerFrom(r.ctx).Error("receiver did not return after its context ended, message will be redelivered",
				"stack", strings.Join(r.stuck(), ""))
		}
	}
	if n == 0 {
		return nil
	}
	return Errorf(ErrDeadlineExceeded, "%d raw messages were still being handled; those that fail are redelivered", n)
}
