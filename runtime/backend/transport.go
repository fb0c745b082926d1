package backend

import (
	"context"
	"encoding/json"
	"time"
)

// Transport carries hints and raw messages. A hint says that a task may be ready: losing, repeating or reordering hints
// costs latency, never correctness. A transport in one place with its store carries mere wake-ups, hints without an id,
// which say: look; its listeners claim the best tasks there are, and nothing is owed a hint.
type Transport interface {
	// Ids says whether hints carry ids.
	Ids() bool
	// Hint publishes task ids to a queue's listeners and says of each whether it was taken. Neither answer nor error says
	// anything about the task.
	Hint(ctx context.Context, queue string, ids []string) (taken []bool, err error)
	// Listen receives hints of a queue, at most window of them unacknowledged; with 0 none, until it is resized.
	Listen(ctx context.Context, queue string, window int) (Listener, error)
	// Depth is how many hints of a queue wait, as last known.
	Depth(ctx context.Context, queue string) (int, error)
	// Send publishes a raw message. A nil error means that it is safely kept until somebody receives it.
	Send(ctx context.Context, queue string, body json.RawMessage) error
	// Receive calls fn for each raw message of a queue until ctx ends. A message is gone once fn returned nil and comes
	// again otherwise.
	Receive(ctx context.Context, queue string, fn func(ctx context.Context, body json.RawMessage) error) error
	// State says whether the transport can carry now, and its channel is closed at the next change.
	State() (up bool, changed <-chan struct{})
}

// A ConnectionChecker is a [Transport] that knows which instances are connected to it. A Transport may implement it.
type ConnectionChecker interface {
	// Absent returns those of the instances that are not connected now: each has died, has left, or is cut off. An error
	// means that this is not known, as when others may not have had time to connect again.
	Absent(ctx context.Context, instances []string) ([]string, error)
	// Visible returns since when, without interruption, Absent of others could not have named this instance, on this process's
	// monotonic clock; the zero time if it may name it now. It learns of a lost connection on its own, before others can: no later
	// than they do if it was closed in order, and by a shorter time-out if nothing arrives any more. changed is closed when the
	// answer may have changed, except by such a time-out. It doesn't block.
	Visible() (since time.Time, changed <-chan struct{})
}

// A Listener receives the hints of one queue. Its methods may be called from several goroutines.
type Listener interface {
	// Next waits for hints and returns up to max of them.
	Next(ctx context.Context, max int) ([]Hint, error)
	// Resize changes the window. With 0 what Next has not handed out goes to other listeners, and what it has stays
	// unacknowledged.
	Resize(ctx context.Context, window int) error
	// Close stops listening; unacknowledged hints go to another listener.
	Close() error
}

// A Hint is one received hint. Done acknowledges it and may be called more than once.
type Hint struct {
	ID          string
	Redelivered bool // it was delivered before: its first receiver may have died, so failure detectors check now
	Done        func()
}

// Coordinator knows who is there and spreads news. All of it may be forgotten at any time: no correctness rests on it.
type Coordinator interface {
	// Announce says that name is present for the next few seconds, with facts about it; it is repeated by the caller.
	Announce(ctx context.Context, kind, name string, facts json.RawMessage) error
	// Present lists who was announced lately.
	Present(ctx context.Context, kind string) (map[string]json.RawMessage, error)
	// Publish sends an event to all subscribers that are connected now. Delivery is not guaranteed.
	Publish(ctx context.Context, topic string, news json.RawMessage) error
	// Subscribe calls fn with the news of a topic and returns when ctx ends, or with an error when it can't go on. After a
	// gap fn gets nil: read again what matters.
	Subscribe(ctx context.Context, topic string, fn func(news json.RawMessage)) error
}
