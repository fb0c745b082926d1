package guard_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/guard"
)

// hostile is an error whose methods panic on a nil pointer.
type hostile struct{ text string }

func (e *hostile) Error() string { return e.text }

func TestDoReportsOnce(t *testing.T) {
	failed := errors.New("failed")
	for name, tt := range map[string]struct {
		fn   func() error
		want func(error) bool
	}{
		"success": {func() error { return nil }, func(err error) bool { return err == nil }},
		"error":   {func() error { return failed }, func(err error) bool { return err == failed }},
		"panic":   {func() error { panic("boom") }, isPanic("boom")},
		"goexit": {func() error { runtime.Goexit(); return nil },
			func(err error) bool { return err == error(guard.ErrGoexit) }},
		"hostile": {func() error { return (*hostile)(nil) },
			isPanic("runtime error: invalid memory address or nil pointer dereference")},
		"nil": {func() error { return (*backend.Error)(nil) },
			func(err error) bool { return backend.CodeOf(err) == backend.ErrInternal }},
	} {
		t.Run(name, func(t *testing.T) {
			reports := make(chan error, 2)
			over := make(chan struct{})
			go func() {
				defer close(over)
				guard.Do(tt.fn, func(err error) { reports <- err })
			}()
			<-over
			if len(reports) != 1 {
				t.Fatalf("%d reports", len(reports))
			}
			if err := <-reports; !tt.want(err) {
				t.Errorf("reported %v", err)
			}
		})
	}
}

func isPanic(value string) func(error) bool {
	return func(err error) bool {
		p, ok := err.(*guard.PanicError)
		return ok && p.Value == value && p.Stack != "" && backend.CodeOf(err) == backend.ErrInternal &&
			err.Error() == guard.PanicMessage
	}
}

func TestCallReturnsPanics(t *testing.T) {
	if err := guard.Call(func() error { panic("boom") }); !isPanic("boom")(err) {
		t.Errorf("a panic: %v", err)
	}
	if err := guard.Call(func() error { return nil }); err != nil {
		t.Errorf("no panic: %v", err)
	}
}

func TestPermanent(t *testing.T) {
	cause := errors.New("no such file")
	err := fmt.Errorf("reading: %w", guard.Permanent(cause))
	if !guard.IsPermanent(err) || !errors.Is(err, cause) || guard.IsPermanent(cause) || guard.Permanent(nil) != nil {
		t.Errorf("permanent %v, its cause %v", guard.IsPermanent(err), errors.Is(err, cause))
	}
}

func TestSnoozeHasAMinimum(t *testing.T) {
	for _, d := range []time.Duration{-time.Hour, 0, time.Millisecond, time.Hour} {
		var s *guard.SnoozeError
		if !errors.As(guard.Snooze(d), &s) || s.Delay != max(d, guard.MinSnooze) {
			t.Errorf("snoozed for %v: %v", d, s)
		}
	}
}

// The error stored with a task has the place of a panic, also if another error wraps it.
func TestTaskErrorHasThePanic(t *testing.T) {
	p := guard.Recovered("boom")
	for _, tt := range []struct {
		err  error
		code backend.Code
		text string
	}{
		{p, backend.ErrInternal, "the handler panicked: " + p.String()},
		{guard.Permanent(fmt.Errorf("a: %w", p)), backend.ErrInternal, "a: the handler panicked: " + p.String()},
		{backend.Errorf(backend.ErrAborted, "b: %w!", p), backend.ErrAborted, "b: the handler panicked: " + p.String() + "!"},
		{backend.Errorf(backend.ErrAborted, "c"), backend.ErrAborted, "c"},
	} {
		if e := guard.TaskError(tt.err); e.Code != tt.code || e.Message != tt.text {
			t.Errorf("%v is stored as %s: %s", tt.err, e.Code, e.Message)
		}
	}
}

// Details that a store or a transport would refuse don't make the error undeliverable.
func TestBoundedDetails(t *testing.T) {
	for name, tt := range map[string]struct {
		details []backend.ErrorDetail
		want    string
	}{
		"fine": {[]backend.ErrorDetail{{Type: "t", Value: json.RawMessage(`{"a":1}`)}}, "m"},
		"too large": {[]backend.ErrorDetail{{Value: make(json.RawMessage, backend.MaxDetails+1)}},
			"m (details over 64 kB omitted)"},
		"not JSON": {[]backend.ErrorDetail{{Value: json.RawMessage(`{`)}}, "m (details that are not JSON omitted)"},
		"one of two": {[]backend.ErrorDetail{{Type: "t"}, {Type: "t", Value: json.RawMessage(`1`)}},
			"m (details that are not JSON omitted)"},
		"no value": {[]backend.ErrorDetail{{Type: "t"}}, "m (details that are not JSON omitted)"},
	} {
		kept := 0
		if name == "fine" || name == "one of two" {
			kept = 1
		}
		e := guard.Bounded(&backend.Error{Code: backend.ErrAborted, Message: "m", Details: tt.details})
		if e.Message != tt.want || len(e.Details) != kept {
			t.Errorf("%s: %q with %d details", name, e.Message, len(e.Details))
		}
	}
}
