// Package receive runs the receivers of raw messages. A [Receiver] passes the messages of one queue to a handler and
// decides what follows: a message whose handler fails is delivered again after a growing delay, and one that has failed
// too often, or permanently, is moved to the dead-letter queue. The transport carries that out and counts deliveries.
//
// A [Set] has all receivers of an App and drains them.
package receive

import (
	"context"
	"log/slog"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/guard"
	"github.com/afgen/afgen/runtime/internal/hooks"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/stack"
)

// The pause of a receiver after a failed message. It doubles with each consecutive failure, so that a queue whose
// messages all fail is not read in a hot loop.
const (
	pauseFirst = 50 * time.Millisecond
	pauseMost  = time.Second
)

// The delay before a failed message is delivered again. It doubles with each attempt.
const (
	delayFirst = 100 * time.Millisecond
	delayMost  = time.Minute
)

// DefaultAttempts is the default of Config.Attempts. The last of them is about 10 minutes after the first.
const DefaultAttempts = 20

// Config describes a [Receiver].
type Config struct {
	Transport backend.Transport
	Queue     string
	// Attempts is the number of deliveries after which a failed message is moved to the dead-letter queue; 0 is no limit.
	Attempts int
	Log      *slog.Logger
	// Begin returns the context of the handler of a message, derived from ctx, a logger for it, and the function with
	// which the instruments end its observation, or nil.
	Begin func(ctx context.Context, m *backend.Message) (context.Context, *slog.Logger, func(instrument.End))
	Hooks *hooks.Set // the App's instruments; nil if it has none
	// Handle calls the handler.
	Handle func(ctx context.Context, m *backend.Message) error
	// Failure converts the handler's error to the one that is kept with a dead letter.
	Failure func(err error) *backend.TaskError
}

// A Receiver receives the messages of one queue.
type Receiver struct {
	Config
	taking context.Context // ends when no further message may be taken
	quit   context.CancelFunc
	ctx    context.Context // the handler's
	cut    context.CancelCauseFunc

	failed int // consecutive failures; only handle uses it
}

// receive receives until ctx ends or the receiver is told to quit. It returns nil in the latter case.
func (r *Receiver) receive(ctx context.Context) error {
	for {
		err := r.Transport.Receive(r.taking, r.Queue, r.handle)
		switch {
		case ctx.Err() != nil:
			return backend.Errorf(backend.CodeOf(ctx.Err()), "receiving from queue %q: %w", r.Queue, context.Cause(ctx))
		case r.taking.Err() != nil:
			return nil
		case backend.CodeOf(err) != backend.ErrUnavailable:
			return backend.AsError(err)
		}
		r.Log.Warn("receiving interrupted, retrying", "queue", r.Queue, "error", err)
		retry.Sleep(r.taking, retry.Jitter(pauseMost))
	}
}

// handle passes a message to the handler and decides what follows. It pauses after a failure.
func (r *Receiver) handle(_ context.Context, m *backend.Message) backend.Handled {
	h := r.deliver(m)
	if !h.Done && !h.Release && (h.Dead == nil || h.Dead.Reason != backend.DeadPermanent) {
		r.pause()
	}
	return h
}

// deliver is handle without the pause.
func (r *Receiver) deliver(m *backend.Message) (h backend.Handled) {
	ctx, log, end := r.Begin(r.ctx, m)
	err := error(guard.ErrGoexit)
	if end != nil {
		defer func() { r.observeEnd(end, err, &h) }()
	}
	if r.Attempts > 0 && m.Attempt > r.Attempts {
		err = backend.NewError(backend.ErrAborted, "the last delivery ended without a result")
		return r.bury(log, m, backend.DeadCrash, guard.TaskError(err))
	}
	err = guard.Call(func() error { return r.Handle(ctx, m) })
	return r.follow(log, m, err)
}

// Observe begins the observation of a message from a queue, if h is not nil. ctx is that of its handler.
func Observe(
	ctx context.Context, h *hooks.Set, queue string, m *backend.Message,
) (context.Context, func(instrument.End)) {
	if h == nil {
		return ctx, nil
	}
	metadata := hooks.Traced(m.Metadata, m.Trace)
	return h.Message(h.Extract(ctx, metadata), instrument.Start{
		Queue: queue, Receive: true, Attempt: m.Attempt, Size: len(m.Body), Metadata: metadata,
	})
}

// observeEnd ends the observation of a message.
func (r *Receiver) observeEnd(end func(instrument.End), err error, h *backend.Handled) {
	e := instrument.End{Err: err}
	switch {
	case h.Dead != nil:
		e.Dead = h.Dead.Reason
	case !h.Done && !h.Release:
		e.Delay = h.Delay
	}
	r.Hooks.End(end, e)
}

// follow decides what follows a message whose handler has returned.
func (r *Receiver) follow(log *slog.Logger, m *backend.Message, err error) backend.Handled {
	if err == nil {
		r.failed = 0
		return backend.Handled{Done: true}
	}
	p, panicked := err.(*guard.PanicError)
	switch {
	case panicked:
		log.Error("panic in a receiver", p.Attrs()...)
	case r.ctx.Err() != nil: // the message did not fail by itself
		log.Warn("raw message rejected, will be redelivered", "error", err)
		return backend.Handled{Release: true}
	case guard.IsPermanent(err) && !backend.IsDeadQueue(r.Queue):
		r.failed = 0
		log.Error("raw message rejected permanently", "bytes", len(m.Body), "error", err)
		return r.bury(log, m, backend.DeadPermanent, r.Failure(err))
	}
	if r.Attempts > 0 && m.Attempt == r.Attempts {
		return r.bury(log, m, backend.DeadAttempts, r.Failure(err))
	}
	delay := retry.Jitter(delayOf(m.Attempt))
	log.Warn("raw message rejected, will be redelivered", "delay", delay, "error", err)
	return backend.Handled{Delay: delay}
}

// delayOf returns how long a message waits after a failed attempt.
func delayOf(attempt int) time.Duration {
	return min(delayFirst<<min(max(attempt-1, 0), 20), delayMost)
}

func (r *Receiver) pause() {
	retry.Sleep(r.taking, retry.Jitter(min(pauseFirst<<min(r.failed, 10), pauseMost)))
	r.failed++
}

// bury moves a message to the dead-letter queue. If that refuses it, the message is delivered again later.
func (r *Receiver) bury(
	log *slog.Logger, m *backend.Message, why backend.DeadReason, e *backend.TaskError,
) backend.Handled {
	log = log.With("dead", r.Queue+backend.DeadSuffix, "reason", why, "code", e.Code, "error", e.Message)
	return backend.Handled{
		Dead: &backend.DeadLetter{
			Reason: why, Code: e.Code, Message: backend.Text(e.Message, backend.MaxDeadText),
		},
		Delay: retry.Jitter(delayMost),
		Moved: func(err error) {
			if err == nil {
				log.Error("raw message moved to the dead-letter queue")
			} else {
				log.Error("cannot move raw message to the dead-letter queue, will be redelivered", "why", err)
			}
		},
	}
}

// stuck returns the stack of the handler if it is running.
func (r *Receiver) stuck() []string { return stack.On(stack.Name((*Receiver).handle), r, 1) }
