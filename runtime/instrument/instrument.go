// Package instrument has the types through which a program observes an App: option af.Instrument takes an
// [Instrumentation].
//
// An App calls its instruments when an operation begins, with a [Start], and when it has ended, with an [End]:
//
//   - Call: a call that this App makes
//   - Handle: a call that this App's service handles
//   - Submit: tasks are stored: by a program, by RetryTask, by a job
//   - Attempt: an attempt of a task, from its claim until its handler has returned or is abandoned
//   - Message: a raw message is sent, or handled by a receiver
//
// What has no duration, or no context, is an [Event]: a task has ended, a job has fired, a process has died.
//
// # Traces
//
// Inject returns the names and values that identify the current span, in the form of W3C Trace Context or any other.
// They travel in the headers of calls and in the metadata of tasks and messages. Extract gets them on the other side,
// before Handle, Attempt and Message. So a trace continues through the queue, through retries, subtasks and
// SubtasksDone, jobs, RetryTask and child processes. Trace returns the current span to logs and to af.TraceFrom.
//
// # Rules
//
// An instrument embeds [NoInstrument], since methods are added to [Instrumentation] over time. Its methods are called
// concurrently. They run on the goroutines of the App, so they must not block: an instrument that sends what it has
// seen does so on its own goroutine. A panic of an instrument does not affect the App, which logs the first one of each
// method.
//
// An instrument must not store ids of tasks, calls, owners or instances as attributes of metrics: their number is
// unbounded. Payloads, results and error texts may be confidential. No struct here has a payload or a result.
package instrument

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// An Instrumentation observes the operations of an App. It must embed [NoInstrument].
//
// Call, Handle, Submit, Attempt and Message are called when an operation begins. They return the context with which it
// continues, and a function that is called once when it has ended, however it ends; nil if there is nothing to do. That
// function may be called on another goroutine. If the process dies, it is not called; another App then observes
// [AttemptLost].
type Instrumentation interface {
	// Inject returns what identifies the current span of ctx. It is called with the context that Call, Submit or Message
	// has returned, and that of an attempt whose handler runs in a child process. The names join the headers of a call, or
	// the metadata of a task or message. Names that the program has set itself, by WithMetadata or as a Header, are not
	// replaced; those that are inherited from a source or a retried task are. An empty value removes an inherited name and
	// adds nothing. If the limits of metadata would be exceeded, nothing is added. nil adds nothing. The App keeps the
	// map and may modify it, so each call returns a new one.
	Inject(ctx context.Context) map[string]string

	// Extract returns a context with what Inject has added at the sender. metadata has the headers of a call, or the
	// metadata of a task or message, and its W3C traceparent. It may be nil and must not be modified. It comes from
	// another process, so its values may be malformed.
	Extract(ctx context.Context, metadata map[string]string) context.Context

	// Call observes a call that the App makes. Client middleware is around it.
	Call(ctx context.Context, s Start) (context.Context, func(End))

	// Handle observes a call that a service of the App handles. Server middleware is inside. Requests that are refused
	// before, such as those with unknown methods, are not observed.
	Handle(ctx context.Context, s Start) (context.Context, func(End))

	// Submit observes the submission of tasks of one queue. Submit middleware is around it.
	Submit(ctx context.Context, s Start) (context.Context, func(End))

	// Attempt observes an attempt of a task. Worker middleware is inside. If the handler runs in a child process, the
	// parent's instruments observe the attempt, and those of the child what the handler does.
	Attempt(ctx context.Context, s Start) (context.Context, func(End))

	// Message observes the sending of a raw message, or with [Start.Receive] the delivery of one to a handler.
	Message(ctx context.Context, s Start) (context.Context, func(End))

	// Observe observes an event.
	Observe(e Event)

	// Trace returns the W3C traceparent of the current span of ctx, or "". Log records of ctx have its ids as the
	// attributes trace and span. The first instrument that returns one applies. It precedes that of af.WithTrace. If its
	// span is sampled, an attempt of a task is stored with it when it ends.
	Trace(ctx context.Context) string

	// Flush sends what the instrument holds back. It is called in a child process before that exits, with a context that
	// ends within a second. In other processes, the program flushes its instruments after Shutdown.
	Flush(ctx context.Context)

	embedded()
}

// NoInstrument is an [Instrumentation] that does nothing. Instruments embed it.
type NoInstrument struct{}

var _ Instrumentation = NoInstrument{}

// Inject returns nil.
func (NoInstrument) Inject(context.Context) map[string]string { return nil }

// Extract returns ctx.
func (NoInstrument) Extract(ctx context.Context, _ map[string]string) context.Context { return ctx }

// Call returns ctx.
func (NoInstrument) Call(ctx context.Context, _ Start) (context.Context, func(End)) { return ctx, nil }

// Handle returns ctx.
func (NoInstrument) Handle(ctx context.Context, _ Start) (context.Context, func(End)) {
	return ctx, nil
}

// Submit returns ctx.
func (NoInstrument) Submit(ctx context.Context, _ Start) (context.Context, func(End)) {
	return ctx, nil
}

// Attempt returns ctx.
func (NoInstrument) Attempt(ctx context.Context, _ Start) (context.Context, func(End)) {
	return ctx, nil
}

// Message returns ctx.
func (NoInstrument) Message(ctx context.Context, _ Start) (context.Context, func(End)) {
	return ctx, nil
}

// Observe does nothing.
func (NoInstrument) Observe(Event) {}

// Trace returns "".
func (NoInstrument) Trace(context.Context) string { return "" }

// Flush does nothing.
func (NoInstrument) Flush(context.Context) {}

func (NoInstrument) embedded() {}

// A Start describes an operation that begins. Fields that do not apply are zero. It is passed by value, so that
// observing an operation allocates nothing.
type Start struct {
	Instance string // id of the App that observes; its other attributes are those of App.Instance

	// Of a call.

	Service string // Call, Handle
	Method  string // Call, Handle
	Call    string // Handle: id of the call
	Caller  string // Handle: id of the calling instance

	// Of tasks and messages.

	Queue   string // Submit, Attempt, Message
	Tasks   int    // Submit: number of tasks; 1 unless by SubmitMany, Subtasks or a job that was missed
	Task    string // Attempt: id of the task; Submit: the id given by TaskID, or that of the task of a job
	Source  string // Submit and Attempt of subtasks: id of the source
	DoneOf  string // Attempt: id of the task for which SubtasksDone runs
	RetryOf string // Submit by RetryTask, and Attempt: id of the task that is retried
	Job     string // Submit by a job, and Attempt of such a task: id of the job
	Receive bool   // Message: it is received, otherwise sent

	// Of an attempt. Message has Attempt, too, if it is received.

	Attempt int           // number, from 1; snoozed attempts and those released at shutdown are not counted
	Fence   int64         // raised by each claim
	Weight  int           // of the task
	Wait    time.Duration // from when the task was due until it was claimed, by the store's clock
	Age     time.Duration // from the submission of the task until it was claimed, by the store's clock
	Process bool          // the handler runs in a child process

	// Size is the number of bytes of the arguments, of the payload or payloads, or of the message.
	Size int
	// Metadata is that of the task (Attempt), of the retried task (Submit by RetryTask) or of the message (Message with
	// Receive), with the traceparent. Extract has been called with it, except for Submit. It must not be modified.
	Metadata map[string]string
	// Previous is the traceparent of the span of the task's previous attempt, for a link. It is "" if that attempt was
	// lost, ran on an App without an instrument, or its span was not sampled.
	Previous string
}

// An End describes how an operation has ended. Fields that do not apply are zero.
type End struct {
	Err  error        // nil if it succeeded. The text may be confidential.
	Code backend.Code // of Err; "" if it succeeded

	Outcome backend.Outcome // Call with Err: whether the call was handled
	Tries   int             // Call: requests sent; 0 if none was
	Server  string          // Call: id of the instance that has answered

	Stored int    // Submit: tasks known to be stored by it, without those that a unique key or an id has found
	Task   string // Submit of one task: its id

	Attempt   backend.AttemptOutcome // Attempt: how it has ended
	Status    backend.Status         // Attempt: what the task becomes, unless a stop was requested meanwhile
	Delay     time.Duration          // Attempt: until the task is due again; Message: until redelivery
	Snoozed   bool                   // Attempt: the handler returned Snooze
	Abandoned bool                   // Attempt: the handler did not return in time, and may still run

	Dead backend.DeadReason // Message: why it is moved to the dead-letter queue; "" if it is not

	Size int // bytes of the results or of the result; 0 unless it succeeded
}
