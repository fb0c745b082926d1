package runtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// panicked panics with an error of a type of this test, like user code.
func panicked(text string) { panic(&pointerError{text}) }

// wantPanic checks that the log has a panic of [panicked] with its stack, without the runtime's frames.
func wantPanic(t *testing.T, lines *log, message, value string) {
	t.Helper()
	r := lines.record(t, message)
	stack, _ := r["stack"].(string)
	if r["panic"] != value || !strings.HasPrefix(stack, "github.com/afgen/afgen/runtime_test.panicked(") ||
		strings.Contains(stack, "afgen/runtime.") || strings.Contains(stack, "runtime/debug") {
		t.Errorf("the log has the panic %v with the stack\n%s", r["panic"], stack)
	}
}

// The error of a task whose handler panicked has the value and the place of the panic.
func TestErrorOfTaskHasPanic(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app, q := work(t, memory.New(), jobWorker, func(_ context.Context, n int) (int, error) {
			switch n {
			case 1:
				panicked("the value")
			case 2:
				return []int{}[n], nil
			case 3:
				_ = strings.Repeat("x", -n)
			case 4:
				panicked(strings.Repeat("\xff€", 50_000))
			}
			return 0, nil
		})
		const here = `\(at panic_test\.go:\d+ \S+\.TestErrorOfTaskHasPanic\S+\)$`
		for n, want := range map[int]string{
			1: `^the handler panicked: the value \(at panic_test\.go:\d+ github\.com/afgen/afgen/runtime_test\.panicked\)$`,
			2: `^the handler panicked: runtime error: index out of range \[2\] with length 0 ` + here,
			3: `^the handler panicked: strings: negative Repeat count ` + here,
			4: `^the handler panicked: \x{FFFD}€\S+… \(at panic_test\.go:\d+ \S+\.panicked\)$`,
		} {
			id := must(q.Submit(t.Context(), n))(t)
			_, err := q.Wait(t.Context(), id)
			wantError(t, err, af.ErrInternal, af.OutcomeAnswered, "the handler panicked: ")
			e := must(app.GetTask(t.Context(), id))(t).Error
			if !regexp.MustCompile(want).MatchString(e.Message) || !utf8.ValidString(e.Message) || len(e.Message) > 5000 {
				t.Errorf("task %d: %d bytes, %.300q, want %s", n, len(e.Message), e.Message, want)
			}
		}
	})
}

// The caller of a method that panicked gets neither the value nor the place, whatever middleware is installed. The log
// has both.
func TestCallerDoesNotSeePanic(t *testing.T) {
	for name, opts := range map[string][]af.AppOption{
		"plain": nil, "redacted": {af.RedactErrors()},
		"wrapped": {af.ServerMiddleware(func(next af.Handler) af.Handler {
			return func(ctx context.Context, r *af.Request) (json.RawMessage, error) {
				body, err := next(ctx, r)
				return body, fmt.Errorf("middleware: %w", err)
			}
		})},
	} {
		t.Run(name, func(t *testing.T) {
			var lines log
			app := serve(t, memory.New(), func(context.Context, int) (int, error) {
				panicked("hunter2")
				return 0, nil
			}, append(opts, lines.option())...)
			_, err := call(t.Context(), app, 1)
			wantError(t, err, af.ErrInternal, af.OutcomeAnswered, "the handler panicked")
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "_test.go") {
				t.Errorf("the caller gets %v", err)
			}
			wantPanic(t, &lines, "panic in a handler", "hunter2")
		})
	}
}
