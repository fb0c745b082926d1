package backend

import (
	"context"
	"encoding/json"
	"time"
)

// MaxDepthAge is the maximum age of the result of [Transport.Depth].
const MaxDepthAge = 5 * time.Millisecond

// Transport delivers hints and raw messages.
//
// A hint is a wake-up message that names a task which may be ready. Lost, duplicated or reordered hints cost latency,
// never correctness. If all processes that use a transport also share its store, its hints may be plain wake-ups
// without an id: the listeners then claim the best available tasks, and no task needs a hint.
type Transport interface {
	// Ids reports whether hints carry ids.
	Ids() bool
	// Hint publishes task ids to a queue's listeners and reports for each whether it was accepted. The result says nothing
	// about the task.
	Hint(ctx context.Context, queue string, ids []string) (taken []bool, err error)
	// Listen starts receiving the hints of a queue, with at most window unacknowledged ones. With window 0 it receives
	// none until Resize is called.
	Listen(ctx context.Context, queue string, window int) (Listener, error)
	// Depth returns the number of waiting hints of a queue, at most [MaxDepthAge] ago.
	Depth(ctx context.Context, queue string) (int, error)
	// Send publishes a raw message. A nil error means that it is stored durably until a receiver handles it.
	Send(ctx context.Context, queue string, m Message) error
	// Receive calls fn for each raw message of a queue, one at a time, until ctx ends, and does with the message what fn
	// returns. If fn panics, the message is delivered again after a short delay. A message is never lost: a failure
	// during a move or a redelivery may deliver it twice.
	Receive(ctx context.Context, queue string, fn func(ctx context.Context, m *Message) Handled) error
	// State reports whether the transport is usable now. The channel is closed at the next change.
	State() (up bool, changed <-chan struct{})
}

// A ConnectionChecker is an optional interface of a [Transport] that knows which instances are connected to it.
type ConnectionChecker interface {
	// Absent returns those of the instances that are not connected now: they have died, have shut down, or can't reach the
	// server. An error means that this is unknown, for example because instances may not have had time to reconnect.
	Absent(ctx context.Context, instances []string) ([]string, error)
	// Visible returns since when, without interruption, Absent could not have returned this instance to any other. The
	// time has a reading of this process's monotonic clock; it is zero if Absent may return this instance now. The
	// instance notices a lost connection no later than others do: at once if it was closed, and otherwise by a shorter
	// timeout. changed is closed when the result may have changed, except by that timeout. Visible doesn't block.
	Visible() (since time.Time, changed <-chan struct{})
}

// A Listener receives the hints of one queue. It is safe for concurrent use.
type Listener interface {
	// Next waits for hints and returns up to max of them.
	Next(ctx context.Context, max int) ([]Hint, error)
	// Resize changes the window. With window 0, hints that Next has not returned go to other listeners; those that it has
	// returned stay unacknowledged.
	Resize(ctx context.Context, window int) error
	// Close closes the Listener. Unacknowledged hints go to other listeners.
	Close() error
}

// A Hint is a received hint. Done acknowledges it and may be called more than once.
type Hint struct {
	ID          string
	Redelivered bool // delivered before: the first receiver may have died, so failure detectors check now
	// Session rises when the Listener has lost its connection. Unacknowledged hints of earlier sessions have gone to other
	// listeners or are delivered again.
	Session int
	Done    func()
}

// Coordinator knows which instances are running and delivers events. Its state may be lost at any time; correctness
// must not depend on it.
type Coordinator interface {
	// Announce records for a few seconds that name is present, with facts about it. Callers repeat it.
	Announce(ctx context.Context, kind, name string, facts json.RawMessage) error
	// Present returns the facts of all names of a kind that were announced recently.
	Present(ctx context.Context, kind string) (map[string]json.RawMessage, error)
	// Publish sends an event to all current subscribers of a topic. Delivery is not guaranteed.
	Publish(ctx context.Context, topic string, event json.RawMessage) error
	// Subscribe calls fn with the events of a topic. It returns when ctx ends, or with an error if it can't continue. If
	// events may have been missed, fn is called with nil, and should read the current state.
	Subscribe(ctx context.Context, topic string, fn func(event json.RawMessage)) error
}
