package backend_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
)

func TestErrorsMatchTheirCode(t *testing.T) {
	codes := backend.Codes()
	if len(codes) != 16 {
		t.Errorf("%d codes", len(codes))
	}
	for _, c := range codes {
		err := fmt.Errorf("wrapped: %w", backend.NewError(c, "text"))
		for _, other := range codes {
			if errors.Is(err, other) != (c == other) {
				t.Errorf("errors.Is(%v, %v) is %v", err, other, c != other)
			}
		}
		if backend.CodeOf(err) != c || backend.CodeOf(c) != c || backend.ParseCode(c.Error()) != c {
			t.Errorf("%v: CodeOf returns %v", err, backend.CodeOf(err))
		}
	}
}

func TestContextErrorsMatchCodes(t *testing.T) {
	for code, target := range map[backend.Code]error{
		backend.ErrCanceled:         context.Canceled,
		backend.ErrDeadlineExceeded: context.DeadlineExceeded,
	} {
		if !errors.Is(code, target) || !errors.Is(backend.NewError(code, ""), target) ||
			backend.CodeOf(fmt.Errorf("x: %w", target)) != code {
			t.Errorf("%v and %v don't match", code, target)
		}
	}
	if errors.Is(backend.ErrInternal, context.Canceled) {
		t.Error("internal matches context.Canceled")
	}
}

func TestCodeOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want backend.Code
	}{
		{nil, ""},
		{errors.New("x"), backend.ErrUnknown},
		{backend.Code("made_up"), backend.ErrUnknown},
		{errors.Join(errors.New("x"), backend.ErrAborted), backend.ErrAborted},
	} {
		if got := backend.CodeOf(c.err); got != c.want {
			t.Errorf("CodeOf(%v) = %q, want %q", c.err, got, c.want)
		}
	}
}

func TestErrorfCauseIsNotEncoded(t *testing.T) {
	cause := errors.New("disk full")
	err := backend.Errorf(backend.ErrInternal, "saving %d: %w", 7, cause)
	if err.Error() != "internal: saving 7: disk full" || !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	const want = `{"Code":"internal","Message":"saving 7: disk full","Outcome":0,"Details":null}`
	if b, _ := json.Marshal(err); string(b) != want {
		t.Errorf("encoded: %s", b)
	}
	if err := backend.Errorf(backend.ErrInternal, "no cause"); errors.Unwrap(err) != nil {
		t.Errorf("%v has a cause", err)
	}
}

type detail struct{ N int }

func TestDetails(t *testing.T) {
	err := fmt.Errorf("wrapped: %w", backend.NewError(backend.ErrAborted, "m", detail{1}, "text", nil, &detail{2},
		func() {}))
	if d, ok := backend.Detail[detail](err); !ok || d.N != 1 {
		t.Errorf("%v %v", d, ok)
	}
	if s, ok := backend.Detail[string](err); !ok || s != "text" {
		t.Errorf("%q %v", s, ok)
	}
	if _, ok := backend.Detail[int](err); ok {
		t.Error("found a detail of type int")
	}
	if _, ok := backend.Detail[detail](errors.New("plain")); ok {
		t.Error("found a detail in a plain error")
	}
	const want = "wrapped: aborted: m (a detail of type func() does not encode: json: unsupported type: func())"
	if err.Error() != want {
		t.Errorf("%v", err)
	}
}

func TestOutcome(t *testing.T) {
	if o := backend.NewError(backend.ErrInternal, "").Outcome; o != backend.OutcomeUnknown {
		t.Errorf("%v", o)
	}
	for o, want := range map[backend.Outcome]string{0: "unknown", 1: "not sent", 2: "answered"} {
		if o.String() != want {
			t.Errorf("%d is %q", o, o)
		}
	}
}

// The allowed transitions, written out again to detect mistakes in the table.
func TestAllowedTransitions(t *testing.T) {
	allowed := map[[2]backend.Status]bool{
		{"", "waiting"}: true, {"", "pending"}: true,
		{"waiting", "running"}: true, {"pending", "running"}: true, {"retrying", "running"}: true,
		{"running", "success"}: true, {"running", "retrying"}: true, {"running", "failed"}: true,
		{"running", "waiting"}: true, {"running", "stopped"}: true,
		{"waiting", "pending"}: true, {"pending", "pending"}: true, {"retrying", "retrying"}: true,
		{"waiting", "stopped"}: true, {"pending", "stopped"}: true, {"retrying", "stopped"}: true,
		{"waiting", "failed"}: true, {"pending", "failed"}: true, {"retrying", "failed"}: true,
	}
	for _, from := range append(backend.Statuses(), "") {
		for _, to := range backend.Statuses() {
			if got := backend.Allowed(from, to); got != allowed[[2]backend.Status{from, to}] {
				t.Errorf("%q to %q: allowed is %v", from, to, got)
			}
		}
		if from.Final() != (from == "success" || from == "failed" || from == "stopped") {
			t.Errorf("%q: final is %v", from, from.Final())
		}
	}
	for i, row := range backend.Transitions() {
		for _, from := range row.From {
			if from.Final() {
				t.Errorf("row %d leaves the final status %s", row.Row, from)
			}
		}
		if len(row.By) == 0 || row.Writes == "" || i > 0 && row.Row < backend.Transitions()[i-1].Row {
			t.Errorf("row %d is incomplete or out of order", row.Row)
		}
	}
}
