package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

type pointerError struct{ text string }

func (e *pointerError) Error() string { return e.text }

type walkError struct{}

func (walkError) Error() string { return "walk" }
func (walkError) Is(error) bool { panic("Is") }

// unsound returns errors whose methods panic, such as a nil pointer that is returned as an error.
func unsound() map[string]error {
	var pointer *pointerError
	var coded *af.Error
	return map[string]error{
		"nil_pointer": pointer, "wrapped": fmt.Errorf("%w", walkError{}), "joined": errors.Join(errors.New("x"), coded),
		"nil_error": coded, "Is": walkError{}, "permanent": af.Permanent(pointer),
	}
}

func TestPanickingErrorFailsTheCall(t *testing.T) {
	for name, bad := range unsound() {
		t.Run(name, func(t *testing.T) {
			handler := func(context.Context, int) (int, error) { return 0, bad }
			_, err := call(t.Context(), serve(t, memory.New(), handler), 1)
			wantError(t, err, af.ErrInternal, af.OutcomeAnswered, "the handler")
			middleware := af.ServerMiddleware(func(next af.Handler) af.Handler {
				return func(ctx context.Context, r *af.Request) (json.RawMessage, error) { return nil, bad }
			})
			_, err = call(t.Context(), serve(t, memory.New(), double, middleware), 1)
			wantError(t, err, af.ErrInternal, af.OutcomeAnswered, "the handler")
		})
	}
}

func TestPanickingErrorFailsTheAttempt(t *testing.T) {
	for name, bad := range unsound() {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				_, q := work(t, memory.New(), jobWorker, func(context.Context, int) (int, error) { return 0, bad })
				_, err := q.Wait(t.Context(), must(q.Submit(t.Context(), 1))(t))
				wantError(t, err, af.ErrInternal, af.OutcomeAnswered, "the handler")
			})
		})
	}
}

func TestPanickingErrorRejectsTheMessage(t *testing.T) {
	for name, bad := range unsound() {
		t.Run(name, func(t *testing.T) {
			app := openStarted(t, memory.New())
			if err := app.Send(t.Context(), "q", 1); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			first := true
			err := af.ReceiveAs(ctx, app, "q", func(context.Context, int) error {
				if first {
					first = false
					return bad
				}
				cancel()
				return nil
			})
			wantError(t, err, af.ErrCanceled, af.OutcomeUnknown, "receiving")
		})
	}
}

func TestNilContext(t *testing.T) {
	var none context.Context
	_, err := af.Open(none, memory.New())
	wantError(t, err, af.ErrInvalidArgument, af.OutcomeUnknown, "Open: the context is nil")
	app := open(t, memory.New())
	wantError(t, app.Start(none), af.ErrInvalidArgument, af.OutcomeUnknown, "Start: the context is nil")
	start(t, app)
	wantError(t, app.Run(none), af.ErrInvalidArgument, af.OutcomeUnknown, "Run: the context is nil")
	wantError(t, app.Shutdown(none), af.ErrInvalidArgument, af.OutcomeUnknown, "Shutdown: the context is nil")
	if err := app.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// Names that some backends do not support are rejected by all.
func TestInvalidNamesAreRejected(t *testing.T) {
	app, q := work(t, memory.New(), jobWorker, double)
	for _, o := range []af.SubmitOption{af.TaskID("a\xff"), af.UniqueKey("\xff"), af.TaskID(strings.Repeat("x", 256))} {
		_, err := q.Submit(t.Context(), 1, o)
		wantError(t, err, af.ErrInvalidArgument, af.OutcomeNotSent, "")
	}
	for _, name := range []string{"", "a\xff", strings.Repeat("x", 241)} {
		wantError(t, app.Send(t.Context(), name, 1), af.ErrInvalidArgument, af.OutcomeNotSent, "queue")
		err := app.Receive(t.Context(), name, func(context.Context, json.RawMessage) error { return nil })
		wantError(t, err, af.ErrInvalidArgument, af.OutcomeNotSent, "queue")
	}
	if err := app.Send(t.Context(), "☃ "+strings.Repeat("x", 236), 1); err != nil {
		t.Error(err)
	}
}

func TestNilMiddleware(t *testing.T) {
	app := serve(t, memory.New(), double, af.ClientMiddleware(nil), af.ServerMiddleware(nil, nil))
	if n, err := call(t.Context(), app, 4); n != 8 || err != nil {
		t.Error(n, err)
	}
	_, err := af.Open(t.Context(), memory.New(), af.ClientMiddleware(func(af.Caller) af.Caller { return nil }))
	wantError(t, err, af.ErrInvalidArgument, af.OutcomeUnknown, "client middleware returned nil")
	app = open(t, memory.New(), af.ServerMiddleware(func(af.Handler) af.Handler { return nil }))
	registerCalc(app, &calc{double})
	wantError(t, app.Start(t.Context()), af.ErrInvalidArgument, af.OutcomeUnknown, "server middleware returned nil")
}
