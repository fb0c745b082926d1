package backend

import (
	"encoding/json"
	"strings"
	"time"
)

// A Message is a raw message.
type Message struct {
	Body     json.RawMessage   `json:"body"`
	Metadata map[string]string `json:"metadata,omitempty"` // at most MaxMetadata bytes; must not be modified
	Trace    string            `json:"trace,omitempty"`    // the sender's traceparent

	// Attempt is set for receivers: the number of deliveries of the message to its queue, including this one. It counts
	// deliveries whose receiver died, and may count some that were cut off before they reached a receiver.
	Attempt int `json:"-"`
	// Dead is set for receivers if the message was moved to a dead-letter queue.
	Dead *DeadLetter `json:"-"`
}

// A Handled tells a [Transport] what to do with a message that it has delivered. The zero value delivers it again at
// once.
type Handled struct {
	Done bool // it is deleted
	// Dead, if not nil, moves the message to the dead-letter queue of its queue. The transport sets the fields that are
	// not about the error. If the queue refuses the message, it is delivered again after Delay.
	Dead *DeadLetter
	// Moved, if not nil, is called with the result of moving the message.
	Moved func(err error)
	// Delay is how long the message waits before it is delivered again. A transport may shorten it if many messages wait
	// and when the receiver ends.
	Delay time.Duration
	// Release means that the delivery is not counted, because its receiver is ending.
	Release bool
}

// A DeadLetter is the reason why a message is in a dead-letter queue.
type DeadLetter struct {
	Queue    string     `json:"queue"` // in which it was sent
	Reason   DeadReason `json:"reason"`
	Attempts int        `json:"attempts"` // deliveries to Queue
	First    time.Time  `json:"first"`    // when a delivery first failed
	Last     time.Time  `json:"last"`     // when the last one failed
	Code     Code       `json:"code"`     // of the last error
	Message  string     `json:"message"`  // of the last error; at most MaxDeadText bytes
}

// A DeadReason is why a message was moved to a dead-letter queue.
type DeadReason string

// The reasons.
const (
	DeadAttempts  DeadReason = "attempts"  // all attempts have failed
	DeadPermanent DeadReason = "permanent" // its handler returned a permanent error
	DeadCrash     DeadReason = "crash"     // the last attempt ended with the process that made it
)

const (
	// DeadSuffix is the suffix of dead-letter queues: the dead letters of "orders" are the raw messages of "orders.dead".
	DeadSuffix = ".dead"
	// MaxDead is the maximum number of messages in a dead-letter queue. It then refuses others.
	MaxDead = 10_000
	// MaxDeadText is the limit of the message of a DeadLetter, in bytes. It is carried in a header.
	MaxDeadText = 2 << 10
)

// IsDeadQueue reports whether a queue of raw messages is a dead-letter queue. Its messages are not moved further.
func IsDeadQueue(queue string) bool { return strings.HasSuffix(queue, DeadSuffix) }

// ErrDeadFull returns the error of a dead-letter queue that is full.
func ErrDeadFull(queue string) *Error {
	return Errorf(ErrResourceExhausted, "the dead-letter queue %q has %d messages, the maximum", queue, MaxDead).
		With(OutcomeNotSent)
}
