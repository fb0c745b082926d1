package retry_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

var (
	unavailable = backend.NewError(backend.ErrUnavailable, "down").With(backend.OutcomeNotSent)
	unknown     = backend.NewError(backend.ErrUnavailable, "cut").With(backend.OutcomeUnknown)
	refused     = backend.NewError(backend.ErrInvalidArgument, "no").With(backend.OutcomeAnswered)
	aborted     = backend.NewError(backend.ErrAborted, "changed")
)

// tries returns an operation that fails with errs in turn, repeating the last one, and its number of calls.
func tries(errs ...error) (op func(context.Context) error, n *int) {
	n = new(int)
	return func(context.Context) error {
		*n++
		return errs[min(*n, len(errs))-1]
	}, n
}

func TestRequesterTries(t *testing.T) {
	for name, tt := range map[string]struct {
		errs    []error
		lost    bool
		tries   int
		code    backend.Code
		outcome backend.Outcome
	}{
		"success":    {[]error{nil}, false, 1, "", 0},
		"passes":     {[]error{unavailable, nil}, false, 2, "", 0},
		"not_sent":   {[]error{unavailable}, false, 1 + retry.Tries, backend.ErrUnavailable, backend.OutcomeNotSent},
		"store_lost": {[]error{unavailable}, true, 1, backend.ErrUnavailable, backend.OutcomeNotSent},
		"refused":    {[]error{refused}, false, 1, backend.ErrInvalidArgument, backend.OutcomeAnswered},
		"unknown_then_ok": {[]error{unknown, unavailable, unavailable, unavailable, unavailable, unavailable, nil}, true,
			7, "", 0},
		"unknown_then_no": {[]error{unknown, refused}, false, 2, backend.ErrInvalidArgument, backend.OutcomeUnknown},
		"without_a_code":  {[]error{errors.New("odd")}, false, 1, backend.ErrUnknown, backend.OutcomeUnknown},
		"server_down_once": {[]error{backend.Errorf(backend.ErrUnavailable, "%w",
			backend.ErrServerDown).With(backend.OutcomeNotSent)}, false, 1, backend.ErrUnavailable, backend.OutcomeNotSent},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				op, n := tries(tt.errs...)
				err := retry.NewRequester(t.Context(), func() bool { return tt.lost }).Do(t.Context(), op)
				if *n != tt.tries || backend.CodeOf(err) != tt.code || err != nil && backend.Coded(err).Outcome != tt.outcome {
					t.Errorf("%d tries, %v", *n, err)
				}
			})
		})
	}
}

// A request with an unknown outcome ends with its caller, with the process, or after 30 s.
func TestRequesterEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		caller, closing time.Duration // until they end; 0 means never
		want            time.Duration
	}{
		"caller":  {time.Minute, 0, time.Minute},
		"closing": {0, 10 * time.Second, 10 * time.Second},
		"never":   {0, 0, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				after := func(d time.Duration) context.Context {
					if d == 0 {
						return t.Context()
					}
					ctx, cancel := context.WithTimeout(t.Context(), d)
					t.Cleanup(cancel)
					return ctx
				}
				begun := time.Now()
				op, _ := tries(unknown)
				err := retry.NewRequester(after(tt.closing), func() bool { return false }).Do(after(tt.caller), op)
				if took := time.Since(begun); took < tt.want || took > tt.want+3*time.Second ||
					backend.Coded(err).Outcome != backend.OutcomeUnknown {
					t.Errorf("after %v: %v", took, err)
				}
			})
		})
	}
}

func TestDoTimesOutEachTry(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := 0
		err := retry.Do(t.Context(), time.Second, func(ctx context.Context) error {
			n++
			<-ctx.Done()
			return ctx.Err()
		})
		if n != retry.Tries || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d tries, %v", n, err)
		}
		op, tried := tries(refused)
		if err := retry.Do(t.Context(), time.Second, op); *tried != 1 || err != error(refused) {
			t.Errorf("%d tries of a refused request, %v", *tried, err)
		}
	})
}

func TestUpdateRetriesConflicts(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		op, n := tries(aborted, aborted, nil)
		if err := retry.Update(t.Context(), op); err != nil || *n != 3 {
			t.Errorf("%d tries, %v", *n, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		op, _ = tries(aborted)
		if err := retry.Update(ctx, op); backend.CodeOf(err) != backend.ErrAborted {
			t.Errorf("without an end: %v", err)
		}
	})
}
