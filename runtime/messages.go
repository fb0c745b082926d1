package runtime

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/exact"
	"github.com/afgen/afgen/runtime/internal/guard"
	"github.com/afgen/afgen/runtime/internal/receive"
	"github.com/afgen/afgen/runtime/internal/redact"
)

// Send sends v, as JSON of at most 4 MiB, to a queue of raw messages. After a nil error the message is stored until it
// is received. After an error, its [Outcome] reports whether the message may be stored. The queue need not exist. It is
// independent of a worker's queue of the same name. If ctx has no deadline, Send times out after 30 s.
//
// The message carries the metadata ([WithMetadata]) and the trace ([TraceFrom]) of ctx to its handler.
func (a *App) Send(ctx context.Context, queue string, v any) error {
	if err := a.rawQueue("sending to", queue); err != nil {
		return err
	}
	body, err := exact.Marshal(v)
	if err != nil {
		return Errorf(ErrInvalidArgument, "encoding a message for queue %q: %w", queue, err).With(OutcomeNotSent)
	}
	return a.send(ctx, queue, backend.Message{Body: body, Metadata: outgoing(ctx), Trace: TraceFrom(ctx)}, nil)
}

// send sends a message, which inherits metadata.
func (a *App) send(ctx context.Context, queue string, m backend.Message, inherited Metadata) (err error) {
	if h := a.hooks; h != nil {
		var end func(instrument.End)
		ctx, end = h.Message(ctx, instrument.Start{Queue: queue, Size: len(m.Body)})
		defer func() { h.End(end, instrument.End{Err: err}) }()
	}
	metadata, trace := a.hooks.Join(ctx, inherited, m.Metadata)
	m.Metadata, m.Trace = metadata, cmp.Or(trace, m.Trace)
	if len(m.Body) > backend.MaxMessage {
		return Errorf(ErrResourceExhausted, "a message for queue %q is %d bytes; at most %d are allowed", queue,
			len(m.Body), backend.MaxMessage).With(OutcomeNotSent)
	}
	if err := backend.ValidateMetadata(m.Metadata); err != nil {
		return err
	}
	ctx, cancel := bound(ctx, CallOptions{})
	defer cancel()
	if err := a.ports.Transport.Send(ctx, queue, m); err != nil {
		return backend.AsError(err)
	}
	return nil
}

// Requeue sends the dead letter that the handler of ctx is handling back to the queue from which it came, with its
// metadata and trace. There it has all attempts again. body is usually that of the dead letter, but may be repaired.
// Requeue has the signature of a handler:
//
//	err := app.Receive(ctx, "orders.dead", app.Requeue)
//
// Outside the handler of a dead letter it returns [ErrFailedPrecondition].
func (a *App) Requeue(ctx context.Context, body json.RawMessage) error {
	m := MessageFrom(ctx)
	if m == nil || m.Dead == nil {
		return NewError(ErrFailedPrecondition, "Requeue needs the context of the handler of a dead letter").
			With(OutcomeNotSent)
	}
	if err := a.rawQueue("sending to", m.Dead.Queue); err != nil {
		return err
	}
	return a.send(ctx, m.Dead.Queue, backend.Message{Body: body, Trace: m.trace}, m.metadata)
}

// A Message is the raw message that a handler is handling. [MessageFrom] returns it.
type Message struct {
	Queue string
	// Attempt is the number of deliveries, including this one. It is 1 unless the message has failed before or its
	// receiver has died. A delivery counts even if it was cut off before it reached a handler.
	Attempt int
	Dead    *DeadLetter // nil unless the message is a dead letter

	metadata Metadata
	trace    string
}

// A DeadLetter tells why a message is in a dead-letter queue. Its fields:
//
//	Queue    string     // in which it was sent
//	Reason   DeadReason // why it was moved
//	Attempts int        // deliveries to Queue
//	First    time.Time  // when a delivery first failed, by the clock of the receiver or the store
//	Last     time.Time  // when the last one failed
//	Code     Code       // of the last error
//	Message  string     // of the last error
type DeadLetter = backend.DeadLetter

// A DeadReason is why a message was moved to a dead-letter queue. Its values are [DeadAttempts], [DeadPermanent] and
// [DeadCrash].
type DeadReason = backend.DeadReason

// The reasons of dead letters.
const (
	DeadAttempts  DeadReason = backend.DeadAttempts  // all attempts have failed: see [MaxAttempts]
	DeadPermanent DeadReason = backend.DeadPermanent // the handler returned an error wrapped by [Permanent]
	DeadCrash     DeadReason = backend.DeadCrash     // the last attempt ended with its process
)

// MessageFrom returns the raw message handled by the handler that owns ctx, or nil outside the handler of a raw
// message.
func MessageFrom(ctx context.Context) *Message {
	if h := handlingFrom(ctx); h != nil {
		return h.raw
	}
	return nil
}

// A ReceiveOption is an option of [App.Receive] and [ReceiveAs].
type ReceiveOption func(*receiveOptions)

type receiveOptions struct{ attempts *int }

// MaxAttempts sets the number of deliveries after which a message that fails is moved to the dead-letter queue. The
// default is 20, of which the last is about 10 minutes after the first. With 0, a message that always fails is
// redelivered every minute for ever. Receive returns [ErrInvalidArgument] if n is negative, and for dead-letter queues,
// whose messages are not moved.
func MaxAttempts(n int) ReceiveOption { return func(o *receiveOptions) { o.attempts = &n } }

// Receive calls fn with the raw messages of a queue, one after the other, until ctx ends or the App is shut down. To
// handle several at once, call Receive from several goroutines. fn's context is derived from ctx and works with
// [InstanceFrom], [LoggerFrom], [MessageFrom], [MetadataFrom] and [TraceFrom].
//
// A message is delivered at least once. It is removed when fn returns nil. If fn returns an error or panics, or this
// process dies, it is redelivered, here or to another process. After an error it waits for 100 ms, and twice as long
// after each further one, up to a minute. Other messages are delivered meanwhile, but while fn fails, Receive pauses
// between messages for up to a second.
//
// After [MaxAttempts] deliveries, or if fn returns an error wrapped by [Permanent], the message is moved to the
// dead-letter queue: to "orders.dead" from "orders". Receive and [App.Requeue] read that. It holds at most 10,000
// messages. If it is full, messages stay in their queue and are redelivered every minute.
//
// Shutdown takes no further messages and lets fn finish. fn's context ends when the drain times out. Receive returns
// nil after Shutdown. If ctx ends first, its error has the code of ctx's error. Otherwise it returns the backend's
// error.
func (a *App) Receive(
	ctx context.Context, queue string, fn func(ctx context.Context, body json.RawMessage) error, opts ...ReceiveOption,
) error {
	if err := a.rawQueue("receiving from", queue); err != nil {
		return err
	}
	if err := a.refuseObserver("Receive"); err != nil {
		return err
	}
	if fn == nil {
		return Errorf(ErrInvalidArgument, "receiving from queue %q: fn is nil", queue).With(OutcomeNotSent)
	}
	var o receiveOptions
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	attempts, err := receive.Attempts(queue, o.attempts)
	if err != nil {
		return err
	}
	log := LoggerFrom(a.withMessage(ctx, queue, &backend.Message{}))
	return a.receivers.Receive(ctx, receive.Config{
		Transport: a.ports.Transport, Queue: queue, Attempts: attempts, Log: log, Hooks: a.hooks,
		Begin: func(ctx context.Context, m *backend.Message) (context.Context, *slog.Logger, func(instrument.End)) {
			ctx, end := receive.Observe(a.withMessage(ctx, queue, m), a.hooks, queue, m)
			return ctx, LoggerFrom(ctx), end
		},
		Handle:  func(ctx context.Context, m *backend.Message) error { return fn(ctx, m.Body) },
		Failure: a.messageFailure,
	})
}

// withMessage returns the context of the handler of a message.
func (a *App) withMessage(ctx context.Context, queue string, m *backend.Message) context.Context {
	h := &handling{app: a, raw: &Message{
		Queue: queue, Attempt: m.Attempt, Dead: m.Dead, metadata: m.Metadata, trace: m.Trace,
	}}
	if ctx.Value(traceKey{}) != nil { // the trace of Receive's caller is not that of the message
		ctx = context.WithValue(ctx, traceKey{}, nil)
	}
	return context.WithValue(ctx, handlingKey{}, h)
}

// messageFailure returns the error that is kept with a dead letter.
func (a *App) messageFailure(err error) *backend.TaskError {
	if !a.settings.redact {
		return guard.TaskError(err)
	}
	e, _ := redact.Error(err)
	return &backend.TaskError{Code: e.Code, Message: e.Message}
}

// ReceiveAs is [App.Receive] for messages of one type. A message that can't be decoded is rejected: it is redelivered,
// since another version of the program may decode it, and in the end moved to the dead-letter queue.
func ReceiveAs[T any](
	ctx context.Context, a *App, queue string, fn func(ctx context.Context, message T) error, opts ...ReceiveOption,
) error {
	if fn == nil {
		return a.Receive(ctx, queue, nil)
	}
	return a.Receive(ctx, queue, func(ctx context.Context, body json.RawMessage) error {
		var message T
		if err := exact.Unmarshal(body, &message); err != nil {
			return Errorf(ErrInvalidArgument, "decoding a message from queue %q: %w", queue, err)
		}
		return fn(ctx, message)
	}, opts...)
}

// rawQueue returns an error if raw messages can't be sent to or received from a queue.
func (a *App) rawQueue(doing, queue string) error {
	if err := a.admit(); err != nil {
		return err
	}
	if err := receive.CheckName(doing, queue); err != nil {
		return err
	}
	if a.ports.Transport == nil {
		return Errorf(ErrUnimplemented, "backend %q does not support raw messages", a.ports.Name).With(OutcomeNotSent)
	}
	return nil
}
