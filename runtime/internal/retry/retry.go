// Package retry retries store operations, jitters delays, and sleeps until a context ends.
//
// All operations are idempotent: each is one conditional write, so repeating it recovers a lost reply. A [Requester]
// is for users' requests, which their contexts bound; after a try with an unknown outcome, only the store can tell
// whether it had an effect. [Do] is for the runtime's own work and stops after a few tries, because the work is
// repeated later anyway. [Update] retries a compare-and-set until no other process interferes.
package retry

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	// Tries is how often a runtime operation is tried, and how often a request is retried.
	Tries = 3
	// Timeout bounds one store operation of the runtime.
	Timeout = 10 * time.Second
	// Base is the first delay between two tries. It doubles.
	Base = 50 * time.Millisecond
	// MinPoll and MaxPoll bound the delays between polls of an unavailable server.
	MinPoll = 250 * time.Millisecond
	MaxPoll = 2 * time.Second
	// Longest is the maximum delay: with [Jitter] it still fits a Duration.
	Longest = 200 * 365 * 24 * time.Hour
	// unbounded is how long a request without a deadline is retried.
	unbounded = 30 * time.Second
	// maxUpdates bounds the tries of [Update].
	maxUpdates = 1000
)

// A Requester retries operations for callers.
type Requester struct {
	closing   context.Context
	storeLost func() bool
}

// NewRequester returns a Requester whose delays end with closing. storeLost reports whether the store has been
// unavailable for so long that callers shouldn't wait for it.
func NewRequester(closing context.Context, storeLost func() bool) *Requester {
	return &Requester{closing, storeLost}
}

// Do runs op. If nothing was sent, it retries a few times, or not at all if the store is lost. After a try with an
// unknown outcome it retries until the store replies, or closing or ctx ends (without a deadline: for 30 s). Then the
// error has OutcomeUnknown, whatever the last try returns. All errors have a code.
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
		again := coded.Code == backend.ErrUnavailable && try < Tries &&
			!errors.Is(err, backend.ErrServerDown) && !r.storeLost()
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

// pause sleeps for about d. It returns false if ctx or closing ends first.
func (r *Requester) pause(ctx context.Context, d time.Duration) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.closing, cancel)()
	return Sleep(ctx, Jitter(d))
}

// Do runs op for the runtime, each try with its own context that ends after timeout. It returns the last try's error.
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

// Update runs a compare-and-set until its error is not ErrAborted, which means that another process was faster. It
// returns ErrAborted if ctx ends first, or after very many tries.
func Update(ctx context.Context, op func(context.Context) error) error {
	for try := 1; ; try++ {
		err := op(ctx)
		if backend.CodeOf(err) != backend.ErrAborted || try == maxUpdates ||
			!Sleep(ctx, Jitter(min(time.Duration(try), 20)*2*time.Millisecond)) {
			return err
		}
	}
}

// Unavailable reports whether err only means that a server is unavailable or slow.
func Unavailable(err error) bool {
	code := backend.CodeOf(err)
	return code == backend.ErrUnavailable || code == backend.ErrDeadlineExceeded
}

// Refused reports whether a store error is permanent: retrying the request is pointless, but a smaller one may
// succeed if a single item is the reason. It is false for errors that don't depend on the items, such as an
// unavailable or full store or missing permissions.
func Refused(err error) bool {
	switch backend.CodeOf(err) {
	case backend.ErrInvalidArgument, backend.ErrResourceExhausted, backend.ErrInternal, backend.ErrOutOfRange,
		backend.ErrFailedPrecondition, backend.ErrDataLoss, backend.ErrUnimplemented,
		backend.ErrNotFound, backend.ErrAlreadyExists:
		return !errors.Is(err, backend.ErrStoreFull)
	}
	return false
}

// Jitter changes d by up to a fifth in either direction, so that processes don't act in lockstep.
func Jitter(d time.Duration) time.Duration {
	return time.Duration(float64(min(d, Longest)) * (0.8 + 0.4*rand.Float64()))
}

// Sleep waits for d and returns true, or returns false when ctx ends first.
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
