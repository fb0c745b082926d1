package aftest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/internal/exact"
	"github.com/afgen/afgen/runtime/internal/testhook"
)

// Context returns a copy of ctx that is like that of the handler of a task, for unit tests that call a handler without
// an App:
//
//	ctx := aftest.Context(t.Context(), af.Running{ID: "42", Attempt: 3})
//	rows, err := (&shop.Import{}).Run(ctx, file)
//	if got := aftest.Progress[int](ctx); !slices.Equal(got, []int{50, 100}) { … }
//
// In the handler, [af.TaskFrom] returns the task. Fields of it that are zero get a value as in a running task: the id
// "task", the queue "queue", attempt 1, and a fence equal to the attempt. [Progress] and [Log] return what the handler
// reported. The metadata of ctx ([af.WithMetadata]) is the task's. Use a [Recorder] for what it submits. The context
// ends with ctx, and never because of a timeout, a stop or a shutdown; [af.Draining] is never closed. Use [Run] or
// [RunCluster] to test these.
func Context(ctx context.Context, task af.Running) context.Context {
	if task.ID == "" {
		task.ID = "task"
	}
	if task.Queue == "" {
		task.Queue = "queue"
	}
	if task.Attempt == 0 {
		task.Attempt = 1
	}
	if task.Fence == 0 {
		task.Fence = int64(task.Attempt)
	}
	r := &report{}
	r.Handler = slog.NewTextHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: withoutTime})
	return context.WithValue(testhook.TaskContext(ctx, task, r), reportKey{}, r)
}

// Progress returns the values that a handler has given to [af.Running.Progress], in order. ctx is the result of
// [Context], or derived from it. Progress panics if it is not, and if a value does not decode as a P.
func Progress[P any](ctx context.Context) []P {
	r := reportOf(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	return decodeAll[P]("progress", r.progress)
}

// Log returns the lines that a handler has logged with [af.LoggerFrom], at the level of slog.Default or above, such as
//
//	level=INFO msg="file read" rows=100
//
// They lack the time and the attributes that LoggerFrom adds. They are also written to slog.Default. ctx is as for
// [Progress].
func Log(ctx context.Context) []string {
	return reportOf(ctx).log.all()
}

// A report is what the handler that owns a context has reported. It implements [testhook.Report].
type report struct {
	slog.Handler
	log lines

	mu       sync.Mutex
	progress []json.RawMessage
}

type reportKey struct{}

func reportOf(ctx context.Context) *report {
	r, ok := ctx.Value(reportKey{}).(*report)
	if !ok {
		panic("aftest: the context was not made by aftest.Context")
	}
	return r
}

func (r *report) Progress(_ context.Context, _ string, _ int64, progress json.RawMessage) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress = append(r.progress, progress)
	return nil
}

// last returns the last progress, or nil.
func (r *report) last() json.RawMessage {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.progress) == 0 {
		return nil
	}
	return r.progress[len(r.progress)-1]
}

// lines is the output of a slog.TextHandler, which writes a line at a time.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for line := range strings.Lines(l.text.String()) {
		all = append(all, strings.TrimSuffix(line, "\n"))
	}
	return all
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
		return slog.Attr{}
	}
	return a
}

// decodeAll decodes values of one type, as the runtime decodes payloads. It panics if one does not decode, which is a
// mistake in the test.
func decodeAll[T any](what string, all []json.RawMessage) []T {
	var out []T
	for _, raw := range all {
		var v T
		if err := exact.Unmarshal(raw, &v); err != nil {
			panic(fmt.Sprintf("aftest: %s %s is not a %T: %v", what, raw, v, err))
		}
		out = append(out, v)
	}
	return out
}
