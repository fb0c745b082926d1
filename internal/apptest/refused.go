package apptest

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
)

// A tapped backend exposes its transport to a test.
type tapped struct {
	af.Backend
	transport *backend.Transport
}

func (b tapped) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := b.Backend.Open(ctx, env)
	if err == nil {
		*b.transport = ports.Transport
	}
	return ports, err
}

// badHints publishes hints that no task can have, and runs tasks whose errors and log lines aren't UTF-8 or have the
// maximum length.
func badHints(w *world) {
	texts := []string{"a\xffb", "x" + strings.Repeat("€", 6000), strings.Repeat("\xff", 20_000), "a\x00b"}
	var transport backend.Transport
	tappedWorld := &world{T: w.T, backend: tapped{w.backend, &transport}}
	app := tappedWorld.open(works(func(ctx context.Context, n int) (int, error) {
		if n < 0 {
			return 0, af.TaskFrom(ctx).Progress(ctx, strings.Repeat("x", 1<<20))
		}
		if n == len(texts) {
			return n, nil
		}
		af.LoggerFrom(ctx).Info(texts[n], "text", texts[n])
		if n%2 == 0 {
			panic(texts[n])
		}
		return 0, errors.New(texts[n])
	}))
	_, err := transport.Hint(w.Context(), jobWorker.Name, []string{"", "a\xff", "a\x00", strings.Repeat("x", 100_000)})
	w.must(err)
	q := af.NewQueue[int, int](app, jobWorker)
	var ids []string
	for n := range len(texts) + 1 {
		ids = append(ids, must(q.Submit(w.Context(), n))(w))
	}
	for n, id := range ids[:len(texts)] {
		t := w.ends(app, id, af.StatusFailed)
		if t.Error == nil || !utf8.ValidString(t.Error.Message) || len(t.Error.Message) > 16<<10 {
			w.Errorf("text %d: the task's error is %+v", n, t.Error)
		} else if n%2 == 0 && (!strings.HasPrefix(t.Error.Message, "the handler panicked: ") ||
			!strings.Contains(t.Error.Message, " (at refused.go:")) {
			w.Errorf("text %d: the panic is recorded as %.300q", n, t.Error.Message)
		}
		for _, line := range t.Log {
			if !utf8.ValidString(line) {
				w.Errorf("text %d: the line %q", n, line)
			}
		}
	}
	w.ends(app, ids[len(texts)], af.StatusSuccess)
	if t := w.ends(app, must(q.Submit(w.Context(), -1))(w), af.StatusFailed); t.Error.Code != af.ErrResourceExhausted {
		w.Errorf("progress of a megabyte: %+v", t.Error)
	}
	w.within(patience, "all results are written", func() bool { return app.Health().Unwritten == 0 })
}
