package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

const hidden = "password=hunter2"

// leaks has errors of handlers whose texts RedactErrors hides, and what remains of them.
var leaks = []struct {
	name    string
	err     error
	code    af.Code
	message string
}{
	{"plain", errors.New(hidden), af.ErrUnknown, "the handler failed"},
	{"wrapped_code", fmt.Errorf(hidden+": %w", af.ErrNotFound), af.ErrNotFound, "the handler failed"},
	{"wrapped_deadline", fmt.Errorf("dialing "+hidden+": %w", context.DeadlineExceeded), af.ErrDeadlineExceeded,
		"the handler failed"},
	{"wrapped_cancel", errors.Join(errors.New(hidden), context.Canceled), af.ErrCanceled, "the handler failed"},
	{"own_code", af.Code("password=hunter2"), af.ErrUnknown, ""},
	{"unknown", af.Errorf(af.ErrUnknown, "%w", errors.New(hidden)), af.ErrUnknown, "the handler failed"},
	{"around_coded", fmt.Errorf(hidden+": %w", af.NewError(af.ErrAborted, "on purpose")), af.ErrAborted, "on purpose"},
	{"permanent", af.Permanent(fmt.Errorf(hidden+": %w", af.ErrNotFound)), af.ErrNotFound, "the handler failed"},
	{"coded", af.NewError(af.ErrAborted, "on purpose"), af.ErrAborted, "on purpose"},
	{"bare_code", af.ErrNotFound, af.ErrNotFound, ""},
	{"bare_deadline", context.DeadlineExceeded, af.ErrDeadlineExceeded, "context deadline exceeded"},
}

func TestRedactedErrorsOfCalls(t *testing.T) {
	var lines log
	app := serve(t, memory.New(), func(_ context.Context, x int) (int, error) { return 0, leaks[x].err },
		af.RedactErrors(), lines.option())
	for x, l := range leaks {
		_, err := call(t.Context(), app, x)
		wantError(t, err, l.code, af.OutcomeAnswered, l.message)
		if e, _ := errors.AsType[*af.Error](err); e.Message != l.message {
			t.Errorf("%s: the caller gets %q, want %q", l.name, e.Message, l.message)
		}
	}
	r := lines.record(t, "call failed, error redacted")
	if r["error"] != hidden || r["service"] != "calc" || r["call"] == nil {
		t.Errorf("the log has %v", r)
	}
}

// Neither a task's error nor its log contains a hidden text. The log of the instance does.
func TestRedactedErrorsOfTasks(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var lines log
		app, q := work(t, memory.New(), jobWorker, func(_ context.Context, x int) (int, error) {
			if x == len(leaks) {
				panicked(hidden)
			}
			return 0, leaks[x].err
		}, af.RedactErrors(), lines.option())
		for x := range len(leaks) + 1 {
			code, message := af.ErrInternal, "the handler panicked"
			if x < len(leaks) {
				code, message = leaks[x].code, leaks[x].message
			}
			id := must(q.Submit(t.Context(), x))(t)
			_, err := q.Wait(t.Context(), id)
			task := must(app.GetTask(t.Context(), id))(t)
			if task.Error == nil || task.Error.Code != code || task.Error.Message != message ||
				strings.Contains(err.Error(), hidden) {
				t.Errorf("error %d: the task has %+v, its waiter gets %v; want %s, %q", x, task.Error, err, code, message)
			}
			if strings.Contains(strings.Join(task.Log, "\n"), hidden) {
				t.Errorf("error %d: log of the task: %q", x, task.Log)
			}
		}
		r := lines.record(t, "task failed, error redacted")
		if r["error"] != hidden || r["queue"] != "job" || r["task"] == nil || r["attempt"] != 1.0 {
			t.Errorf("the log has %v", r)
		}
		wantPanic(t, &lines, "panic in a worker", hidden)
	})
}

// The same applies to errors returned by child processes, and to their stderr.
func TestRedactedErrorsOfProcesses(t *testing.T) {
	var lines log
	app, q := isolate(t, nil, af.RedactErrors(), lines.option())
	for do, want := range map[string]string{
		"plain":  "unknown: the handler failed",
		"leak":   "not_found: the handler failed",
		"coded":  "out_of_range: too far",
		"panic":  "internal: the handler panicked",
		"exit":   "internal: child process ended: exit status 3",
		"silent": "internal: child process ended: exit status 3",
	} {
		id := must(q.Submit(t.Context(), action{Do: do, N: 3}))(t)
		_, err := q.Wait(t.Context(), id)
		task := must(app.GetTask(t.Context(), id))(t)
		if task.Error == nil || string(task.Error.Code)+": "+task.Error.Message != want || len(task.Log) > 0 {
			t.Errorf("%s: %v; the task has error %+v and log %q, want %q", do, err, task.Error, task.Log, want)
		}
	}
	if text := lines.String(); !strings.Contains(text, "last words") || !strings.Contains(text, hidden) ||
		!strings.Contains(text, `"panic":"secret"`) {
		t.Errorf("the log is incomplete: %s", text)
	}
}
