package runtime_test

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"strings"
	"testing"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

type quota struct{ Left int }

func TestErrorsKeepCodeAndDetails(t *testing.T) {
	app := serve(t, memory.New(), func(_ context.Context, x int) (int, error) {
		switch x {
		case 1:
			return 7, af.ErrNotFound
		case 2:
			return 7, fmt.Errorf("item %d: %w", x, af.ErrNotFound)
		case 3:
			return 7, af.NewError(af.ErrResourceExhausted, "over quota", quota{3}, &quota{4})
		case 4:
			return 7, fmt.Errorf("secret context: %w", af.Errorf(af.ErrAborted, "conflict: %w", errors.New("row 5")))
		case 5:
			return 7, errors.New("boom")
		case 6:
			return 7, context.DeadlineExceeded
		case 7:
			return 7, &af.Error{Code: "made_up", Message: "?"}
		}
		return 7, af.NewError(af.ErrUnknown, strings.Repeat("x", 1<<20), strings.Repeat("y", 1<<20))
	})
	for _, c := range []struct {
		x       int
		code    af.Code
		message string
	}{
		{1, af.ErrNotFound, ""},
		{2, af.ErrNotFound, "item 2: not_found"},
		{3, af.ErrResourceExhausted, "over quota"},
		{4, af.ErrAborted, "conflict: row 5"},
		{5, af.ErrUnknown, "boom"},
		{6, af.ErrDeadlineExceeded, "context deadline exceeded"},
		{7, af.ErrUnknown, "?"},
	} {
		got, err := call(t.Context(), app, c.x)
		wantError(t, err, c.code, af.OutcomeAnswered, c.message)
		if e, _ := errors.AsType[*af.Error](err); e.Message != c.message || got != 0 {
			t.Errorf("x=%d: got %d with message %q, want 0 with %q", c.x, got, e.Message, c.message)
		}
	}
	_, err := call(t.Context(), app, 3)
	if q, ok := af.Detail[quota](err); !ok || q.Left != 3 {
		t.Errorf("detail %v, %v", q, ok)
	}
	if _, ok := af.Detail[calcArgs](err); ok {
		t.Error("a detail of another type was found")
	}
	if _, err := call(t.Context(), app, 6); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v is not context.DeadlineExceeded", err)
	}
	_, err = call(t.Context(), app, 8)
	if e, _ := errors.AsType[*af.Error](err); len(e.Message) > 17<<10 || len(e.Details) > 0 {
		t.Errorf("a message of %d bytes and %d details was sent", len(e.Message), len(e.Details))
	}
}

func TestRedactionHidesOnlyErrorsWithoutCode(t *testing.T) {
	var lines log
	app := serve(t, memory.New(), func(_ context.Context, x int) (int, error) {
		switch x {
		case 1:
			return 0, errors.New("password=hunter2")
		case 3:
			return 0, context.DeadlineExceeded
		}
		return 0, af.NewError(af.ErrAborted, "said on purpose")
	}, af.RedactErrors(), lines.option())
	_, err := call(t.Context(), app, 1)
	wantError(t, err, af.ErrUnknown, af.OutcomeAnswered, "the handler failed")
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error was not redacted: %v", err)
	}
	_, err = call(t.Context(), app, 2)
	wantError(t, err, af.ErrAborted, af.OutcomeAnswered, "said on purpose")
	_, err = call(t.Context(), app, 3)
	wantError(t, err, af.ErrDeadlineExceeded, af.OutcomeAnswered, "context deadline exceeded")
}

// A service that returns the error of a downstream call keeps its code and message, but not its outcome.
func TestDownstreamErrorLosesItsOutcome(t *testing.T) {
	world := memory.New()
	app := serve(t, world, func(ctx context.Context, _ int) (int, error) {
		client := af.NewClient(openStarted(t, world))
		_, err := (&af.Method[calcArgs, calcReply]{Service: "nosuch", Name: "M"}).Call(ctx, client, calcArgs{})
		wantError(t, err, af.ErrUnavailable, af.OutcomeNotSent, "nosuch")
		return 0, err
	})
	_, err := call(t.Context(), app, 1)
	wantError(t, err, af.ErrUnavailable, af.OutcomeAnswered, `no instance of service "nosuch" is running`)
}

func TestPanicIsInternal(t *testing.T) {
	var lines log
	app := serve(t, memory.New(), func(_ context.Context, x int) (int, error) {
		switch x {
		case 1:
			panic("password=hunter2")
		case 2:
			goruntime.Goexit()
		case 3:
			return []int{}[x], nil
		}
		return 1, nil
	}, lines.option())
	for x, text := range map[int]string{1: "panicked", 2: "ended its goroutine", 3: "panicked"} {
		_, err := call(t.Context(), app, x)
		wantError(t, err, af.ErrInternal, af.OutcomeAnswered, text)
		if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "goroutine ") {
			t.Errorf("the panic's value or stack was sent: %v", err)
		}
	}
	if got := lines.String(); !strings.Contains(got, "hunter2") || !strings.Contains(got, "call_error_test.go") {
		t.Errorf("the log lacks the value or the stack: %s", got)
	}
	for range 2 * calcService.Concurrency { // all slots are free again
		if _, err := call(t.Context(), app, 9); err != nil {
			t.Fatal(err)
		}
	}
}
