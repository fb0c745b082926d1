// Package retry repeats operations on the store, spreads pauses, and sleeps until a context ends.
//
// All operations are idempotent: each is one conditional write, so a lost reply is fetched by asking again. There are two
// kinds. A [Requester] is for requests of users: their contexts bound them, and after a try whose outcome is unknown only
// the store can tell whether it had an effect. [Do] is for the runtime's own work, which gives up after a few tries because
// it is repeated later anyway. [Update] repeats a compare-and-set until no other process interferes.
package retry

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	// Tries is how often an operation of the runtime is tried, and how often a request is tried again.
	Tries = 3
	// Timeout is for one operation of the runtime's own on the store.
	Timeout = 10 * time.Second
	// Base is the first pause between two tries. It doubles.
	Base = 50 * time.Millisecond
	// MinPoll and MaxPoll bound the pauses between looks at something that is unavailable.
	MinPoll = 250 * time.Millisecond
	MaxPoll = 2 * time.Second
	// Longest is the longest pause: spread by [Jitter] it still is a Duration.
	Longest = 200 * 365 * 24 * time.Hour
	// unbounded is how long a request is repeated if its context has no deadline.
	unbounded = 30 * time.Second
	// maxUpdates bounds the tries of [Update].
	maxUpdates = 1000
)

// A Requester repeats operations for callers.
type Requester struct {
	closing   context.Context
	storeLost func() bool
}

// NewRequester returns a Requester whose pauses end with closing. storeLost reports whether the store has been unavailable
// for so long that callers should not wait for it.
func NewRequester(closing context.Context, storeLost func() bool) *Requester {
	return &Requester{closing, storeLost}
}

// Do runs op. While nothing has been sent it tries a few times, or once if the store is lost. After a try whose outcome is
// unknown it repeats until the store answers, closing or ctx ends (without a deadline: for 30 s). The error after such a try
// has OutcomeUnknown, whatever the last try reports. The error has a code.
func (r *Requester) Do(ctx context.Context, op func(context.Context) error) error {
	unknown := false
	begun := time.Now()
	_, bounded := ctx.Deadline()
	for try := 0; ; try++ {
		err := op(ctx)
		if err == nil {
			return nil
		}
		coded := backend.Coded(err)
		unknown = unknown || coded.Outcome == backend.OutcomeUnknown
		again := coded.Code == backend.ErrUnavailable && try < Tries && !errors.Is(err, backend.ErrServerDown) && !r.storeLost()
		if unknown && Unavailable(err) {
			again = bounded || time.Since(begun) < unbounded
		}
		if again && r.pause(ctx, min(Base<<min(try, 6), MaxPoll)) {
			continue
		}
		if unknown {
			copied := *coded // errors may be shared
			return copied.With(backend.OutcomeUnknown)
		}
		return backend.AsError(err)
	}
}

// pause sleeps for about d. It reports false if ctx or closing ends first.
func (r *Requester) pause(ctx context.Context, d time.Duration) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.closing, cancel)()
	return Sleep(ctx, Jitter(d))
}

// Do runs op for the runtime itself, each try with a context of its own that ends after timeout, and returns the error of
// the last try.
func Do(ctx context.Context, timeout time.Duration, op func(context.Context) error) error {
	var err error
	for try := range Tries {
		if try > 0 && !Sleep(ctx, Jitter(Base<<try)) {
			break
		}
		opCtx, cancel := context.WithTimeout(ctx, timeout)
		err = op(opCtx)
		cancel()
		if !Unavailable(err) {
			break
		}
	}
	return err
}

// Update runs a compare-and-set until its error is not ErrAborted, which means that another process was faster. It returns
// ErrAborted if ctx ends first, or after very many tries.
func Update(ctx context.Context, op func(context.Context) error) error {
	for try := 1; ; try++ {
		err := op(ctx)
		if backend.CodeOf(err) != backend.ErrAborted || try == maxUpdates || !Sleep(ctx, Jitter(min(time.Duration(try), 20)*2*time.Millisecond)) {
			return err
		}
	}
}

// Unavailable reports whether an error means no more than that a server is unavailable, or slow.
func Unavailable(err error) bool {
	code := backend.CodeOf(err)
	return code == backend.ErrUnavailable || code == backend.ErrDeadlineExceeded
}

// Jitter spreads d by a fifth both ways, so that processes don't move in step.
func Jitter(d time.Duration) time.Duration {
	return time.Duration(float64(min(d, Longest)) * (0.8 + 0.4*rand.Float64()))
}

// Sleep waits for d and returns true, or returns false as soon as ctx ends.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
