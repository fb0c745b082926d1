package apptest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	af "github.com/afgen/afgen/runtime"
)

// Traceparents of two callers.
const (
	trace1 = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	trace2 = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
)

// A carried is what a handler finds in its context.
type carried struct {
	trace    string
	metadata af.Metadata
}

// A carrier is a worker that records the contexts of its runs, and SubtasksDone.
type carrier struct {
	app *af.App
	do  func(ctx context.Context, n int) error

	mu   sync.Mutex
	seen map[string][]carried // by task
}

func (c *carrier) note(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := af.TaskFrom(ctx).ID
	c.seen[id] = append(c.seen[id], carried{af.TraceFrom(ctx), af.MetadataFrom(ctx)})
}

func (c *carrier) Run(ctx context.Context, n int) (int, error) {
	c.note(ctx)
	return n, c.do(ctx, n)
}

func (c *carrier) SubtasksDone(ctx context.Context, _ int, _ af.Subtasks) error {
	c.note(ctx)
	return nil
}

// wantCarried checks the stored metadata and trace of an ended task and those in the contexts of its runs.
func (w *world) wantCarried(c *carrier, id string, runs int, trace string, md af.Metadata) {
	w.Helper()
	var t af.Task
	w.within(patience, id+" has ended", func() bool {
		var err error
		t, err = c.app.GetTask(w.Context(), id)
		if errors.Is(err, af.ErrNotFound) { // SubtasksDone
			return false
		}
		w.must(err)
		return t.Status.Final()
	})
	if t.Trace != trace || !maps.Equal(t.Metadata, md) {
		w.Errorf("task %s is stored with trace %q and metadata %v, want %q and %v", id, t.Trace, t.Metadata, trace, md)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, got := range c.seen[id] {
		if got.trace != trace || !maps.Equal(got.metadata, md) {
			w.Errorf("task %s sees %+v, want trace %q and metadata %v", id, got, trace, md)
		}
	}
	if n := len(c.seen[id]); n != runs {
		w.Errorf("task %s ran %d times, want %d", id, n, runs)
	}
}

func with(ctx context.Context, pairs ...string) context.Context {
	for i := 0; i < len(pairs); i += 2 {
		ctx = af.WithMetadata(ctx, pairs[i], pairs[i+1])
	}
	return ctx
}

// metadata submits tasks with metadata and a trace. Subtasks, SubtasksDone and retries inherit them; other tasks of a
// handler only get the trace.
func metadata(w *world) {
	c := &carrier{seen: map[string][]carried{}}
	q := af.NewQueue[int, int](nil, jobWorker)
	made := make(chan []string, 1) // ids of the tasks that the source's handler has submitted
	c.do = func(ctx context.Context, n int) error {
		switch {
		case n < 0:
			return af.Permanent(errors.New("no"))
		case n != 1:
			return nil
		case af.TaskFrom(ctx).Attempt == 1:
			return errors.New("again") // the next attempt sees the same
		}
		id := af.TaskFrom(ctx).ID
		kids, err := q.Subtasks(with(ctx, "step", "resize", "user", "kid"), id, []int{2})
		kids2, err2 := q.Subtasks(af.WithTrace(ctx, trace2), id, []int{3})
		alone, err3 := q.Submit(ctx, 4)
		own, err4 := q.Submit(with(ctx, "own", "1"), 5)
		made <- []string{kids[0], kids2[0], alone, own}
		return errors.Join(err, err2, err3, err4)
	}
	worker := jobWorker
	worker.Retries = 1
	c.app = w.open(func(app *af.App) {
		c.app = app
		q = af.NewQueue[int, int](app, jobWorker)
		af.RegisterWorker(app, worker, c)
	})
	ctx := af.WithTrace(with(w.Context(), "tenant", "acme", "user", "ü.$\n"), trace1)
	md := af.Metadata{"tenant": "acme", "user": "ü.$\n"}
	source := must(q.Submit(ctx, 1))(w)
	w.wantCarried(c, source, 2, trace1, md)
	ids := <-made
	w.wantCarried(c, ids[0], 1, trace1, af.Metadata{"tenant": "acme", "user": "kid", "step": "resize"})
	w.wantCarried(c, ids[1], 1, trace2, md)
	w.wantCarried(c, ids[2], 1, trace1, nil)
	w.wantCarried(c, ids[3], 1, trace1, af.Metadata{"own": "1"})
	w.wantCarried(c, source+"/done", 1, trace1, md)

	many := must(q.SubmitMany(with(w.Context(), "many", "yes"), []int{2, 3}))(w)
	for _, id := range many {
		w.wantCarried(c, id, 1, "", af.Metadata{"many": "yes"})
	}
	// Outside a handler, subtasks inherit from the stored source.
	late := must(q.Subtasks(with(w.Context(), "many", "late"), many[0], []int{2}))(w)
	w.wantCarried(c, late[0], 1, "", af.Metadata{"many": "late"})
	other := must(q.Submit(ctx, 2))(w)
	w.wantCarried(c, other, 1, trace1, md)
	w.wantCarried(c, must(q.Subtasks(w.Context(), other, []int{2}))(w)[0], 1, trace1, md)
	w.retriesCarry(c, q, ctx, md)

	_, err := q.Submit(with(w.Context(), "large", strings.Repeat("x", 8<<10)), 2)
	if e, ok := errors.AsType[*af.Error](err); !ok || e.Code != af.ErrResourceExhausted || e.Outcome != af.OutcomeNotSent {
		w.Errorf("metadata over 8 KiB: %v", err)
	}
	for _, pair := range [][2]string{{"", "x"}, {"nul\x00", ""}, {"x", "\xff"}} {
		if _, err := q.Submit(with(w.Context(), pair[0], pair[1]), 2); !errors.Is(err, af.ErrInvalidArgument) {
			w.Errorf("metadata %q: %v", pair, err)
		}
	}
}

func (w *world) retriesCarry(c *carrier, q af.Queue[int, int], ctx context.Context, md af.Metadata) {
	w.Helper()
	failed := must(q.Submit(ctx, -1))(w)
	w.wantCarried(c, failed, 1, trace1, md)
	again := must(c.app.RetryTask(w.Context(), failed))(w)
	w.wantCarried(c, again, 1, trace1, md)
	third := must(c.app.RetryTask(af.WithTrace(with(w.Context(), "user", "operator"), trace2), again))(w)
	w.wantCarried(c, third, 1, trace2, af.Metadata{"tenant": "acme", "user": "operator"})
}

// metadataOfJobs: the tasks of a job have the metadata with which it was scheduled. A manual run adds that of its
// caller.
func metadataOfJobs(w *jobs) {
	var mu sync.Mutex
	var seen []carried
	w.on("j", func(ctx context.Context, _ errand) error {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, carried{af.TraceFrom(ctx), af.MetadataFrom(ctx)})
		return nil
	})
	app, q := w.app()
	scheduled := with(w.Context(), "tenant", "acme")
	w.must(q.Schedule(af.WithTrace(scheduled, trace1), "j", "@every 1s", errand{For: "j"}))
	w.awaitRuns("j", 1)
	w.must(app.DisableJob(w.Context(), "j"))
	mu.Lock()
	for _, got := range seen {
		if got.trace != "" || !maps.Equal(got.metadata, af.Metadata{"tenant": "acme"}) {
			w.Errorf("a fire sees %+v", got)
		}
	}
	seen = nil
	mu.Unlock()

	must(app.RunJob(af.WithTrace(with(w.Context(), "by", "hand"), trace2), "j"))(w.world)
	manual := -1
	w.within(patience, "the manual run", func() bool {
		mu.Lock()
		defer mu.Unlock()
		manual = slices.IndexFunc(seen, func(c carried) bool { return c.trace == trace2 })
		return manual >= 0
	})
	mu.Lock()
	defer mu.Unlock()
	if got := seen[manual].metadata; !maps.Equal(got, af.Metadata{"tenant": "acme", "by": "hand"}) {
		w.Errorf("the manual run sees %v", got)
	}
	if j := w.job(app, "j"); !maps.Equal(j.Metadata, af.Metadata{"tenant": "acme"}) {
		w.Errorf("the job has %v", j.Metadata)
	}
	large := with(w.Context(), "large", strings.Repeat("x", 8<<10))
	if err := q.Schedule(large, "k", "@every 1s", errand{}); !errors.Is(err, af.ErrResourceExhausted) {
		w.Errorf("a job with metadata over 8 KiB: %v", err)
	}
	if _, err := app.RunJob(large, "j"); !errors.Is(err, af.ErrResourceExhausted) {
		w.Errorf("a manual run with metadata over 8 KiB: %v", err)
	}
}
