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

type space struct {
	Used int
	Name string
}

// The details of a handler's error are stored with its task. Its waiter and all readers of the task get them.
func TestErrorDetailsOfTasks(t *testing.T) {
	full := space{Used: 7, Name: "pictures"}
	full2 := space{Used: 8, Name: "second attempt"}
	withDetail := af.NewError(af.ErrResourceExhausted, "full", 3, full, full2)
	odd := af.NewError(af.ErrAborted, "odd", full)
	odd.Details = append(odd.Details, af.ErrorDetail{Type: "t", Value: json.RawMessage("{")},
		af.ErrorDetail{Type: "\xff", Value: json.RawMessage("1")})
	for _, tt := range []struct {
		name     string
		err      error
		redacted bool
		code     af.Code
		kept     int // number of details
		message  string
	}{
		{"details", withDetail, false, af.ErrResourceExhausted, 3, "full"},
		{"wrapped", fmt.Errorf("wrapped: %w", withDetail), false, af.ErrResourceExhausted, 3, "full"},
		{"invalid_omitted", odd, false, af.ErrAborted, 1, "odd (details that are not JSON omitted)"},
		{"too_large", af.NewError(af.ErrAborted, "large", space{Name: strings.Repeat("x", 64<<10)}), false, af.ErrAborted, 0,
			"large (details over 64 kB omitted)"},
		{"plain", errors.New("plain"), false, af.ErrUnknown, 0, "plain"},
		{"redacted_coded", fmt.Errorf(hidden+": %w", withDetail), true, af.ErrResourceExhausted, 3, "full"},
		{"redacted_unknown", af.NewError(af.ErrUnknown, hidden, full), true, af.ErrUnknown, 0, "the handler failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				var opts []af.AppOption
				if tt.redacted {
					opts = append(opts, af.RedactErrors())
				}
				app, q := work(t, memory.New(), jobWorker, func(context.Context, int) (int, error) {
					return 0, af.Permanent(tt.err)
				}, opts...)
				id := must(q.Submit(t.Context(), 1))(t)
				_, err := q.Wait(t.Context(), id)
				wantError(t, err, tt.code, af.OutcomeAnswered, tt.message)
				task := must(app.GetTask(t.Context(), id))(t)
				if n := len(task.Error.Details); n != tt.kept || task.Error.Message != tt.message {
					t.Errorf("stored %d details, %q; want %d, %q", n, task.Error.Message, tt.kept, tt.message)
				}
				for what, err := range map[string]error{"waiter": err, "task": task.Error.Err()} {
					got, ok := af.Detail[space](err)
					if ok != (tt.kept > 0) || ok && got != full {
						t.Errorf("the %s has detail %v, %v", what, got, ok)
					}
				}
				if strings.Contains(fmt.Sprintf("%v %v", task, task.Error), "pictures") {
					t.Errorf("details are printed: %v", task)
				}
			})
		})
	}
}

// A task has the details of its last failed attempt, also while it waits for the next, and none after success.
func TestErrorDetailsOfAttempts(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := jobWorker
		w.Retries, w.Backoff = 5, time.Minute
		app, q := work(t, memory.New(), w, func(ctx context.Context, _ int) (int, error) {
			switch n := af.TaskFrom(ctx).Attempt; n {
			case 1, 2:
				return 0, af.NewError(af.ErrUnavailable, "not yet", space{Used: n})
			case 3:
				return 0, af.NewError(af.ErrUnavailable, "not yet")
			}
			return 1, nil
		})
		id := must(q.Submit(t.Context(), 1))(t)
		for i, want := range []space{{Used: 1}, {Used: 2}, {}} {
			task := must(app.GetTask(t.Context(), id))(t)
			for task.Status != af.StatusRetrying || task.Attempt != i+1 {
				time.Sleep(time.Second)
				task = must(app.GetTask(t.Context(), id))(t)
			}
			got, ok := af.Detail[space](task.Error.Err())
			if got != want || ok != (want != space{}) {
				t.Errorf("detail %v, %v; want %v", got, ok, want)
			}
		}
		must(q.Wait(t.Context(), id))(t)
		if task := must(app.GetTask(t.Context(), id))(t); task.Error != nil {
			t.Errorf("after success: %v", task.Error)
		}
	})
}
